"""Attempts: a run is started, watched, and started again when trying again can help."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from tunesmith_api import conditions as c
from tunesmith_api.base import RunPolicy
from tunesmith_api.contract import EvaluateResult, ProgressDocument, RunFailure, TrainResult
from tunesmith_api.finetunejob import AttemptRecord
from tunesmith_api.resources import EvalJob, FineTuneJob
from tunesmith_operator.planner.situation import Situation, Standing
from tunesmith_operator.planner.types import Observed, ObservedWorkload

FIRST_BACKOFF = timedelta(seconds=10)
LONGEST_BACKOFF = timedelta(minutes=5)
RECORDS_KEPT = 20

ResultT = TypeVar("ResultT", TrainResult, EvaluateResult)


@dataclass(frozen=True)
class Due:
    """Attempt `number` should be running."""

    number: int


@dataclass(frozen=True)
class Waiting:
    """The next attempt starts at `until`, after the failure `last`."""

    until: datetime
    last: AttemptRecord


@dataclass(frozen=True)
class Underway:
    """The attempt runs."""

    workload: ObservedWorkload


@dataclass(frozen=True)
class Finished(Generic[ResultT]):
    """The attempt reached its goal."""

    result: ResultT


@dataclass(frozen=True)
class GivenUp:
    """The last attempt failed, and there is no other."""

    failure: RunFailure


Records = tuple[AttemptRecord, ...]


def follow(
    records: Records, observed: Observed, policy: RunPolicy, goal: type[ResultT], now: datetime
) -> tuple[Records, Due | Waiting | Underway | Finished[ResultT] | GivenUp]:
    """Return the attempts as they are now, and what to do. `goal` is the type of a good attempt's result.

    | last attempt                    | decision                                                |
    |---------------------------------|---------------------------------------------------------|
    | none                            | the first is due                                        |
    | not seen yet                    | it is due (starting it is idempotent)                   |
    | pending or running              | underway                                                |
    | ended with a result             | finished                                                |
    | interrupted                     | the next is due, and it does not count                  |
    | failed, trying again can help   | the next is due after a delay, up to policy.maxAttempts |
    | failed, trying again cannot     | given up                                                |
    """
    if not records:
        return records, Due(1)
    last = records[-1]
    if last.ended_at is not None:
        return records, _after(records, now)
    workload = observed.workloads.get(last.workload)
    if workload is None:
        return records, Due(last.number)
    progress = workload.progress
    records = (*records[:-1], _with_steps(last, progress))
    if workload.state in {"Pending", "Running"}:
        return records, Underway(workload)
    ended_at = workload.ended_at or now
    if workload.state == "Succeeded" and progress and isinstance(progress.result, goal):
        return _ended(records, ended_at, c.COMPLETED, None), Finished(progress.result)
    if workload.state == "Interrupted":
        records = _ended(records, ended_at, c.INTERRUPTED, workload.message or None)
        return records, _after(records, now)
    failure = _failure_of(workload)
    records = _ended(records, ended_at, failure.reason, failure.message)
    if not failure.retryable:
        return records, GivenUp(failure)
    counted = _counted(records)
    if counted >= policy.max_attempts:
        message = f"{failure.message} (attempt {counted} of {policy.max_attempts})"
        return records, GivenUp(failure.model_copy(update={"message": message[:4096]}))
    return records, _after(records, now)


def started(records: Records, number: int, workload: str, now: datetime) -> Records:
    """Return the records with attempt `number` in them."""
    if records and records[-1].number == number:
        return records
    return _bounded((*records, AttemptRecord(number=number, workload=workload, started_at=now)))


# What a person has to mend; every other hindrance passes when the cluster has room again.
_NEEDS_A_PERSON = {c.IMAGE_PULL_FAILED, c.CONTAINER_NOT_STARTED, c.POD_REFUSED}


def underway(number: int, doing: str, workload: ObservedWorkload) -> Situation:
    """Return the situation of a resource whose attempt `number` is pending or running; `doing` says what it does."""
    if workload.reason:
        standing: Standing = "blocked" if workload.reason in _NEEDS_A_PERSON else "working"
        return Situation(standing, workload.reason, f"attempt {number} does not go on: {workload.message}")
    if workload.state == "Pending":
        return Situation("working", c.STARTING, f"attempt {number} is starting")
    return Situation("working", c.RUNNING, f"attempt {number} is {doing}")


def altered(job: FineTuneJob | EvalJob, fields: Sequence[str]) -> Situation:
    """Return the situation of a job whose spec is no longer what it was started with."""
    sentences = (
        f"spec.{name} cannot change once the {job.kind} has started; delete it and create it again, or change it back"
        for name in fields
    )
    return Situation("blocked", c.SPEC_CHANGED, ". ".join(sentences))


def retrying(waiting: Waiting) -> Situation:
    """Return the situation of a resource between two attempts."""
    message = (
        f"attempt {waiting.last.number} failed: {waiting.last.message}; "
        f"the next one starts at {waiting.until:%H:%M:%S} UTC"
    )
    return Situation("working", c.RETRYING, message)


def backoff(failures: int) -> timedelta:
    """Return the delay after that many failures in a row: 10 s, doubled each time, 5 minutes at most."""
    doublings = min(max(failures - 1, 0), 10)
    return min(FIRST_BACKOFF * (1 << doublings), LONGEST_BACKOFF)


def _after(records: Records, now: datetime) -> Due | Waiting:
    last = records[-1]
    if last.reason == c.INTERRUPTED or last.ended_at is None:
        return Due(last.number + 1)
    until = last.ended_at + backoff(_counted(records))
    return Due(last.number + 1) if until <= now else Waiting(until, last)


def _counted(records: Records) -> int:
    return sum(record.ended_at is not None and record.reason != c.INTERRUPTED for record in records)


def _failure_of(workload: ObservedWorkload) -> RunFailure:
    if workload.progress and workload.progress.failure:
        return workload.progress.failure
    message = workload.message or "the run ended without a result"
    return RunFailure(reason=workload.reason or c.CRASHED, message=message, retryable=True)


def _with_steps(record: AttemptRecord, progress: ProgressDocument | None) -> AttemptRecord:
    if progress is None or progress.training is None:
        return record
    return record.model_copy(update={"from_step": progress.resumed_from_step or 0, "to_step": progress.training.step})


def _ended(records: Records, at: datetime, reason: str, message: str | None) -> Records:
    return (*records[:-1], records[-1].model_copy(update={"ended_at": at, "reason": reason, "message": message}))


def _bounded(records: Records) -> Records:
    """Forget the oldest interruptions first: what counts towards maxAttempts must stay known."""
    surplus = len(records) - RECORDS_KEPT
    kept: list[AttemptRecord] = []
    for record in records:
        if surplus > 0 and record.reason == c.INTERRUPTED:
            surplus -= 1
        else:
            kept.append(record)
    return tuple(kept[-RECORDS_KEPT:])
