"""Small texts in folders and buckets: written whole, or not at all."""

import tempfile
from pathlib import Path

from tunesmith_runtime import storage
from tunesmith_runtime.errors import NotWritableError
from tunesmith_runtime.storage import objects


def read_text(uri: str) -> str | None:
    """Return the text that a pvc://, file:// or s3:// URI names, or None when there is none. Raises RunError."""
    if not storage.in_bucket(uri):
        path = storage.local_path(uri)
        return path.read_text(encoding="utf-8") if path.is_file() else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text")
        return path.read_text(encoding="utf-8") if objects.get_if_there(uri, path, NotWritableError) else None


def write_text(text: str, uri: str) -> None:
    """Write a text to where a pvc://, file:// or s3:// URI says. Raises OSError or RunError."""
    if storage.in_bucket(uri):
        objects.put_text(text, uri, NotWritableError)
        return
    path = storage.local_path(uri)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}-", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    Path(file.name).replace(path)
