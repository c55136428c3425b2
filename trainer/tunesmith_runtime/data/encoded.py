"""Encoded rows on disk: an Arrow file that every process maps, and the order in which its rows are seen."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import datasets
import numpy as np
import pyarrow as pa
from datasets.arrow_writer import ArrowWriter
from numpy.typing import NDArray

# What is held in memory before it is written: rows, and tokens, of which a single row may have a million.
_BUFFERED_ROWS = 1000
_BUFFERED_TOKENS = 1 << 20

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class EncodedRows:
    """Rows of an Arrow file: those that the file `indices` numbers, in its order and as often, or all of them."""

    file: Path
    indices: Path | None = None

    def dataset(self) -> datasets.Dataset:
        """Return the rows, mapped into memory and not read."""
        return datasets.Dataset.from_file(
            str(self.file), indices_filename=None if self.indices is None else str(self.indices)
        )

    def inside(self, folder: Path) -> "EncodedRows":
        """Return the same rows in files of the same names in another folder."""
        return EncodedRows(folder / self.file.name, self.indices and folder / self.indices.name)

    def chosen(self, indices: Indices, name: str) -> "EncodedRows":
        """Write row numbers beside the file, and return those rows of it in that order."""
        path = self.file.with_name(f"{name}.indices.arrow")
        batch = pa.record_batch({"indices": pa.array(indices.astype(np.uint64))})
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        return EncodedRows(self.file, path)


class RowWriter:
    """Writes rows, one after the other, to an Arrow file; use it in a `with` block."""

    def __init__(self, file: Path) -> None:
        self._writer = ArrowWriter(path=str(file), writer_batch_size=_BUFFERED_ROWS)
        self._tokens = 0

    @property
    def rows(self) -> int:
        """How many rows were written."""
        return len(self._writer)

    def write(self, row: dict[str, Any], length: int) -> None:
        """Add a row of `length` tokens; all rows have the same columns."""
        self._writer.write(row)
        self._tokens += length
        if self._tokens >= _BUFFERED_TOKENS:
            self._writer.write_examples_on_file()
            self._tokens = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file, which then can be mapped; after an error, or without a row, it cannot."""
        if kind is None and len(self._writer):
            self._writer.finalize()
        self._writer.close()
