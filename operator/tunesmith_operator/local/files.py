"""Small files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

ModelT = TypeVar("ModelT", bound=BaseModel)


def write(path: Path, text: str) -> None:
    """Put `text` in the place of `path` by rename, making its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}-", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)


def read(path: Path, model: type[ModelT]) -> ModelT | None:
    """Return what a file holds, or None when it is missing, torn or garbage."""
    try:
        return model.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def last_line(path: Path, longest: int = 300) -> str:
    """Return the last line of a log that says something, `longest` characters of it; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            tail = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in tail.replace("\r", "\n").splitlines()]
    return next((line[:longest] for line in reversed(lines) if line), "")
