"""A job that has ended stays as it is, until it is deleted."""

from datetime import datetime, timedelta
from typing import Literal

from tunesmith_api import conditions as c
from tunesmith_api.evaljob import EvalJobStatus
from tunesmith_api.finetunejob import FineTuneJobStatus, JobStatus
from tunesmith_api.meta import Condition
from tunesmith_api.resources import EvalJob, FineTuneJob
from tunesmith_operator.planner.situation import find, is_true
from tunesmith_operator.planner.types import Observed, Plan


def phase_of(status: JobStatus) -> Literal["Succeeded", "Failed"] | None:
    """Return how a job has ended, by its phase or else by its conditions, or None when it has not."""
    match status.phase:
        case "Succeeded" | "Failed":
            return status.phase
    if is_true(status.conditions, c.SUCCEEDED):
        return "Succeeded"
    return "Failed" if is_true(status.conditions, c.FAILED) else None


def keep_fine_tune_job(job: FineTuneJob, observed: Observed, now: datetime) -> Plan[FineTuneJobStatus]:
    """Return the plan of a FineTuneJob that has ended: stop what still runs, and delete the job when its time is up."""
    status = job.status.model_copy(update=_mended(job.status, now))
    return Plan(status, stop=_alive(observed), requeue_after=_ttl_left(job, now), delete=_is_over(job, now))


def keep_eval_job(job: EvalJob, observed: Observed, now: datetime) -> Plan[EvalJobStatus]:
    """Return the plan of an EvalJob that has ended: the same."""
    status = job.status.model_copy(update=_mended(job.status, now))
    return Plan(status, stop=_alive(observed), requeue_after=_ttl_left(job, now), delete=_is_over(job, now))


def _alive(observed: Observed) -> tuple[str, ...]:
    return tuple(sorted(each.name for each in observed.workloads.values() if each.alive and not each.stopping))


def _mended(status: JobStatus, now: datetime) -> dict[str, object]:
    """Return the changes to a status that says that a job has ended, where it contradicts itself."""
    changes: dict[str, object] = {"phase": phase_of(status)}
    if any(each.last_transition_time > now for each in status.conditions):
        changes["conditions"] = tuple(_not_later(each, now) for each in status.conditions)
    return changes


def _not_later(condition: Condition, now: datetime) -> Condition:
    return condition.model_copy(update={"last_transition_time": min(condition.last_transition_time, now)})


def _expires_in(job: FineTuneJob | EvalJob, now: datetime) -> timedelta | None:
    ttl = job.spec.run_policy.ttl_seconds_after_finished
    if ttl is None:
        return None
    told = find(job.status.conditions, c.SUCCEEDED if phase_of(job.status) == "Succeeded" else c.FAILED)
    ended = min(told.last_transition_time, now) if told and told.status == "True" else now
    return ended + timedelta(seconds=ttl) - now


def _ttl_left(job: FineTuneJob | EvalJob, now: datetime) -> timedelta | None:
    left = _expires_in(job, now)
    return left if left is not None and left > timedelta() else None


def _is_over(job: FineTuneJob | EvalJob, now: datetime) -> bool:
    left = _expires_in(job, now)
    return left is not None and left <= timedelta()
