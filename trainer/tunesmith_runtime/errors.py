"""Errors that end a run, with the reason that lands in the resource's status."""

import errno
from collections.abc import Iterator
from typing import Self

from tunesmith_api import conditions
from tunesmith_api.contract import RunFailure

# The words of CUDA's libraries, of the driver and of NCCL in errors that have no type of their own. Some that come as
# errors of the device are none: a mistake of the program, which another node would make as well.
_OF_CUDA = (
    "CUDA error",
    "CUDA driver error",
    "CUBLAS_STATUS_",
    "CUDNN_STATUS_",
    "cuDNN error",
    "ECC error",
    "NVRM: Xid",
    "Xid (PCI",
    "No CUDA GPUs are available",
)
_OF_NCCL = ("NCCL error", "NCCL communicator was aborted", "ncclInternalError", "ncclSystemError", "ncclRemoteError")
_OF_PROGRAMS = ("device-side assert triggered", "invalid device ordinal", "invalid configuration argument")
# What a file system says whose disk or server fails.
_NOT_THERE = {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.EREMOTEIO, errno.ENODEV}
_IO_ERRORS = ("Input/output error", "Stale file handle", "Transport endpoint is not connected")
_OF_MEMORY = ("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


class RunError(Exception):
    """Ends the run with a reason and a sentence; `retryable` says whether trying again can help."""

    reason = conditions.INTERNAL_ERROR
    retryable = True

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def failure(self) -> RunFailure:
        """Return the error as the contract carries it."""
        return RunFailure(reason=self.reason, message=self.message[:4096], retryable=self.retryable)


class DataError(RunError):
    """A dataset is missing, unreadable or not of its format."""

    reason = conditions.DATA_INVALID
    retryable = False


class ModelError(RunError):
    """A model is missing or not usable for the task."""

    reason = conditions.MODEL_INVALID
    retryable = False


class ConfigError(RunError):
    """Settings that do not go together."""

    reason = conditions.CONFIG_INVALID
    retryable = False


class NotWritableError(RunError):
    """A folder that the spec names cannot be written."""

    reason = conditions.STORAGE_NOT_WRITABLE
    retryable = False


class StorageUnavailableError(RunError):
    """Storage cannot be reached or cannot answer now."""

    reason = conditions.STORAGE_UNAVAILABLE


class PortTakenError(RunError):
    """The port of an endpoint belongs to another program."""

    reason = conditions.PORT_TAKEN
    retryable = False


class OutOfMemoryError(RunError):
    """The run used up its memory."""

    reason = conditions.OUT_OF_MEMORY


class AcceleratorFailedError(RunError):
    """CUDA or NCCL failed; `of_all` says that it may as well have been another worker's failure that it met."""

    reason = conditions.ACCELERATOR_FAILED

    def __init__(self, message: str, *, of_all: bool = False) -> None:
        super().__init__(message)
        self.of_all = of_all

    @classmethod
    def caused_by(cls, error: BaseException) -> Self | None:
        """Return the error to raise when `error`, or what it came from, is one of CUDA's or NCCL's; None otherwise.

        torch raises them as its AcceleratorError, DistBackendError or as a plain RuntimeError, by its version.
        """
        for cause in _causes(error):
            text = " ".join(str(cause).split())
            if not isinstance(cause, RuntimeError) or any(sign in text for sign in _OF_PROGRAMS):
                continue
            if any(sign in text for sign in _OF_NCCL):
                return cls(f"NCCL failed: {text}", of_all=True)
            if type(cause).__name__ == "AcceleratorError" or any(sign in text for sign in _OF_CUDA):
                return cls(f"the GPU failed: {text}")
        return None


class StorageFullError(RunError):
    """No space is left where the run writes."""

    reason = conditions.STORAGE_FULL

    @classmethod
    def caused_by(cls, error: BaseException, doing: str) -> Self | None:
        """Return the error to raise when `error`, or what it came from, says that a disk is full; None otherwise.

        Native writers (safetensors, torch) wrap the errno into text, hence the look at the message.
        """
        for cause in _causes(error):
            full = isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}
            if full or "No space left on device" in str(cause):
                return cls(f"No space left on the device while {doing}; free some space, or point the spec elsewhere")
        return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what it came from, each once: an error may have been raised from itself."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def storage_error(error: BaseException, doing: str) -> RunError | None:
    """Return the error to raise when `error`, or what it came from, says what is wrong with a disk; None otherwise.

    It may have been writable when the run began: so a volume that cannot be written now is tried again.
    """
    if full := StorageFullError.caused_by(error, doing):
        return full
    for cause in _causes(error):
        number = cause.errno if isinstance(cause, OSError) else None
        if number == errno.EROFS or "Read-only file system" in str(cause):
            refused = NotWritableError(f"The volume cannot be written any more, while {doing}: {cause}")
            refused.retryable = True
            return refused
        if number in _NOT_THERE or any(sign in str(cause) for sign in _IO_ERRORS):
            return StorageUnavailableError(f"The disk or its server fails while {doing}: {cause}")
    return None


def as_run_error(error: BaseException) -> RunError:
    """Return `error` as the RunError it is or came from; anything unknown becomes an internal, retryable one."""
    for cause in _causes(error):
        if isinstance(cause, RunError):
            return cause
    if found := storage_error(error, "writing"):
        return found
    if short := _of_memory(error):
        return short
    if failed := AcceleratorFailedError.caused_by(error):
        return failed
    return RunError(f"{type(error).__name__}: {error}")


def _of_memory(error: BaseException) -> OutOfMemoryError | None:
    for cause in _causes(error):
        if isinstance(cause, RuntimeError) and any(sign in str(cause) for sign in _OF_MEMORY):
            return OutOfMemoryError(
                f"the GPU is out of memory: {cause}; use a smaller perDeviceTrainBatchSize with more "
                "gradientAccumulationSteps, a smaller maxLength, activationCheckpointing, an adapter in place of all "
                "weights, or DeepSpeed with zeroStage 3"
            )
        if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
            return OutOfMemoryError(f"out of memory: {cause}; use a smaller batch size or maxLength")
    return None
