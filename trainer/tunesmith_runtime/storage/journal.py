"""What a run has found out piece by piece, kept so that no later attempt pays for it again."""

import json
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunesmith_api.uris import join
from tunesmith_runtime import storage
from tunesmith_runtime.errors import NotWritableError
from tunesmith_runtime.storage import objects
from tunesmith_runtime.storage.scratch import scratch, short_hash

# How often the file is copied to a bucket: what was found out since is asked for again after a crash.
UPLOAD_SECONDS = 10.0

Entry = Mapping[str, Any]


class Journal:
    """A file with an entry on each line, by key, which several threads may add to at the same time."""

    def __init__(
        self, path: Path, upload: Callable[[Path], None] | None = None, upload_seconds: float = UPLOAD_SECONDS
    ) -> None:
        """Take the file, and what copies it, at most so often, to where it is kept when that is not on this machine."""
        self._path = path
        self._upload = upload
        self._upload_seconds = upload_seconds
        self._uploaded = time.monotonic()
        self._lock = threading.Lock()
        self._known = dict(_read(path))
        _end_last_line(path)

    def get(self, key: str) -> Entry | None:
        """Return what is known under a key."""
        return self._known.get(key)

    def entries(self) -> dict[str, Entry]:
        """Return all that is known, by key."""
        with self._lock:
            return dict(self._known)

    def add(self, entries: Mapping[str, Entry]) -> None:
        """Keep entries by their keys. Raises OSError, and NotWritableError when a bucket does not take them."""
        lines = "".join(json.dumps({"key": key, **entry}) + "\n" for key, entry in entries.items())
        with self._lock:
            self._known |= entries
            with self._path.open("a", encoding="utf-8") as file:
                file.write(lines)
            if self._upload and time.monotonic() - self._uploaded >= self._upload_seconds:
                self._copy()

    def keep(self, keys: Collection[str]) -> None:
        """Forget all but the entries of these keys."""
        with self._lock:
            left = {key: self._known[key] for key in self._known if key in keys}
            if len(left) == len(self._known):
                return
            self._known = left
            lines = (json.dumps({"key": key, **entry}) + "\n" for key, entry in left.items())
            whole = self._path.with_suffix(".part")
            whole.write_text("".join(lines), encoding="utf-8")
            whole.replace(self._path)

    def close(self) -> None:
        """Copy the file to where it is kept."""
        with self._lock:
            if self._upload and self._path.is_file():
                self._copy()

    def _copy(self) -> None:
        assert self._upload is not None  # noqa: S101 - asked by the callers
        self._upload(self._path)
        self._uploaded = time.monotonic()


@contextmanager
def opened(folder: str, name: str, upload_seconds: float = UPLOAD_SECONDS) -> Iterator[Journal]:
    """Give the journal of that file name in the folder at a URI.

    With 0 for `upload_seconds` each entry is in a bucket at once. Raises NotWritableError.
    """
    if not storage.in_bucket(folder):
        path = storage.local_path(folder)
        path.mkdir(parents=True, exist_ok=True)
        yield Journal(path / name)
        return
    uri = join(folder, name)
    copy = scratch() / f"{short_hash(objects.endpoint(), uri)}-{name}"
    copy.unlink(missing_ok=True)
    objects.get_if_there(uri, copy, NotWritableError)
    journal = Journal(copy, lambda path: objects.put(path, uri, NotWritableError), upload_seconds)
    try:
        yield journal
    finally:
        journal.close()
        copy.unlink(missing_ok=True)


def _read(path: Path) -> Iterator[tuple[str, Entry]]:
    """Yield what the file holds; a line that was cut off is passed over."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            yield str(entry.pop("key")), entry
        except (ValueError, KeyError, TypeError, AttributeError):
            continue


def _end_last_line(path: Path) -> None:
    """Begin a new line after one that was cut off."""
    if path.is_file() and not path.read_bytes().endswith(b"\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")
