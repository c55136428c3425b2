"""A dataset becomes rows, each with its place in it: files of this machine or of a bucket, or a dataset of the Hub."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from tunesmith_api.data import DatasetSource
from tunesmith_runtime import storage
from tunesmith_runtime.data.files import is_data, reader_of
from tunesmith_runtime.data.files.compression import DAMAGE
from tunesmith_runtime.data.problems import Problems
from tunesmith_runtime.data.rows import Choose, Row, every_column
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.storage import FileSet, StoredFile


class Rows(Protocol):
    """The rows of a dataset, in its order, and what identifies them: a SHA-256 in hexadecimal."""

    @property
    def uri(self) -> str:
        """Return what sentences call the dataset."""

    @property
    def digest(self) -> str:
        """Return the SHA-256."""

    def read(self, choose: Choose = every_column) -> Iterator[Row]:
        """Yield the rows, each time anew; columns that `choose` leaves out may be missing from them.

        Raises DataError at the end, naming the places, when some rows cannot be read, and at once for a file that
        cannot be read any further.
        """


def open_rows(source: DatasetSource) -> Rows:
    """Find a dataset. Raises DataError, or another RunError, when it is not there or cannot be read."""
    if source.uri.startswith("hf://"):
        from tunesmith_runtime.data.hub import open_hub  # brings datasets, which takes seconds

        return open_hub(source)
    if source.split is not None:
        raise DataError(f"{source.uri}: split is for hf:// only, and here it is {source.split}; leave it out")
    return rows_of_files(source.uri, storage.data_files(source.uri, is_data))


def rows_of_files(uri: str, files: FileSet) -> "FileRows":
    """Return the rows of files, which sentences call `uri`. Raises DataError when one cannot be read."""
    return FileRows(uri, _digest(files), files)


@dataclass(frozen=True)
class FileRows:
    """The rows of files, one file after the other."""

    uri: str
    digest: str
    files: FileSet

    def read(self, choose: Choose = every_column) -> Iterator[Row]:
        """Yield the rows of each file, as Rows says. Nothing but a JSON document is in memory as a whole."""
        problems: dict[str, Problems] = {}
        found = False
        nothing = "is empty; it must hold at least one record"
        for file in self.files.files:
            where = f" of {file.name}" if self.files.several else ""
            try:
                reader = reader_of(file)
                if reader is None:
                    continue
                nothing = f"holds no records: {reader.when_empty}"
                unread = problems.setdefault(reader.unit, Problems(self.uri, f"{reader.unit} cannot be read"))
                for row in reader.rows(partial(_note, unread, where), choose):
                    found = True
                    yield replace(row, place=row.place + where) if where else row
            except DAMAGE as error:
                raise _unreadable(file, error) from error
        for each in problems.values():
            each.raise_if_any()
        if not found:
            reason = "holds no records: all its files are empty" if self.files.several else nothing
            raise DataError(f"{self.uri} {reason}")


def _note(problems: Problems, where: str, place: str, fault: str) -> None:
    problems.add(place + where, fault)


def _digest(files: FileSet) -> str:
    """Return the SHA-256 of a file's bytes; for several, that of their names and their own digests."""
    each = {file.name: _digest_of(file) for file in files.files}
    if not files.several:
        return next(iter(each.values()))
    lines = [f"{digest}  {name}\n" for name, digest in each.items()]
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _digest_of(file: StoredFile) -> str:
    try:
        with file.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: StoredFile, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return DataError(f"{file.uri} cannot be read: {reason}")
