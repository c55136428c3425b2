"""Checkpoints that cannot be read are told, in the progress and in the log."""

from collections.abc import Iterable

from tunesmith_api.contract import SkippedCheckpoint
from tunesmith_runtime.progress import ProgressReporter

# A progress document has the last of them.
_KEPT = 16


def report(skipped: Iterable[SkippedCheckpoint], reporter: ProgressReporter) -> None:
    """Tell each checkpoint that was passed over, once for an attempt."""
    known = reporter.read().skipped
    new = tuple(each for each in skipped if each not in known)
    if not new:
        return
    for each in new:
        print(f"{each.uri} is passed over: {each.message}", flush=True)  # noqa: T201 - the run's log
    reporter.update(skipped=(*known, *new)[-_KEPT:])
