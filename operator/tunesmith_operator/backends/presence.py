"""Which pods of a workload are still there, where they are, since when, and which of them a node has lost."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tunesmith_api import conditions as c
from tunesmith_operator.backends.objects import DRIVER, ROLE_LABEL, SERVER, WORKER, Object
from tunesmith_operator.planner import ObservedWorkload

# A pod that should have been killed so long ago is on a node that does not answer: nobody can wait for it.
OVERDUE = timedelta(seconds=30)
# What a pod says when its node went away or shut down, and what a disruption of one is for.
_NODE_REASONS = {"NodeLost", "NodeShutdown", "Shutdown", "Terminated"}
_DISRUPTIONS = {
    "DeletionByTaintManager": c.NODE_LOST,
    "DeletionByPodGC": c.NODE_LOST,
    "TerminationByKubelet": c.NODE_LOST,
    "PreemptionByScheduler": c.EVICTED,
    "PreemptionByKubeScheduler": c.EVICTED,
    "EvictionByEvictionAPI": c.EVICTED,
}


def placed(seen: ObservedWorkload, pods: Sequence[Object]) -> ObservedWorkload:
    """Return what is seen of an attempt with the nodes of its pods, and the time at which the first of them ran."""
    nodes = tuple(sorted({node for pod in pods if (node := node_of(pod))}))
    began = min((time for pod in pods for time in _began(pod)), default=None)
    return replace(seen, nodes=seen.nodes or nodes, running_since=began)


def linger(pods: Sequence[Object], now: datetime | None) -> bool:
    """Return whether any pod of an attempt or a server may still be at work."""
    return any(
        _role(pod) in {DRIVER, WORKER, SERVER}
        and _phase(pod) not in {"Succeeded", "Failed"}
        and not _is_overdue(pod, now)
        for pod in pods
    )


def driver_lingers(pods: Sequence[Object], now: datetime | None) -> bool:
    """Return whether the driver's pod has been told to end, and has not: a Job may count as failed before that."""
    return linger(
        [pod for pod in pods if _role(pod) == DRIVER and pod["metadata"].get("deletionTimestamp")],
        now,
    )


def lost(pod: Object) -> tuple[str, str] | None:
    """Return the reason and the words of a pod that was taken away by its node or its cluster, or None."""
    status, name, node = pod.get("status", {}), pod["metadata"]["name"], node_of(pod) or "unknown"
    if status.get("reason") in _NODE_REASONS:
        return c.NODE_LOST, f"pod {name} went with its node {node}: {status.get('message') or status['reason']}"
    for condition in status.get("conditions") or ():
        reason = _DISRUPTIONS.get(condition.get("reason", ""))
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True" and reason:
            what = "went with its node" if reason == c.NODE_LOST else "was pushed out from node"
            return reason, f"pod {name} {what} {node}: {condition.get('message') or condition['reason']}"
    return None


def node_of(pod: Object) -> str:
    """Return the node that a pod is or was on; empty when it has none."""
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _is_overdue(pod: Object, now: datetime | None) -> bool:
    """Return whether the grace period of a pod is long over; Kubernetes notes its end, not its beginning."""
    until = pod["metadata"].get("deletionTimestamp")
    return until is not None and now is not None and _time(until) + OVERDUE < now


def _began(pod: Object) -> Iterator[datetime]:
    statuses: Sequence[Mapping[str, Any]] = pod.get("status", {}).get("containerStatuses") or ()
    for status in statuses:
        for state in (status.get("state") or {}, status.get("lastState") or {}):
            for kind in ("running", "terminated"):
                if started := (state.get(kind) or {}).get("startedAt"):
                    yield _time(started)


def _role(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(ROLE_LABEL, ""))


def _phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", "Pending"))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
