"""Folders in buckets: read whole, published whole.

S3 knows no rename. A folder that is being published holds the object IN_PROGRESS from before its first change until
after its last, and no reader takes such a folder for anything.
"""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunesmith_api.uris import join
from tunesmith_runtime.errors import NotWritableError, RunError
from tunesmith_runtime.storage import objects
from tunesmith_runtime.storage.scratch import locked, scratch, short_hash

IN_PROGRESS = ".tunesmith-publishing"


@dataclass(frozen=True)
class BucketDestination:
    """A folder of a bucket that is going to be published."""

    uri: str
    marker: str

    def check(self) -> None:
        """Raise NotWritableError when it cannot be written, or holds something that was not published here."""
        ensure_writable(self.uri)
        self._replaceable()

    @contextmanager
    def published(self, tag: str = "") -> Iterator[Path]:
        """Give an empty folder of this machine, and publish what it holds in the end when all went well."""
        with tempfile.TemporaryDirectory(dir=scratch(), prefix=f"staged{tag}-") as staged:
            yield Path(staged)
            self._publish(Path(staged))

    def _replaceable(self) -> dict[str, objects.Stored]:
        found = objects.listing(self.uri, NotWritableError)
        if found and not {self.marker, IN_PROGRESS} & found.keys():
            raise NotWritableError(
                f"{self.uri} holds objects that were not published here (there is no {self.marker}); "
                "name a new or an empty folder"
            )
        return found

    def _publish(self, staged: Path) -> None:
        """Upload `staged`. Until all of it is there and nothing else, readers are told to keep off."""
        old = self._replaceable().keys() - {IN_PROGRESS}
        new = _files(staged)
        objects.put_text("This folder is being written by Tunesmith.\n", self._object(IN_PROGRESS), NotWritableError)
        if self.marker in old:
            objects.delete(self._object(self.marker), NotWritableError)
        for name in sorted(new.keys() - {self.marker}):
            objects.put(new[name], self._object(name), NotWritableError)
        for name in sorted(old - new.keys()):
            objects.delete(self._object(name), NotWritableError)
        objects.put(new[self.marker], self._object(self.marker), NotWritableError)
        objects.delete(self._object(IN_PROGRESS), NotWritableError)

    def _object(self, name: str) -> str:
        return join(self.uri, name)


def ensure_writable(uri: str) -> None:
    """Write an object below `uri` and delete it. Raises NotWritableError when either is refused."""
    probe = join(uri, f".write-probe-{uuid.uuid4().hex}")
    objects.put_text("", probe, NotWritableError)
    objects.delete(probe, NotWritableError)


def contents(uri: str, refusal: type[RunError]) -> dict[str, objects.Stored]:
    """Return the objects of a folder. Raises `refusal` when its publication is not finished."""
    found = objects.listing(uri, refusal)
    if IN_PROGRESS in found:
        raise refusal(
            f"{uri} is only half published: it holds {IN_PROGRESS}. Wait until the run that writes it has ended, or "
            "run that job again"
        )
    return found


def fetch(uri: str, found: dict[str, objects.Stored], refusal: type[RunError]) -> Path:
    """Return a folder of this machine with the objects `found` below `uri`.

    It is downloaded once for all processes of the machine, and again only when the objects have changed. Raises
    `refusal`, or a retryable error when they change meanwhile.
    """
    names = [f"{name} {stored.size} {stored.etag}" for name, stored in found.items()]
    copy = scratch("copies") / short_hash(objects.endpoint(), uri.rstrip("/"), *names)
    with locked(copy):
        if copy.is_dir():
            return copy
        partial = copy.with_name(f"{copy.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            download(uri, found, partial, refusal)
            partial.rename(copy)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return copy


def download(uri: str, found: dict[str, objects.Stored], into: Path, refusal: type[RunError]) -> None:
    """Copy the objects `found` below `uri` into a folder. Raises as `fetch` does."""
    objects.get_all(uri, {into / name: join(uri, name) for name in found}, refusal)
    if objects.listing(uri, refusal) != found:
        raise objects.StorageUnavailableError(f"{uri} was changed while it was read; read it again")


def upload(folder: Path, uri: str) -> None:
    """Copy the files below `folder` to objects below `uri`."""
    for name, path in _files(folder).items():
        objects.put(path, join(uri, name), NotWritableError)


def delete(uri: str) -> None:
    """Delete all objects below `uri`."""
    for name in objects.listing(uri, NotWritableError):
        objects.delete(join(uri, name), NotWritableError)


def _files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
