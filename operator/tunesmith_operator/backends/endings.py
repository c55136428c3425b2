"""How an attempt ended: what Kubernetes says of a Job, and KubeRay of a RayJob."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from tunesmith_operator.backends.objects import Object

# KubeRay's own word for the Ray job that it no longer watches: somebody has stopped it.
_STOPPED = "STOPPED"


@dataclass(frozen=True)
class Ending:
    """How it ended, when, and what is said of it."""

    state: Literal["Succeeded", "Failed"]
    message: str
    at: datetime | None


def ending(starter: Object) -> Ending | None:
    """Return how a Job or RayJob ended, or None while it has not."""
    return _of_ray_job(starter) if starter["kind"] == "RayJob" else _of_job(starter)


def _of_job(job: Object) -> Ending | None:
    conditions = (job.get("status") or {}).get("conditions") or ()
    held = {each["type"]: each for each in conditions if each.get("status") == "True"}
    if done := held.get("Complete"):
        return Ending("Succeeded", "", _time(done.get("lastTransitionTime")))
    if failed := held.get("Failed"):
        message = failed.get("message") or "the Job has failed"
        return Ending("Failed", message, _time(failed.get("lastTransitionTime")))
    return None


def _of_ray_job(ray_job: Object) -> Ending | None:
    """Return how a RayJob ended, or None while it has not.

    | jobDeploymentStatus                        | jobStatus | ended     |
    |--------------------------------------------|-----------|-----------|
    | Complete                                   | SUCCEEDED | Succeeded |
    | Complete                                   | any other | Failed    |
    | Failed, ValidationFailed                   |           | Failed    |
    | New, Initializing, Running, Waiting, none, |           | not yet   |
    | Suspending, Suspended, Retrying            |           |           |
    """
    status = ray_job.get("status") or {}
    deployment, job = status.get("jobDeploymentStatus") or "", status.get("jobStatus") or ""
    at = _time(status.get("endTime"))
    match deployment:
        case "Complete" if job == "SUCCEEDED":
            return Ending("Succeeded", "", at)
        case "Complete":
            said = "somebody has stopped the Ray job" if job == _STOPPED else f"the Ray job is {job or 'gone'}"
            return Ending("Failed", _sentence(ray_job, said), at)
        case "Failed" | "ValidationFailed":
            return Ending("Failed", _sentence(ray_job, "KubeRay has given it up"), at)
        case _:
            return None


def pods_of(ray_job: Object) -> int:
    """Return how many pods a RayJob's cluster has when all are there."""
    groups = ray_job["spec"]["rayClusterSpec"].get("workerGroupSpecs") or ()
    return 1 + sum(int(each.get("replicas", 0)) for each in groups)


def _sentence(ray_job: Object, otherwise: str) -> str:
    status = ray_job["status"]
    reason, message = status.get("reason") or "", (status.get("message") or "").strip()
    words = ": ".join(filter(None, (reason, message))) or otherwise
    return f"RayJob {ray_job['metadata']['name']}: {words}"


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
