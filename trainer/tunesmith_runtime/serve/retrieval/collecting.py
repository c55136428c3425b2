"""The documents that a spec names, and a digest of their contents that costs little when nothing has changed."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tunesmith_runtime import storage
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.serve.retrieval.documents import is_document
from tunesmith_runtime.storage import objects

# What tells that a file is the one that was looked at before.
Stamp = tuple[object, ...]
Contents = Mapping[str, str]


@dataclass(frozen=True)
class Collected:
    """A file of documents: its name as people are told it, where it lies, and the SHA-256 of what is in it."""

    name: str
    path: Path
    sha256: str


@dataclass
class Collection:
    """The files below some URIs. Nothing is read twice that has not changed."""

    uris: tuple[str, ...]
    _digests: dict[str, tuple[Stamp, str]] = field(default_factory=dict)
    _stamps: dict[str, Stamp] = field(default_factory=dict)
    _collected: tuple[Collected, ...] = ()
    # Copies of buckets' objects live as long as their file sets.
    _sets: list[storage.FileSet] = field(default_factory=list)

    def look(self) -> tuple[Collected, ...]:
        """Return the files as they are now, by name. Raises RunError when there are none, or storage fails."""
        stamps = {uri: _stamp_of_bucket(uri) for uri in self.uris if storage.in_bucket(uri)}
        if len(stamps) == len(self.uris) and stamps == self._stamps and self._collected:
            return self._collected
        sets = [storage.data_files(uri, is_document) for uri in self.uris]
        found = tuple(sorted(self._collect(sets), key=lambda each: (each.name, each.sha256)))
        self._sets, self._stamps, self._collected = sets, stamps, found
        return found

    def _collect(self, sets: list[storage.FileSet]) -> Iterator[Collected]:
        for uri, files in zip(self.uris, sets, strict=True):
            folder = f"{uri.rstrip('/').rpartition('/')[2]}/" if files.several else ""
            for file in files.files:
                if not is_document(file.name):
                    raise DataError(f"{file.uri} is no document that is read here: its name must end in .txt, .md, "
                                    ".html, .jsonl or .pdf")  # fmt: skip
                yield Collected(folder + file.name, file.path, self._sha256(file))

    def _sha256(self, file: storage.StoredFile) -> str:
        state = file.path.stat()
        stamp: Stamp = (state.st_size, state.st_mtime_ns, state.st_ino)
        known = self._digests.get(file.uri)
        if known is None or known[0] != stamp:
            with file.path.open("rb") as contents:
                known = (stamp, hashlib.file_digest(contents, "sha256").hexdigest())
            self._digests[file.uri] = known
        return known[1]


def digest(files: tuple[Collected, ...]) -> str:
    """Return what stands for names and contents of files."""
    return hashlib.sha256("\n".join(f"{each.sha256} {each.name}" for each in files).encode()).hexdigest()


def _stamp_of_bucket(uri: str) -> Stamp:
    """Return what changes when objects below a URI do."""
    found = objects.listing(uri, DataError)
    if not found:
        parent, _, name = uri.rstrip("/").rpartition("/")
        found = {key: stored for key, stored in objects.listing(parent, DataError).items() if key == name}
    return tuple((name, stored.size, stored.etag) for name, stored in found.items())
