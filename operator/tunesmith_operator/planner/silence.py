"""Whether an attempt still reports: the operator's own look at what the runtime should notice itself."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tunesmith_api.finetunejob import ProgressWatch
from tunesmith_operator.planner.types import ObservedWorkload


@dataclass(frozen=True)
class Look:
    """What is known now, whether the attempt has hung, and when to look again."""

    watch: ProgressWatch | None = None
    hung: bool = False
    again: timedelta | None = None


def look(before: ProgressWatch | None, workload: ObservedWorkload | None, timeout: timedelta, now: datetime) -> Look:
    """Return whether a progress document has stood still for twice `timeout` between two steps of training.

    The runtime notices a hung step after `timeout` and ends; this is for one that cannot. The times are those at which
    the operator first saw what it sees, never the pod's own. The two halves of the time are counted one after the
    other, so that one leap of the clock makes up for one of them at most.

    | the document                 | known before | what follows                    |
    |------------------------------|--------------|---------------------------------|
    | says that it trains, changed |              | the time starts anew            |
    | says that it trains, same    | for less     | wait                            |
    | says that it trains, same    | for timeout  | silent; the time starts anew    |
    | says that it trains, same    | silent for as long again | hung                |
    | says anything else           |              | nothing is known                |
    """
    mark = _mark(workload)
    if mark is None:
        return Look()
    if before is None or before.mark != mark or before.since > now:
        return Look(ProgressWatch(mark=mark, since=now), again=timeout)
    left = before.since + timeout - now
    if left > timedelta():
        return Look(before, again=left)
    if before.silent:
        return Look(before, hung=True)
    return Look(ProgressWatch(mark=mark, since=now, silent=True), again=timeout)


def _mark(workload: ObservedWorkload | None) -> str | None:
    """Return what tells this progress document from the next, or None when no step is to be expected."""
    progress = workload.progress if workload and workload.state == "Running" and not workload.stopping else None
    training = progress.training if progress and progress.state == "Running" else None
    if workload is None or progress is None or training is None or not 0 < training.step < training.total_steps:
        return None
    at = progress.updated_at.isoformat() if progress.updated_at else f"step {training.step}"
    return f"{workload.name[-16:]} {at}"[:64]
