"""Why training on several workers failed."""

from collections.abc import Mapping

from ray.train import TrainingFailedError

from tunesmith_runtime.errors import OutOfMemoryError, RunError

# What workers say whose connection to another one broke.
_CUT_OFF = ("Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe")
# What Ray says of a worker that it ended to save the machine.
_SHORT_OF_MEMORY = ("running low on memory", "OutOfMemoryError")
_SHOWN = 500


class WorkerLostError(RunError):
    """A worker's process or pod is gone."""


def cause(error: TrainingFailedError) -> RunError:
    """Return what ended the training.

    One worker's failure makes others fail that wait for it, so the most telling one counts: a sentence of a worker's
    own before the loss of a worker, and that before an error that nobody foresaw.
    """
    by_rank: Mapping[int, BaseException] = getattr(error, "worker_failures", {})
    # Ray wraps what a worker raised together with its traceback.
    failures = [getattr(failure, "_base_exc", failure) for _, failure in sorted(by_rank.items())]
    own = [failure for failure in failures if isinstance(failure, RunError)]
    for failure in own:
        if type(failure) is not RunError:
            return failure
    lost = [failure for failure in failures if not isinstance(failure, RunError)]
    text = " ".join(str(lost[0] if lost else error).split())
    if any(sign in text for sign in _SHORT_OF_MEMORY):
        return OutOfMemoryError(
            "a training worker used up its memory; ask for more, or use a smaller batch or maxLength"
        )
    if lost or not own or any(sign in own[0].message for sign in _CUT_OFF):
        return WorkerLostError(f"a training worker was lost: {text[:_SHOWN]}")
    return own[0]
