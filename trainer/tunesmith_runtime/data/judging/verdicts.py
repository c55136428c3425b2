"""The verdicts that a judge has given: kept beside the checkpoints, so that no attempt asks for one again."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tunesmith_api.judging import Judge
from tunesmith_api.uris import join
from tunesmith_runtime import storage
from tunesmith_runtime.data.judging.questions import VERSION, Verdict
from tunesmith_runtime.errors import NotWritableError
from tunesmith_runtime.storage import objects
from tunesmith_runtime.storage.scratch import scratch, short_hash

VERDICTS = "verdicts.jsonl"
# How often the file is copied to a bucket: what was judged since is asked again after a crash.
UPLOAD_SECONDS = 10.0
_SHOWN = 200


def digest(judge: Judge, question: str) -> str:
    """Return what a verdict is remembered by: all that it depends on."""
    parts = [VERSION, judge.model, judge.temperature, judge.max_tokens, question]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Verdicts:
    """A file with a verdict on each line, which several threads may add to at the same time.

    What a reply that is no verdict said is there as well, for people to read.
    """

    def __init__(self, path: Path, upload: Callable[[Path], None] | None = None) -> None:
        """Take the file, and what copies it to where it is kept when that is not on this machine."""
        self._path = path
        self._upload = upload
        self._uploaded = time.monotonic()
        self._lock = threading.Lock()
        self._known = dict(_read(path))
        _end_last_line(path)

    def get(self, key: str) -> tuple[Verdict, str] | None:
        """Return a verdict and what was said when it is none; None when nobody has been asked."""
        return self._known.get(key)

    def add(self, key: str, verdict: Verdict, reply: str) -> None:
        """Remember a verdict."""
        entry = {"question": key, "verdict": verdict}
        said = " ".join(reply.split())[:_SHOWN] if verdict == "?" else ""
        if said:
            entry["reply"] = said
        with self._lock:
            self._known[key] = (verdict, said)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            if self._upload and time.monotonic() - self._uploaded >= UPLOAD_SECONDS:
                self._copy()

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
def opened(checkpoints: str) -> Iterator[Verdicts]:
    """Give the verdicts of the run whose checkpoints are at a URI."""
    if not storage.in_bucket(checkpoints):
        folder = storage.local_path(checkpoints)
        folder.mkdir(parents=True, exist_ok=True)
        yield Verdicts(folder / VERDICTS)
        return
    uri = join(checkpoints, VERDICTS)
    copy = scratch() / f"{short_hash(objects.endpoint(), uri)}-{VERDICTS}"
    copy.unlink(missing_ok=True)
    objects.get_if_there(uri, copy, NotWritableError)
    verdicts = Verdicts(copy, lambda path: objects.put(path, uri, NotWritableError))
    try:
        yield verdicts
    finally:
        verdicts.close()
        copy.unlink(missing_ok=True)


def _read(path: Path) -> Iterator[tuple[str, tuple[Verdict, str]]]:
    """Yield what the file holds; a line that was cut off is passed over."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            yield str(entry["question"]), (entry["verdict"], str(entry.get("reply", "")))
        except (ValueError, KeyError, TypeError):
            continue


def _end_last_line(path: Path) -> None:
    """Begin a new line after one that was cut off."""
    if path.is_file() and not path.read_bytes().endswith(b"\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")
