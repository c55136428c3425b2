"""Why a run waits for its turn, in the words of its queue."""

from collections.abc import Mapping
from typing import Any

from tunesmith_operator.backends.gangs import QUEUE_LABEL, is_held
from tunesmith_operator.backends.objects import Object

# Phases of a PodGroup, of Volcano and of coscheduling, in which its pods may not all start.
_WAITS = {"", "Pending", "Inqueue", "PreScheduling", "Scheduling", "Unknown"}


def for_kueue(starter: Object, admission: Object | None) -> str | None:
    """Return why Kueue holds back a Job or RayJob, or None when it does not. `admission` is its Workload."""
    if not is_held(starter) or not (starter.get("spec") or {}).get("suspend"):
        return None
    queue = starter["metadata"]["labels"][QUEUE_LABEL]
    words = _of_workload(admission) if admission else ""
    return f"it waits in queue {queue}{f': {words}' if words else ''}"


def for_gang(pod_group: Object | None) -> str | None:
    """Return why a PodGroup's pods may not start yet, or None when they may."""
    if pod_group is None:
        return None
    status = pod_group.get("status") or {}
    if (status.get("phase") or "") not in _WAITS:
        return None
    told = [each.get("message", "") for each in status.get("conditions") or () if each.get("type") == "Unschedulable"]
    words = next(filter(None, reversed(told)), "")
    queue = (pod_group.get("spec") or {}).get("queue")
    where = f"in queue {queue}" if queue else "until all of its pods can start"
    return f"it waits {where}{f': {words}' if words else ''}"


def _of_workload(admission: Object) -> str:
    """Return the words of a Workload: why it was sent back, else what it lacks."""
    conditions = {each["type"]: each for each in (admission.get("status") or {}).get("conditions") or ()}
    evicted, reserved = conditions.get("Evicted"), conditions.get("QuotaReserved")
    if evicted and evicted.get("status") == "True":
        return _words(evicted)
    if reserved and reserved.get("status") == "True":
        checks = [
            f"{each['name']} {each.get('state', 'Pending')}: {each.get('message', '')}".strip(": ")
            for each in (admission.get("status") or {}).get("admissionChecks") or ()
            if each.get("state") != "Ready"
        ]
        return ", ".join(checks)
    return _words(reserved) if reserved else ""


def _words(condition: Mapping[str, Any]) -> str:
    return str(condition.get("message") or condition.get("reason") or "")
