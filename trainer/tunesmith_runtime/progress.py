"""The runtime's side of the progress document."""

import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunesmith_api.contract import PROGRESS_VARIABLE, ProgressDocument


class ProgressReporter:
    """Keeps one progress document and writes it, whole, each time it changes.

    Several processes of a run may report one after another: each update starts from what is written.
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
        document = self.read().model_copy(update=changes)
        document = document.model_copy(update={"updated_at": self._clock()})
        text = document.model_dump_json(by_alias=True, exclude_none=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=self._path.parent, prefix=f".{self._path.name}-", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
        Path(file.name).replace(self._path)
        return document
