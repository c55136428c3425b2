"""What a job may take: time over all attempts, and GPU-hours."""

from datetime import datetime, timedelta

from tunesmith_api import conditions as c
from tunesmith_api.finetunejob import FineTuneJobStatus, JobStatus, TrainingProgress
from tunesmith_api.resources import EvalJob, FineTuneJob
from tunesmith_operator.planner.attempts import Ending
from tunesmith_operator.planner.history import Records


def active_for(job: FineTuneJob | EvalJob, now: datetime) -> timedelta:
    """Return the time since the first attempt started, without suspensions; 0 before it."""
    status = job.status
    began = status.started_at or (status.attempts[0].started_at if status.attempts else None)
    if began is None:
        return timedelta()
    if job.metadata.creation_timestamp:
        began = max(began, job.metadata.creation_timestamp)
    idle = suspended_for(status, now) if isinstance(status, FineTuneJobStatus) else timedelta()
    return max(now - min(began, now) - idle, timedelta())


def suspended_for(status: FineTuneJobStatus, now: datetime) -> timedelta:
    """Return how long a job has been suspended, this time included."""
    since = status.suspended_since
    return timedelta(seconds=status.suspended_seconds) + (now - min(since, now) if since else timedelta())


def time_left(job: FineTuneJob | EvalJob, now: datetime) -> timedelta | None:
    """Return what is left of activeDeadlineSeconds, below 0 when they have passed; None without them."""
    limit = job.spec.run_policy.active_deadline_seconds
    return None if limit is None else timedelta(seconds=limit) - active_for(job, now)


def overdue(job: FineTuneJob | EvalJob, now: datetime) -> Ending | None:
    """Return the end of a job whose time is over."""
    left = time_left(job, now)
    if left is None or left > timedelta() or (job.status.started_at is None and not job.status.attempts):
        return None
    limit = job.spec.run_policy.active_deadline_seconds
    count = len(job.status.attempts)
    kept = "checkpoints are kept" if isinstance(job, FineTuneJob) else "answers and votes are kept"
    message = (
        f"activeDeadlineSeconds are {limit}, and {active_for(job, now).total_seconds():.0f} s have passed since the "
        f"first attempt started ({count} attempt{'' if count == 1 else 's'}{_how_far(job.status)}); {kept}"
    )
    return Ending(c.DEADLINE_EXCEEDED, message)


def _how_far(status: JobStatus) -> str:
    progress = status.progress if isinstance(status, FineTuneJobStatus) else None
    return f", step {reached(progress)}" if progress else ""


def reached(progress: TrainingProgress | None) -> str:
    """Return how far training is, in words: 420 of 1200."""
    return f"{progress.step} of {progress.total_steps}" if progress else "0"


def gpus_of(job: FineTuneJob) -> int:
    """Return the GPUs of all pods of an attempt together."""
    return job.spec.resources.gpu * job.spec.workers


def gpu_hours(status: FineTuneJobStatus, records: Records) -> float | None:
    """Return the GPU-hours of all attempts, those among them that the status does not list any more."""
    listed = sum(record.gpu_hours or 0 for record in status.attempts)
    forgotten = max((status.gpu_hours or 0) - listed, 0)
    total = round(forgotten + sum(record.gpu_hours or 0 for record in records), 3)
    used = status.gpu_hours is not None or any(record.gpu_hours is not None for record in records)
    return total if used else None


def seconds_left(job: FineTuneJob, used: float | None) -> float | None:
    """Return for how many seconds the next attempt may train before runPolicy.gpuHours are used up; None: for ever."""
    budget, gpus = job.spec.run_policy.gpu_hours, gpus_of(job)
    if budget is None or not gpus:
        return None
    return round(max(budget - (used or 0), 0) * 3600 / gpus, 1)
