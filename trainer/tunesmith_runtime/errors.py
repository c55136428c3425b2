"""Errors that end a run, with the reason that lands in the resource's status."""

import errno
from collections.abc import Iterator
from typing import Self

from tunesmith_api import conditions
from tunesmith_api.contract import RunFailure


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


class PortTakenError(RunError):
    """The port of an endpoint belongs to another program."""

    reason = conditions.PORT_TAKEN
    retryable = False


class OutOfMemoryError(RunError):
    """The run used up its memory."""

    reason = conditions.OUT_OF_MEMORY


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


def as_run_error(error: BaseException) -> RunError:
    """Return `error` as the RunError it is or came from; anything unknown becomes an internal, retryable one."""
    for cause in _causes(error):
        if isinstance(cause, RunError):
            return cause
    if full := StorageFullError.caused_by(error, "writing"):
        return full
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it
        return OutOfMemoryError(f"out of memory: {error}; use a smaller batch size or maxLength")
    return RunError(f"{type(error).__name__}: {error}")
