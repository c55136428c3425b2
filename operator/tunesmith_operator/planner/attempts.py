"""Attempts: a run is started, watched, ended, and started again when trying again can help."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from tunesmith_api import conditions as c
from tunesmith_api.base import RunPolicy
from tunesmith_api.contract import EvaluateResult, PartResult, RunFailure, TrainResult
from tunesmith_api.finetunejob import AttemptRecord
from tunesmith_api.resources import EvalJob, FineTuneJob
from tunesmith_operator.planner import history
from tunesmith_operator.planner.history import Records
from tunesmith_operator.planner.situation import Situation, Standing
from tunesmith_operator.planner.types import Observed, ObservedWorkload

FIRST_BACKOFF = timedelta(seconds=10)
LONGEST_BACKOFF = timedelta(minutes=5)
# When to look again at pods that take their time to end: on a node that does not answer nothing tells of it.
ENDING_AGAIN = timedelta(seconds=15)

ResultT = TypeVar("ResultT", TrainResult, EvaluateResult, PartResult)


@dataclass(frozen=True)
class Ending:
    """Why no attempt may run now: Suspended, DeadlineExceeded or Hung, and a sentence."""

    reason: str
    message: str


@dataclass(frozen=True)
class Terms(Generic[ResultT]):
    """What the attempts of a job keep to.

    `prefix` and a number make an attempt's name, `goal` is the type of a good one's result, `gpus` are those of one
    attempt. `highest` is the highest number that is known to have been used. `known`: what a good attempt has left is
    known, even if its own words are gone. `ending` ends an attempt that runs; all but Hung also keep the next one from
    starting.
    """

    prefix: str
    policy: RunPolicy
    goal: type[ResultT]
    gpus: int = 0
    highest: int = 0
    known: bool = True
    ending: Ending | None = None


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
class Stopping:
    """The attempt has been told to end, and has not ended yet."""

    workload: ObservedWorkload
    message: str


@dataclass(frozen=True)
class Clearing:
    """Nothing may start before these workloads are gone."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Halted:
    """Nothing runs, because nothing shall."""


@dataclass(frozen=True)
class Finished(Generic[ResultT]):
    """The attempt reached its goal; its result is None when nobody knows it any more."""

    result: ResultT | None


@dataclass(frozen=True)
class GivenUp:
    """The last attempt failed, and there is no other."""

    failure: RunFailure


Decision = Due | Waiting | Underway | Stopping | Clearing | Halted | Finished[ResultT] | GivenUp


@dataclass(frozen=True)
class Course(Generic[ResultT]):
    """The attempts as they are now, what follows, and the workloads to stop."""

    records: Records
    decision: Decision[ResultT]
    stop: tuple[str, ...] = ()


def follow(terms: Terms[ResultT], records: Records, observed: Observed, now: datetime) -> Course[ResultT]:
    """Return the attempts as they are now, and what to do.

    | last attempt                          | decision                                                     |
    |---------------------------------------|--------------------------------------------------------------|
    | none                                  | the first is due                                             |
    | not seen yet                          | it is due (starting it is idempotent)                        |
    | pending or running                    | underway; stopping if it shall end or has been told to       |
    | ended or gone, with a result          | finished; if nobody knows the result any more: the next      |
    | failed, trying again cannot help      | given up                                                     |
    | failed policy.maxAttempts times       | given up                                                     |
    | ended, and another workload runs      | clearing: nothing starts beside it                           |
    | ended, and the job is suspended       | halted                                                       |
    | ended, and the deadline has passed    | given up                                                     |
    | suspended or interrupted              | the next is due, and it does not count                       |
    | failed otherwise, or gone             | the next is due after a delay                                |
    """
    records = history.brought_up(
        history.recall(records, observed, terms.prefix, terms.gpus, terms.goal, now), observed, terms.goal, now
    )
    last = records[-1] if records and records[-1].ended_at is None else None
    strays = [
        each for each in observed.workloads.values() if each.alive and (last is None or each.name != last.workload)
    ]
    stop = tuple(sorted(each.name for each in strays if not each.stopping))
    workload = observed.workloads.get(last.workload) if last else None
    if last and workload:
        return _running(terms, records, workload, stop)
    if last and terms.ending:
        ended = history.closed_unseen(last, terms.ending.reason, terms.ending.message, now)
        records, last = (*records[:-1], ended), None
    if last:
        clearing = Clearing(tuple(sorted(each.name for each in strays)))
        return Course(records, clearing if strays else Due(last.number), stop)
    return Course(records, _between(terms, records, observed, strays, now), stop)


def _running(
    terms: Terms[ResultT], records: Records, workload: ObservedWorkload, stop: tuple[str, ...]
) -> Course[ResultT]:
    last = records[-1]
    if last.stopping is None and terms.ending is not None:
        told = {"stopping": terms.ending.reason, "message": terms.ending.message}
        last = last.model_copy(update=told)
        records = (*records[:-1], last)
    if last.stopping is not None:
        if not workload.stopping:
            stop = (*stop, workload.name)
        return Course(records, Stopping(workload, last.message or last.stopping), stop)
    if workload.stopping:
        return Course(records, Stopping(workload, "somebody has deleted it"), stop)
    return Course(records, Underway(workload), stop)


def _between(
    terms: Terms[ResultT], records: Records, observed: Observed, strays: Sequence[ObservedWorkload], now: datetime
) -> Decision[ResultT]:
    """Return what follows when no attempt is under way."""
    last, ending = records[-1] if records else None, terms.ending
    if last and last.reason == c.COMPLETED:
        result = _result(last, observed, terms.goal)
        if result is not None or terms.known:
            return Finished(result)
    failures = history.failures(records)
    if last and last.retryable is False:
        return GivenUp(_failure(last))
    if len(failures) >= terms.policy.max_attempts:
        failure = _failure(failures[-1])
        message = f"{failure.message} (attempt {len(failures)} of {terms.policy.max_attempts})"
        return GivenUp(failure.model_copy(update={"message": message[:4096]}))
    if strays:
        return Clearing(tuple(sorted(each.name for each in strays)))
    if ending and ending.reason == c.SUSPENDED:
        return Halted()
    if ending and ending.reason == c.DEADLINE_EXCEEDED:
        return GivenUp(RunFailure(reason=ending.reason, message=ending.message, retryable=False))
    highest = terms.highest if terms.highest <= history.HIGHEST_NUMBER else 0
    due = Due(max(highest, last.number if last else 0) + 1)
    if last is None or last.ended_at is None or last not in failures:
        return due
    until = last.ended_at + backoff(len(failures))
    return due if until <= now else Waiting(until, last)


def _result(record: AttemptRecord, observed: Observed, goal: type[ResultT]) -> ResultT | None:
    workload = observed.workloads.get(record.workload)
    progress = workload.progress if workload else observed.leftovers.get(record.workload)
    return progress.result if progress and isinstance(progress.result, goal) else None


def _failure(record: AttemptRecord) -> RunFailure:
    return RunFailure(
        reason=record.reason or c.CRASHED, message=record.message or "", retryable=record.retryable is not False
    )


def started(records: Records, number: int, workload: str, gpus: int, now: datetime) -> Records:
    """Return the records with attempt `number` in them."""
    if records and records[-1].number == number:
        return records
    fresh = AttemptRecord(number=number, workload=workload, started_at=now, gpus=gpus)
    return (*records, fresh)


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


def stopping(number: int, decision: Stopping) -> Situation:
    """Return the situation of a resource whose attempt `number` is being ended."""
    return Situation("working", c.STOPPING, f"attempt {number} saves what it can and ends: {decision.message}")


def clearing(decision: Clearing) -> Situation:
    """Return the situation of a resource that waits for workloads to be gone."""
    names = ", ".join(decision.names)
    return Situation("working", c.STOPPING, f"waits until {names} has ended: two attempts never run at once")


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
