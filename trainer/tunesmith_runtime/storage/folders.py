"""Folders of a file system: published by rename."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunesmith_runtime.errors import NotWritableError


@dataclass(frozen=True)
class FolderDestination:
    """A folder that is going to be published; `uri` is what users call it."""

    uri: str
    path: Path
    marker: str

    def check(self) -> None:
        """Raise NotWritableError when it cannot be written, is a file, or holds what was not published here."""
        path = self.path
        if path.exists() and not path.is_dir():
            raise NotWritableError(f"{self.uri}: {path} is a file; name a folder")
        ensure_writable(self.uri.rstrip("/").rpartition("/")[0], path.parent)
        if path.exists() and any(path.iterdir()) and not (path / self.marker).is_file():
            raise NotWritableError(
                f"{self.uri}: {path} holds files that were not published here (there is no {self.marker}); "
                "name a new or an empty folder"
            )

    @contextmanager
    def published(self, tag: str = "") -> Iterator[Path]:
        """Give an empty folder beside it, and publish what it holds in the end when all went well."""
        staged = self.path.with_name(f".{self.path.name}.staged{tag}")
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        try:
            yield staged
            publish(staged, self.path)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def ensure_writable(uri: str, path: Path) -> None:
    """Make the folder if need be. Raises NotWritableError when it cannot be written."""
    probe = path / f".write-probe-{os.getpid()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise NotWritableError(f"{uri}: {path} cannot be written: {error.strerror or error}") from error


def sync(folder: Path) -> None:
    """Flush every file below `folder`, and the folders' entries, to the disk."""
    for parent, _, files in os.walk(folder):
        for name in [*files, "."]:
            descriptor = os.open(os.path.join(parent, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def publish(staged: Path, target: Path) -> None:
    """Put the folder `staged` in the place of `target` by rename, so that no reader sees half of it.

    Both must be on one file system. A folder that is already there is swapped out, then deleted.
    """
    sync(staged)
    replaced = target.with_name(f".{target.name}.replaced-{os.getpid()}")
    if target.exists():
        shutil.rmtree(replaced, ignore_errors=True)  # of a process with the same number that was killed here
        target.rename(replaced)
    staged.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
