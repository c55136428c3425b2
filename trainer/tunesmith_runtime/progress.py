"""The runtime's side of the progress document."""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from tunesmith_api.contract import PROGRESS_VARIABLE, ProgressDocument

# How long an update waits for another one. Whoever takes longer hangs, and must not keep that from being said.
LOCK_SECONDS = 10.0
_POLL_SECONDS = 0.02


class ProgressReporter:
    """Keeps one progress document and writes it, whole, each time it changes.

    Several processes of a run, and threads, may report: each update starts from what is written.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._clock = clock

    @classmethod
    def from_environment(cls) -> "ProgressReporter":
        """Return a reporter to the file that $TUNESMITH_PROGRESS names."""
        return cls(Path(os.environ[PROGRESS_VARIABLE]))

    def read(self) -> ProgressDocument:
        """Return what was reported last."""
        try:
            return ProgressDocument.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return ProgressDocument()

    def update(self, **changes: Any) -> ProgressDocument:
        """Change fields of the document and write it atomically."""
        with self._path.with_name(f".{self._path.name}.lock").open("w") as lock:
            _lock(lock)
            return self._updated(changes)

    def _updated(self, changes: dict[str, Any]) -> ProgressDocument:
        document = self.read().model_copy(update=changes)
        document = document.model_copy(update={"updated_at": self._clock()})
        text = document.model_dump_json(by_alias=True, exclude_none=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=self._path.parent, prefix=f".{self._path.name}-", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
        Path(file.name).replace(self._path)
        return document


def _lock(file: IO[str]) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while time.monotonic() < deadline:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_POLL_SECONDS)
        else:
            return
