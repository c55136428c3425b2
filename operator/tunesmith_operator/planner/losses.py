"""What a training run lost on its way and went on without: workers, and checkpoints that cannot be read."""

from tunesmith_api import conditions as c
from tunesmith_api.contract import ProgressDocument
from tunesmith_api.finetunejob import CheckpointStatus, FineTuneJobStatus, Recovery
from tunesmith_operator.planner.situation import Situation
from tunesmith_operator.planner.types import Event

KEPT = 16


def taken_note(
    status: FineTuneJobStatus, progress: ProgressDocument | None, wanted: int
) -> tuple[FineTuneJobStatus, tuple[Event, ...]]:
    """Return a status that knows of all losses, and the events about those that it did not know of.

    `wanted` is spec.workers.
    """
    if progress is None or not (progress.recoveries or progress.skipped or progress.workers):
        return status, ()
    events: list[Event] = []
    if progress.workers and progress.workers != (status.workers or wanted):
        events.append(Event("Normal", c.RESIZED, f"training goes on with {progress.workers} of {wanted} workers"))
    known = {(each.at, each.worker): each for each in status.recoveries}
    for loss in progress.recoveries:
        before = known.get((loss.at, loss.worker))
        if before is None:
            events.append(Event("Warning", loss.reason, _lost(loss)))
        if loss.seconds is not None and (before is None or before.seconds is None):
            events.append(Event("Normal", c.RECOVERED, _back(loss)))
        known[loss.at, loss.worker] = loss
    skipped = status.checkpoints.skipped if status.checkpoints else ()
    for each in progress.skipped:
        if each not in skipped:
            events.append(Event("Warning", c.CHECKPOINT_SKIPPED, f"{each.uri} is passed over: {each.message}"))
            skipped = (*skipped, each)
    changes: dict[str, object] = {"recoveries": tuple(known.values())[-KEPT:]}
    if progress.workers:
        changes["workers"] = progress.workers
    if skipped:
        checkpoints = status.checkpoints or CheckpointStatus()
        changes["checkpoints"] = checkpoints.model_copy(update={"skipped": skipped[-KEPT:]})
    return status.model_copy(update=changes), tuple(events)


def recovering(number: int, progress: ProgressDocument | None) -> Situation | None:
    """Return the situation of a job whose attempt `number` waits for a worker to come back, or None."""
    if progress is None or progress.state != "Running" or not progress.recoveries:
        return None
    last = progress.recoveries[-1]
    return Situation("working", c.RECOVERING, f"attempt {number}: {_lost(last)}") if last.seconds is None else None


def _lost(loss: Recovery) -> str:
    why = f": {loss.message}" if loss.message else ""
    base = "the last checkpoint" if loss.resumed_from_step is None else f"step {loss.resumed_from_step}"
    return f"{loss.worker} was lost at step {loss.step} ({loss.reason}){why}; the workers go on from {base}"


def _back(loss: Recovery) -> str:
    repeated = max(loss.step - (loss.resumed_from_step or 0), 0)
    return (
        f"training goes on {loss.seconds:.0f} s after the loss of {loss.worker}; "
        f"{repeated} step{'' if repeated == 1 else 's'} of work repeated"
    )
