"""Parquet, and Arrow's own files and streams: read by batches, and only the columns that are needed."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO

from tunesmith_runtime.data.files.compression import is_compressed, unpacked
from tunesmith_runtime.data.rows import Choose, Fault, Reader, Row
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.storage import StoredFile
from tunesmith_runtime.storage.scratch import scratch

_ROWS_AT_ONCE = 256
_CHUNK = 1 << 20


def reader_of(file: StoredFile, start: bytes) -> Reader | None:
    """Return what reads the file, None when it does not start as one of these does."""
    for magic, batches in ((b"PAR1", _parquet), (b"ARROW1", _arrow_file), (b"\xff\xff\xff\xff", _arrow_stream)):
        if start.startswith(magic):
            return Reader("records", "it has no rows", partial(_rows, file, batches))
    return None


def rows_of(batches: Iterable[Any]) -> Iterator[Row]:
    """Yield the rows of Arrow's batches or tables, which are turned into objects a few at a time."""
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            for value in batch.slice(start, _ROWS_AT_ONCE).to_pylist():
                number += 1
                yield Row(f"row {number}", value)


def _rows(
    file: StoredFile, batches: Callable[[BinaryIO, Choose], Iterator[Any]], _: Fault, choose: Choose
) -> Iterator[Row]:
    import pyarrow

    with unpacked(file.path) as stream, tempfile.TemporaryFile(dir=scratch()) as copy:
        if is_compressed(file.path):  # these files are not read from front to back
            shutil.copyfileobj(stream, copy, _CHUNK)
            copy.seek(0)
            stream = copy
        try:
            yield from rows_of(batches(stream, choose))
        except pyarrow.ArrowException as error:
            raise DataError(f"{file.uri} cannot be read: {' '.join(str(error).split())}") from error


def _parquet(stream: BinaryIO, choose: Choose) -> Iterator[Any]:
    from pyarrow.parquet import ParquetFile

    with ParquetFile(stream) as parquet:
        names = parquet.schema_arrow.names
        yield from parquet.iter_batches(_ROWS_AT_ONCE, columns=_some(choose(names), names))


def _arrow_file(stream: BinaryIO, choose: Choose) -> Iterator[Any]:
    from pyarrow import ipc

    with ipc.open_file(stream) as arrow:
        names = arrow.schema.names
        for index in range(arrow.num_record_batches):
            yield arrow.get_batch(index).select(choose(names))


def _arrow_stream(stream: BinaryIO, choose: Choose) -> Iterator[Any]:
    from pyarrow import ipc

    with ipc.open_stream(stream) as arrow:
        for batch in arrow:
            yield batch.select(choose(arrow.schema.names))


def _some(chosen: Sequence[str], names: Sequence[str]) -> list[str] | None:
    return None if len(chosen) == len(names) else list(chosen)
