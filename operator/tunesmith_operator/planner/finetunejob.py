"""What follows for a FineTuneJob."""

from dataclasses import replace
from datetime import datetime

from tunesmith_api import conditions as c
from tunesmith_api import uris
from tunesmith_api.contract import ProgressDocument, RunCheckpoints, RunIdentity, TrainResult, TrainRun
from tunesmith_api.finetunejob import CheckpointStatus, FineTuneJobStatus, Phase, PublishedModel
from tunesmith_api.immutability import altered_fields, fingerprints
from tunesmith_api.resources import FineTuneJob
from tunesmith_api.training import Method
from tunesmith_operator.planner import attempts, references
from tunesmith_operator.planner.situation import Situation, conditions_of_job, transition
from tunesmith_operator.planner.types import Observed, Plan, Workload


def plan(job: FineTuneJob, observed: Observed, now: datetime) -> Plan[FineTuneJobStatus]:
    """Return the plan for a FineTuneJob.

    | situation                                  | phase     | workloads                  |
    |--------------------------------------------|-----------|----------------------------|
    | a model it needs is a job's, not ready     | Pending   | none                       |
    | its references form a cycle                | Pending   | none                       |
    | an attempt is due                          | Running   | that attempt               |
    | an attempt runs                            | Running   | left alone                 |
    | the last attempt failed, another follows   | Running   | none until the delay ends  |
    | its spec is no longer what it started with | unchanged | left alone                 |
    | published                                  | Succeeded | none; latches              |
    | failed, no further attempt                 | Failed    | none; latches              |
    """
    if job.status.phase in {"Succeeded", "Failed"}:
        return Plan(job.status)
    records, decision = attempts.follow(job.status.attempts, observed, job.spec.run_policy, TrainResult, now)
    if altered := altered_fields(job):
        return _settle(job, job.status, job.status.phase, attempts.altered(job, altered), now)
    status = job.status.model_copy(update={"attempts": records})
    status = _with_progress(status, _latest_progress(status, observed))
    match decision:
        case attempts.Due(number):
            base = _base_model(job, observed)
            if isinstance(base, Situation):
                return _settle(job, status, "Pending", base, now)
            method = references.resolve_method(job.spec.method, observed)
            if isinstance(method, Situation):
                return _settle(job, status, "Pending", method, now)
            workload = _workload(job, base, method, number)
            records = attempts.started(records, number, workload.name, now)
            status = status.model_copy(update={"attempts": records, "started_with": fingerprints(job)})
            situation = Situation("working", c.STARTING, f"attempt {number} is starting")
            return _settle(job, status, "Running", situation, now, ensure=(workload,))
        case attempts.Underway(workload=running):
            situation = attempts.underway(records[-1].number, "training", running)
            return _settle(job, status, "Running", situation, now)
        case attempts.Waiting(until) as waiting:
            settled = _settle(job, status, "Running", attempts.retrying(waiting), now)
            return replace(settled, requeue_after=until - now)
        case attempts.Finished(result):
            status = status.model_copy(update={"output": result.model})
            progress = _latest_progress(status, observed)
            ending = f"; {progress.ending}" if progress and progress.ending else ""
            situation = Situation("done", c.COMPLETED, f"the model is published at {result.model.uri}{ending}")
            return _settle(job, status, "Succeeded", situation, now)
        case attempts.GivenUp(failure):
            return _settle(job, status, "Failed", Situation("failed", failure.reason, failure.message), now)


def _base_model(job: FineTuneJob, observed: Observed) -> PublishedModel | Situation:
    if cycle := references.find_cycle(job, observed):
        ring = " -> ".join(cycle)
        return Situation(
            "blocked", c.REFERENCE_CYCLE, f"the models they begin with form a cycle: {ring}; change one of their URIs"
        )
    return references.resolve_uri(job.spec.model.uri, observed)


def _workload(job: FineTuneJob, base: PublishedModel, method: Method, number: int) -> Workload:
    spec, meta = job.spec, job.metadata
    folder = spec.checkpoints.uri or f"{spec.output.uri.rstrip('/')}-checkpoints"
    return Workload(
        name=f"{meta.name}-a{number}",
        namespace=meta.namespace,
        resources=spec.resources,
        pod_template=spec.pod_template,
        secrets=tuple(secret.name for secret in spec.secret_refs),
        config=TrainRun(
            run=RunIdentity(kind="FineTuneJob", namespace=meta.namespace, name=meta.name, uid=meta.uid, attempt=number),
            model=base.uri,
            task=spec.model.task,
            data=spec.data,
            method=method,
            training=spec.training,
            checkpoints=RunCheckpoints(
                # A job that is deleted and created again has another UID and starts afresh.
                uri=uris.join(folder, meta.uid) if meta.uid else folder,
                every_steps=spec.checkpoints.every_steps,
                keep=spec.checkpoints.keep,
            ),
            evaluation=spec.evaluation,
            tuning=spec.tuning,
            output=spec.output,
            deepspeed=spec.deepspeed,
            workers=spec.workers,
            gpus=spec.resources.gpu,
        ),
    )


def _latest_progress(status: FineTuneJobStatus, observed: Observed) -> ProgressDocument | None:
    if not status.attempts:
        return None
    workload = observed.workloads.get(status.attempts[-1].workload)
    return workload.progress if workload else None


def _with_progress(status: FineTuneJobStatus, progress: ProgressDocument | None) -> FineTuneJobStatus:
    if progress is None:
        return status
    checkpoints = status.checkpoints
    if progress.checkpoint or progress.best:
        before = checkpoints or CheckpointStatus()
        checkpoints = CheckpointStatus(latest=progress.checkpoint or before.latest, best=progress.best or before.best)
    return status.model_copy(
        update={
            "progress": progress.training or status.progress,
            "data": progress.data or status.data,
            "checkpoints": checkpoints,
            "tuning": progress.tuning or status.tuning,
        }
    )


def _settle(
    job: FineTuneJob,
    status: FineTuneJobStatus,
    phase: Phase,
    situation: Situation,
    now: datetime,
    ensure: tuple[Workload, ...] = (),
) -> Plan[FineTuneJobStatus]:
    generation = job.metadata.generation
    status = status.model_copy(
        update={
            "phase": phase,
            "observed_generation": generation,
            "attempt": status.attempts[-1].number if status.attempts else 0,
            "conditions": conditions_of_job(situation, job.status.conditions, generation, now),
        }
    )
    return Plan(status, ensure=ensure, events=transition(situation, job.status.conditions))
