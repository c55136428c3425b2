"""The files that a URI names: one file, those of a folder, or those that a glob pattern matches."""

import functools
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tunesmith_api import uris
from tunesmith_runtime.errors import RunError
from tunesmith_runtime.storage import buckets, objects
from tunesmith_runtime.storage.scratch import scratch

_WILDCARD = re.compile(r"[*?\[]")
_SHOWN = 5


@dataclass(frozen=True)
class StoredFile:
    """A file to read: its own URI, its path below the folder that was named, and where it lies on this machine."""

    uri: str
    name: str
    path: Path


@dataclass(frozen=True)
class FileSet:
    """The files that a URI names, sorted by name; `several` when it names a folder or a pattern, not a file.

    Objects of S3 are copied to this machine; the copies are deleted with the file set.
    """

    uri: str
    files: tuple[StoredFile, ...]
    several: bool


@dataclass(frozen=True)
class Selection:
    """What is asked for: a URI, which names are read in folders, and the error to raise when there are none."""

    uri: str
    wanted: Callable[[str], bool]
    refusal: type[RunError]

    def in_folders(self, local_path: Callable[[str], Path]) -> FileSet:
        """Return files of this machine; `local_path` says where a URI lies. Raises `refusal`."""
        path = local_path(self.uri)
        called = self.uri if str(path) in self.uri else f"{self.uri} ({path})"
        try:
            is_file, is_folder = path.is_file(), path.is_dir()
        except OSError as error:
            raise self.refusal(f"{called} cannot be read: {error.strerror}") from error
        if is_file:
            return FileSet(self.uri, (StoredFile(self.uri, path.name, path),), several=False)
        pattern = None if is_folder else self._pattern()
        if pattern is None and not is_folder:
            raise self.refusal(f"{called}: no such file")
        folder_uri = pattern.folder if pattern else f"{self.uri.rstrip('/')}/"
        folder = local_path(folder_uri)
        found = sorted(_below(folder, called, self.refusal, pattern.depth if pattern else None))
        names = self._chosen(found, pattern, called)
        return FileSet(
            self.uri, tuple(StoredFile(folder_uri + name, name, folder / name) for name in names), several=True
        )

    def in_buckets(self) -> FileSet:
        """Return copies of objects of S3. Raises `refusal`."""
        copies = Path(tempfile.mkdtemp(dir=scratch(), prefix="data-"))
        try:
            files = self._copied(copies)
        except BaseException:
            shutil.rmtree(copies, ignore_errors=True)
            raise
        weakref.finalize(files, shutil.rmtree, copies, ignore_errors=True)
        return files

    def _copied(self, copies: Path) -> FileSet:
        uri, pattern = self.uri, self._pattern()
        single = StoredFile(uri, uri.rpartition("/")[2], copies / "object")
        names_object = pattern is None and bool(uris.split(uri).path) and not uri.endswith("/")
        if names_object and objects.get_if_there(uri, single.path, self.refusal):
            return FileSet(uri, (single,), several=False)
        folder = pattern.folder if pattern else f"{uri.rstrip('/')}/"
        found = buckets.contents(folder, self.refusal)
        if not found and pattern is None:
            raise objects.missing(uri, self.refusal)
        names = self._chosen(found, pattern, uri)
        files = tuple(StoredFile(folder + name, name, copies / str(index)) for index, name in enumerate(names))
        objects.get_all(uri, {file.path: file.uri for file in files}, self.refusal)
        return FileSet(uri, files, several=True)

    def _pattern(self) -> "_Pattern | None":
        first = _WILDCARD.search(self.uri)
        if not first:
            return None
        border = self.uri.rfind("/", 0, first.start()) + 1
        if self.uri[:border].endswith("://"):
            raise self.refusal(f"{self.uri}: * ? and [ can stand in paths only, not in the name before the first /")
        return _Pattern(self.uri[:border], self.uri[border:])

    def _chosen(self, found: Iterable[str], pattern: "_Pattern | None", called: str) -> list[str]:
        names = [name for name in found if pattern is None or pattern.matches(name)]
        chosen = [name for name in names if not _is_hidden(name) and self.wanted(name)]
        if not chosen:
            what = "no data file matches the pattern" if pattern else "the folder holds no data files"
            passed = f"; passed over: {', '.join(names[:_SHOWN])}" if names else ""
            raise self.refusal(f"{called}: {what}{passed}")
        return chosen


@dataclass(frozen=True)
class _Pattern:
    """A glob pattern: the URI of the folder before its first wildcard, and what it says of paths below that."""

    folder: str
    rest: str

    def matches(self, name: str) -> bool:
        return _matcher(self.rest).fullmatch(name) is not None

    @property
    def depth(self) -> int | None:
        """How many names deep a match can lie; None for any number."""
        parts = self.rest.split("/")
        return None if "**" in parts else len(parts)


@functools.cache
def _matcher(pattern: str) -> re.Pattern[str]:
    from fsspec.utils import glob_translate  # takes a moment: only for those who use it

    # ** is a whole part of a path; beside other characters it is no more than *.
    parts = (part if part == "**" else re.sub(r"\*+", "*", part) for part in pattern.split("/"))
    return re.compile(glob_translate("/".join(parts)))


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _below(folder: Path, called: str, refusal: type[RunError], depth: int | None = None) -> Iterator[str]:
    """Yield the files below a folder by their path from there; links are followed, but never in circles."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise refusal(f"{called}: {error.filename} cannot be read: {error.strerror}") from error

    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        here = Path(parent).relative_to(folder)
        real = os.path.realpath(parent)
        if real in seen or (depth is not None and len(here.parts) >= depth - 1):
            folders.clear()
        # lost+found of a volume belongs to root.
        folders[:] = [name for name in folders if not name.startswith(".") and name != "lost+found"]
        if real not in seen:
            yield from ((here / name).as_posix() for name in files)
        seen.add(real)
