"""The attempts of a job as they are recorded: put in order, and brought up to date with what is observed."""

from datetime import datetime, timedelta

from tunesmith_api import conditions as c
from tunesmith_api.contract import EvaluateResult, PartResult, ProgressDocument, TrainResult
from tunesmith_api.finetunejob import AttemptRecord
from tunesmith_operator.planner.types import Observed, ObservedWorkload

Records = tuple[AttemptRecord, ...]
Goal = type[TrainResult] | type[EvaluateResult] | type[PartResult]

RECORDS_KEPT = 20
# Beyond it a number is somebody's invention: names would grow too long.
HIGHEST_NUMBER = 99_999
# Ends that we bring about ourselves.
OURS = frozenset({c.SUSPENDED, c.DEADLINE_EXCEEDED, c.HUNG})
# After these an attempt is better off on another node, and of how many such attempts the nodes are kept away from.
_OF_THE_NODE = frozenset({c.ACCELERATOR_FAILED, c.NODE_LOST})
_AVOIDED_ATTEMPTS = 3
# Ends that are no failures: they do not count towards runPolicy.maxAttempts.
_UNCOUNTED = frozenset({c.COMPLETED, c.INTERRUPTED, c.SUSPENDED, c.DEADLINE_EXCEEDED})


def recall(records: Records, observed: Observed, prefix: str, gpus: int, goal: Goal, now: datetime) -> Records:
    """Return the attempts in order, each number once and no time in the future, with those that nobody recorded.

    An attempt that is observed under the job's own names and that the status does not know is taken up: the status may
    have been lost or edited. Forgotten attempts before the last known one stay forgotten. `prefix` and a number make
    the name of a workload, and `gpus` are those of an attempt that is found.
    """
    known: dict[int, AttemptRecord] = {}
    for record in records:
        if record.number <= HIGHEST_NUMBER:
            mended = _mended(record, observed, prefix, now)
            known[mended.number] = (
                _likelier(known[mended.number], mended, observed) if mended.number in known else mended
            )
    top = max(known, default=0)
    for name in (*observed.workloads, *observed.leftovers):
        number = number_of(name, prefix)
        if number is not None and top < number <= HIGHEST_NUMBER:
            seen = observed.workloads.get(name)
            since = seen.running_since if seen and seen.running_since else now
            known[number] = AttemptRecord(number=number, workload=name, started_at=min(since, now), gpus=gpus)
    ordered = [known[number] for number in sorted(known)]
    if ordered and _is_back(ordered[-1], observed, goal):
        gone = dict.fromkeys(("ended_at", "reason", "message", "retryable"))
        ordered[-1] = ordered[-1].model_copy(update=gone)
    return tuple(ordered)


def brought_up(records: Records, observed: Observed, goal: Goal, now: datetime) -> Records:
    """Return the records with all that is seen of the attempts that have not ended yet, and with the ends of those."""
    return tuple(
        _brought_up(record, observed, goal, now, last=record is records[-1]) if record.ended_at is None else record
        for record in records
    )


def _brought_up(record: AttemptRecord, observed: Observed, goal: Goal, now: datetime, *, last: bool) -> AttemptRecord:
    """Return an attempt that had not ended as it is now.

    | its workload                 | it has been told to end | else                                     |
    |------------------------------|-------------------------|------------------------------------------|
    | pending or running           | goes on                 | goes on                                  |
    | ended, with a result         | Completed               | Completed                                |
    | ended, interrupted           | the reason it was told  | Interrupted                              |
    | ended, failed                | the reason it was told  | the reason that the run or its pods gave |
    | gone, its last words: result | Completed               | Completed                                |
    | gone, other or no last words | the reason it was told  | the run's failure, or Vanished           |
    | gone, and never seen         | the reason it was told  | goes on: it is about to start            |

    One that is not the `last` is never about to start.
    """
    workload = observed.workloads.get(record.workload)
    if workload is None:
        progress = observed.leftovers.get(record.workload)
        if last and not (was_seen(record) or record.stopping or progress):
            return record
        record = _seen(record, None, progress, now)
        gone = f"{record.workload} is gone; somebody has deleted it"
        return _ended(record, now, goal, progress, fallback=(c.VANISHED, gone), well=True)
    record = _seen(record, workload, workload.progress, now)
    if workload.alive:
        return record
    at = min(workload.ended_at or now, now)
    if workload.state == "Interrupted":
        if record.stopping is None:
            return _closed(record, at, c.INTERRUPTED, workload.message or None, None)
        return _closed(record, at, record.stopping, record.message, None)
    fallback = (workload.reason or c.CRASHED, workload.message or "the run ended without a result")
    record = record.model_copy(update={"pod": workload.pod or None})
    return _ended(record, at, goal, workload.progress, fallback, well=workload.state == "Succeeded")


def _ended(
    record: AttemptRecord,
    at: datetime,
    goal: Goal,
    progress: ProgressDocument | None,
    fallback: tuple[str, str],
    *,
    well: bool,
) -> AttemptRecord:
    if well and progress is not None and isinstance(progress.result, goal):
        return _closed(record, at, c.COMPLETED, None, None)
    if record.stopping is not None:
        return _closed(record, at, record.stopping, record.message, True)
    if progress is not None and progress.failure is not None:
        failure = progress.failure
        return _closed(record, at, failure.reason, failure.message, failure.retryable)
    return _closed(record, at, *fallback, True)


def closed_unseen(record: AttemptRecord, reason: str, message: str, now: datetime) -> AttemptRecord:
    """Return an attempt that was recorded and that never started, as ended."""
    return _closed(record, now, reason, message, None)


def _closed(
    record: AttemptRecord, at: datetime, reason: str, message: str | None, retryable: bool | None
) -> AttemptRecord:
    record = record.model_copy(
        update={"ended_at": at, "reason": reason, "message": message, "retryable": retryable, "stopping": None}
    )
    return record.model_copy(update={"gpu_hours": _hours(record, at)})


def _seen(
    record: AttemptRecord, workload: ObservedWorkload | None, progress: ProgressDocument | None, now: datetime
) -> AttemptRecord:
    changes: dict[str, object] = {}
    if workload is not None:
        if record.running_since is None and (workload.running_since or workload.state == "Running"):
            changes["running_since"] = min(workload.running_since or now, now)
        if workload.nodes:
            changes["nodes"] = workload.nodes[:64]
    training = progress.training if progress else None
    if progress is not None and training is not None:
        changes |= {"from_step": progress.resumed_from_step or 0, "to_step": training.step}
    if progress is not None:
        changes["recoveries"] = max(record.recoveries, len(progress.recoveries))
    moved = training is not None and training.step != record.to_step
    record = record.model_copy(update=changes)
    return record.model_copy(update={"gpu_hours": _hours(record, now)}) if moved else record


def _hours(record: AttemptRecord, until: datetime) -> float | None:
    if not record.gpus:
        return record.gpu_hours
    held = until - record.running_since if record.running_since else timedelta()
    return round(record.gpus * max(held, timedelta()) / timedelta(hours=1), 3)


def was_seen(record: AttemptRecord) -> bool:
    """Return whether an attempt has run."""
    return record.running_since is not None or record.to_step is not None


def failures(records: Records) -> list[AttemptRecord]:
    """Return the attempts that count towards runPolicy.maxAttempts."""
    return [record for record in records if record.ended_at is not None and record.reason not in _UNCOUNTED]


def nodes_to_avoid(records: Records) -> tuple[str, ...]:
    """Return the nodes that the next attempt keeps away from where there are others."""
    failed = [each for each in records if each.ended_at and each.reason in _OF_THE_NODE]
    nodes = dict.fromkeys(node for each in failed[-_AVOIDED_ATTEMPTS:] for node in each.nodes)
    return tuple(sorted(nodes))[:64]


def bounded(records: Records) -> Records:
    """Forget the oldest ends that were no failures first: what counts towards maxAttempts must stay known."""
    surplus = len(records) - RECORDS_KEPT
    kept: list[AttemptRecord] = []
    for record in records:
        if surplus > 0 and record.reason in _UNCOUNTED:
            surplus -= 1
        else:
            kept.append(record)
    return tuple(kept[-RECORDS_KEPT:])


def number_of(name: str, prefix: str) -> int | None:
    """Return the number of the attempt of a workload, or None when it is not named like one."""
    rest = name.removeprefix(prefix)
    whole = name.startswith(prefix) and rest.isascii() and rest.isdigit() and not rest.startswith("0")
    return int(rest) if whole else None


def _mended(record: AttemptRecord, observed: Observed, prefix: str, now: datetime) -> AttemptRecord:
    other = record.workload in observed.workloads and number_of(record.workload, prefix) is None
    changes: dict[str, object] = {"workload": record.workload if other else f"{prefix}{record.number}"}
    if record.ended_at is None and record.stopping is None:
        changes |= {"reason": None, "message": None, "retryable": None}
    for name in ("started_at", "running_since", "ended_at"):
        time = getattr(record, name)
        if time is not None and time > now:
            changes[name] = now
    return record.model_copy(update=changes)


def _likelier(one: AttemptRecord, other: AttemptRecord, observed: Observed) -> AttemptRecord:
    """Return the better of two records of the same number: the one that has not ended, if there is such a workload."""
    there = one.workload in observed.workloads
    return one if there and one.ended_at is None and other.ended_at is not None else other


def _is_back(record: AttemptRecord, observed: Observed, goal: Goal) -> bool:
    """Return whether the last attempt runs, or has reached its goal, and the status says that it ended otherwise."""
    if record.ended_at is None or record.reason == c.COMPLETED:
        return False
    workload = observed.workloads.get(record.workload)
    progress = workload.progress if workload else observed.leftovers.get(record.workload)
    done = progress is not None and isinstance(progress.result, goal)
    if done and (workload is None or workload.state == "Succeeded"):
        return True
    return record.reason not in OURS and workload is not None and workload.alive
