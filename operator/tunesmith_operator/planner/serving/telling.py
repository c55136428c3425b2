"""What a ModelServe's status tells: shares, phase, address, conditions, events."""

from datetime import datetime

from tunesmith_api import conditions as c
from tunesmith_api.base import GROUP
from tunesmith_api.modelserve import ModelServeStatus, ServePhase
from tunesmith_api.resources import ModelServe
from tunesmith_api.serving.revision import Revision, RevisionShare, RevisionTemplate
from tunesmith_operator.planner.serving import analysis, naming, revisions, traffic
from tunesmith_operator.planner.serving.shares import Shares
from tunesmith_operator.planner.situation import Situation, as_status, condition, conditions_of_server, transition
from tunesmith_operator.planner.types import Event, Observed, ObservedWorkload, Plan


def with_shares(serve: ModelServe, status: ModelServeStatus, asked: Shares, observed: Observed) -> ModelServeStatus:
    """Return the status with the pods and the shares that revisions have and should have."""
    serving, rolling = revisions.serving(status), revisions.rolling_out(status)
    stable = _share(serve, serving.number, asked.stable, 100 - asked.weight, observed) if serving else None
    canary = _share(serve, rolling.number, asked.canary, asked.weight, observed) if rolling else None
    if stable and canary:
        share = _canary_share(serve, stable, canary, asked, observed)
        stable = stable.model_copy(update={"actual_weight": round(100 - share, 1)})
        canary = canary.model_copy(update={"actual_weight": share})
    changes: dict[str, object] = {
        "stable": stable,
        "canary": canary,
        "serving": serving.template.model if serving else None,
        "http_route": serve.metadata.name if serve.spec.traffic.route else None,
        "replicas": sum(each.ready_replicas for each in (stable, canary) if each),
        "selector": f"app.kubernetes.io/name=tunesmith-serve,{GROUP}/owner-uid={serve.metadata.uid}",
    }
    return status.model_copy(update=changes)


def _share(serve: ModelServe, number: int, replicas: int, weight: int, observed: Observed) -> RevisionShare:
    seen = observed.workloads.get(naming.revision_name(serve, number))
    ready = seen.ready_replicas if seen else 0
    return RevisionShare(revision=number, weight=weight, actual_weight=weight, replicas=replicas, ready_replicas=ready)


def _canary_share(
    serve: ModelServe, stable: RevisionShare, canary: RevisionShare, asked: Shares, observed: Observed
) -> float:
    """Return the percent of the requests, or where nobody counts those of the pods, that the new revision has."""
    if traffic.has_gateway(serve):
        reports = traffic.reports(serve, observed)
        ours = analysis.of_revision(reports, canary.revision).routed
        theirs = analysis.of_revision(reports, stable.revision).routed
        return round(100 * ours / (ours + theirs), 1) if ours + theirs else 0.0
    if serve.spec.traffic.route is not None:
        return float(asked.weight)  # as the Gateways are told; nobody counts
    if traffic.front(serve, stable.revision, canary.revision, asked).workload is not None:
        return 100.0 if not asked.stable else 0.0
    pods = stable.ready_replicas + canary.ready_replicas
    return round(100 * canary.ready_replicas / pods, 1) if pods else 0.0


def told(
    serve: ModelServe,
    status: ModelServeStatus,
    rollout: Situation | None,
    wanted: RevisionTemplate | Situation,
    observed: Observed,
    now: datetime,
) -> Plan[ModelServeStatus]:
    """Return the status with its phase, its address and its conditions, and the events that follow.

    `rollout` is where the rollout stands, if there is one.
    """
    generation, previous = serve.metadata.generation, serve.status.conditions
    behind = _behind(serve, status, observed)
    asleep = status.scaling is not None and status.scaling.replicas == 0 and bool(traffic.reports(serve, observed))
    url = traffic.address(serve, behind, observed) if behind or asleep else None
    ready = url is not None
    serving, refused = revisions.serving(status), revisions.find(status, status.refused)
    phase: ServePhase = "Ready" if ready and rollout is None else "Progressing"
    if rollout:
        situation = rollout
        if serving is None and situation.standing == "blocked":
            phase = "Failed"
    elif refused:
        goes_on = "nothing is tried again until the spec changes"
        if serving:
            goes_on = f"revision {serving.number} serves, and {goes_on}"
        situation = Situation("blocked", refused.reason or c.DEGRADED, f"{refused.message}; {goes_on}")
        phase = phase if serving else "Failed"
    elif isinstance(wanted, Situation):
        situation, phase = wanted, phase if serving else "Pending"
    elif asleep and serving and not behind:
        situation = Situation("done", c.SCALED_TO_ZERO, "nobody asks, and no pod runs; the next request starts one")
    elif ready and serving:
        situation = Situation("done", c.SERVING, f"revision {serving.number} answers at {url}")
    else:
        situation = _down(serve, serving, observed)
    conditions = conditions_of_server(situation, ready, previous, generation, now)
    degraded = situation if refused else Situation("done", c.NOT_DEGRADED, "no revision was taken back")
    conditions += (condition(c.DEGRADED, as_status(refused is not None), degraded, previous, generation, now),)
    changes = {"phase": phase, "url": url, "observed_generation": generation, "conditions": conditions}
    events = transition(situation, previous)
    if (before := revisions.serving(serve.status)) and serving and serving.number != before.number:
        events = (Event("Normal", c.SERVING, f"revision {serving.number} has taken over"), *events)
    return Plan(status.model_copy(update=changes), events=events)


def _behind(serve: ModelServe, status: ModelServeStatus, observed: Observed) -> ObservedWorkload | None:
    """Return the workload that answers clients, if one does."""
    serving, rolling = revisions.serving(status), revisions.rolling_out(status)
    numbers = [each.number for each in (serving, rolling if status.canary and status.canary.weight else None) if each]
    seen = [observed.workloads.get(naming.revision_name(serve, number)) for number in numbers]
    return next((each for each in seen if each and each.ready), None)


def _down(serve: ModelServe, serving: Revision | None, observed: Observed) -> Situation:
    if serving is None:
        return Situation("working", c.STARTING, "nothing serves yet")
    running = observed.workloads.get(naming.revision_name(serve, serving.number))
    if running is None:
        return Situation("working", c.STARTING, f"revision {serving.number} is starting")
    failure = running.progress.failure if running.progress else None
    if running.state == "Failed" and failure and not failure.retryable:
        return Situation("blocked", failure.reason, failure.message)
    if running.ready:
        return Situation("working", c.STARTING, "the gateway does not answer yet")
    why = f": {running.message}" if running.message else ""
    return Situation("working", running.reason or c.STARTING, f"revision {serving.number} does not answer yet{why}")
