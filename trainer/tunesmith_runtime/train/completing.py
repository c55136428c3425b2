"""A checkpoint becomes complete while the next steps compute.

What has to stand still for a checkpoint is the writing of weights and states from memory. Digests, flushing to the disk
or uploading, and the manifest come afterwards, on a thread of each worker, and over connections of its own.
"""

import threading
from collections.abc import Callable

import torch

from tunesmith_runtime.train import group
from tunesmith_runtime.train.leading import PATIENCE

# How long training that has failed waits for a checkpoint that it has written before.
SETTLE_SECONDS = 60.0


class Completion:
    """Carries out one action after another beside training. Every worker has one and calls the same of it."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._connections: torch.distributed.ProcessGroup | None = None

    def start(self, action: Callable[[], None]) -> None:
        """Begin an action, once the one before is done. Raises what that has raised."""
        self.wait()
        if torch.distributed.is_initialized() and self._connections is None:
            self._connections = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)

        def act() -> None:
            try:
                with group.connected_by(self._connections):
                    action()
            except BaseException as error:  # it is raised where training can be ended by it
                self._error = error

        self._thread = threading.Thread(target=act, name="completing a checkpoint", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what an action has raised; it may still go on."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Return once the action is done. Raises what it has raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def settle(self) -> None:
        """Let an action end whose outcome does not matter any more, so that what was saved is not lost."""
        if self._thread is not None:
            self._thread.join(SETTLE_SECONDS)
