"""What follows for a ModelServe."""

from datetime import datetime

from tunesmith_api import conditions as c
from tunesmith_api.contract import RunIdentity, ServeRun
from tunesmith_api.finetunejob import PublishedModel
from tunesmith_api.modelserve import ModelServeStatus, ServePhase
from tunesmith_api.resources import ModelServe
from tunesmith_operator.planner import references
from tunesmith_operator.planner.situation import Situation, conditions_of_server, transition
from tunesmith_operator.planner.types import Observed, ObservedWorkload, Plan, Workload


def plan(serve: ModelServe, observed: Observed, now: datetime) -> Plan[ModelServeStatus]:
    """Return the plan for a ModelServe.

    | situation                                        | phase       | workloads                       |
    |--------------------------------------------------|-------------|---------------------------------|
    | nothing is served, and a gate is not passed yet  | Pending     | none                            |
    | a revision is served, the next one is not passed | as it is    | the served one goes on          |
    | the gates have passed a model not served yet     | Progressing | a new revision; older ones stop |
    | the revision starts                              | Progressing | it                              |
    | the revision answers completions                 | Ready       | it                              |
    | the revision cannot run                          | Failed      | it                              |
    """
    status = serve.status
    candidate = _candidate(serve, observed)
    if isinstance(candidate, PublishedModel) and candidate != status.serving:
        status = status.model_copy(update={"revision": status.revision + 1, "serving": candidate})
    if status.serving is None:
        assert isinstance(candidate, Situation)  # noqa: S101 - a model would be served by now
        return _settle(serve, status, "Pending", candidate, now, ready=False, stop=_others(None, observed))
    workload = _workload(serve, status.serving, status.revision)
    running = observed.workloads.get(workload.name)
    ready = running is not None and running.state == "Running" and running.ready
    phase, situation = _server(running, status.revision, ready)
    status = status.model_copy(update={"url": running.url if running is not None and ready else None})
    if isinstance(candidate, Situation):
        situation = candidate
    return _settle(
        serve, status, phase, situation, now, ready=ready, ensure=(workload,), stop=_others(workload.name, observed)
    )


def _candidate(serve: ModelServe, observed: Observed) -> PublishedModel | Situation:
    """Return the model that may be served now, or what it waits for."""
    model = references.resolve(serve.spec.model, observed)
    if isinstance(model, Situation):
        return model
    for requirement in serve.spec.requires:
        closed = references.gate(requirement.eval_job, model, observed)
        if closed:
            return closed
    return model


def _server(running: ObservedWorkload | None, revision: int, ready: bool) -> tuple[ServePhase, Situation]:
    if running is None:
        return "Progressing", Situation("working", c.STARTING, f"revision {revision} is starting")
    failure = running.progress.failure if running.progress else None
    if running.state == "Failed" and failure and not failure.retryable:
        return "Failed", Situation("blocked", failure.reason, failure.message)
    if ready:
        return "Ready", Situation("done", c.SERVING, f"revision {revision} answers at {running.url}")
    why = f": {running.message}" if running.message else ""
    return "Progressing", Situation(
        "working", running.reason or c.STARTING, f"revision {revision} does not answer yet{why}"
    )


def _others(name: str | None, observed: Observed) -> tuple[str, ...]:
    return tuple(sorted(other for other in observed.workloads if other != name))


def _workload(serve: ModelServe, model: PublishedModel, revision: int) -> Workload:
    meta = serve.metadata
    return Workload(
        name=f"{meta.name}-v{revision}",
        namespace=meta.namespace,
        resources=serve.spec.resources,
        replicas=serve.spec.replicas,
        pod_template=serve.spec.pod_template,
        secrets=tuple(secret.name for secret in serve.spec.secret_refs),
        config=ServeRun(
            run=RunIdentity(
                kind="ModelServe", namespace=meta.namespace, name=meta.name, uid=meta.uid, attempt=max(revision, 1)
            ),
            model=model.uri,
            port=serve.spec.port,
        ),
    )


def _settle(
    serve: ModelServe,
    status: ModelServeStatus,
    phase: ServePhase,
    situation: Situation,
    now: datetime,
    *,
    ready: bool,
    ensure: tuple[Workload, ...] = (),
    stop: tuple[str, ...] = (),
) -> Plan[ModelServeStatus]:
    generation, previous = serve.metadata.generation, serve.status.conditions
    status = status.model_copy(
        update={
            "phase": phase,
            "observed_generation": generation,
            "conditions": conditions_of_server(situation, ready, previous, generation, now),
        }
    )
    return Plan(status, ensure=ensure, stop=stop, events=transition(situation, previous))
