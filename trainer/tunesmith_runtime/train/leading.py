"""What the first worker finds out for all of them, however long it takes."""

from collections.abc import Callable
from datetime import timedelta
from typing import Generic, TypeVar

import torch

from tunesmith_runtime.errors import RunError, as_run_error
from tunesmith_runtime.train import group

T = TypeVar("T")
# Measuring a checkpoint may take longer than the workers otherwise wait for each other.
PATIENCE = timedelta(days=7)


class Leader(Generic[T]):
    """Has the first worker look and tells all workers what it found. Every worker has one, and all ask it together."""

    def __init__(self) -> None:
        self._alone = not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1
        self._group: torch.distributed.ProcessGroup | None = None

    def find(self, look: Callable[[], T]) -> T:
        """Return what `look` gives to the first worker. Raises RunError in all workers when it fails there."""
        if self._alone:
            return look()
        self._group = self._group or torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
        told: list[T | RunError | None] = [None]
        if group.is_first():
            try:
                told = [look()]
            except Exception as error:  # the others wait: they must be told before it goes on
                told = [as_run_error(error)]
        torch.distributed.broadcast_object_list(told, src=0, group=self._group)
        if isinstance(told[0], RunError):
            raise told[0]
        return told[0]  # type: ignore[return-value]
