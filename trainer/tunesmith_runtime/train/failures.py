"""Why training on several workers failed."""

from collections.abc import Mapping

from ray.train import TrainingFailedError

from tunesmith_api import conditions
from tunesmith_runtime.errors import AcceleratorFailedError, OutOfMemoryError, RunError

# What workers say whose connection to another one broke.
_CUT_OFF = ("Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe")
# What Ray says of a worker that it ended to save the machine.
_SHORT_OF_MEMORY = ("running low on memory", "OutOfMemoryError")
_SHOWN = 500


class WorkerLostError(RunError):
    """A worker's process or pod is gone; `ranks` are those that are known to be."""

    reason = conditions.WORKER_LOST

    def __init__(self, message: str, ranks: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.ranks = ranks


class WorkerMemoryError(WorkerLostError, OutOfMemoryError):
    """A worker's process was ended for its memory."""

    reason = conditions.OUT_OF_MEMORY


def cause(error: TrainingFailedError) -> RunError:
    """Return what ended the training.

    One worker's failure makes others fail that wait for it, so the most telling one counts: a sentence of a worker's
    own before the loss of a worker, and that before an error that nobody foresaw, or that NCCL has with the others.
    """
    by_rank: Mapping[int, BaseException] = getattr(error, "worker_failures", {})
    # Ray wraps what a worker raised together with its traceback.
    failures = {rank: getattr(failure, "_base_exc", failure) for rank, failure in sorted(by_rank.items())}
    own = [failure for failure in failures.values() if isinstance(failure, RunError)]
    for failure in own:
        if type(failure) is not RunError and not (isinstance(failure, AcceleratorFailedError) and failure.of_all):
            return failure
    lost = {rank: failure for rank, failure in failures.items() if not isinstance(failure, RunError)}
    text = " ".join(str(next(iter(lost.values()), error)).split())
    if any(sign in text for sign in _SHORT_OF_MEMORY):
        return WorkerMemoryError(
            "a training worker used up its memory; ask for more, or use a smaller batch or maxLength", tuple(lost)
        )
    if lost or not own or all(any(sign in failure.message for sign in _CUT_OFF) for failure in own):
        return WorkerLostError(f"a training worker was lost: {text[:_SHOWN]}", tuple(lost))
    return next((failure for failure in own if isinstance(failure, AcceleratorFailedError)), own[0])
