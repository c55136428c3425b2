"""Which records of a dataset are trained on, and which are held out to measure the loss on."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tunesmith_runtime.data.encoded import Indices
from tunesmith_runtime.data.mixing import Lengths
from tunesmith_runtime.data.records import Record
from tunesmith_runtime.errors import DataError

if TYPE_CHECKING:
    from tunesmith_runtime.data.encoding import EncodedDataset


@dataclass(frozen=True)
class Pool:
    """The rows of a dataset to train on, with their lengths, and those held out, as numbers of rows of the file."""

    name: str
    kept: Indices
    lengths: Lengths
    records: int
    held: Indices
    held_records: int


def rank(record: Record, seed: int) -> int:
    """Return a number below 2^64 that only the record's content and the seed decide.

    Records are held out by it, so that neither the order of the files nor records that were left out matter.
    """
    digest = hashlib.sha256(f"{seed}:{record!r}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def pooled(encoded: "EncodedDataset", fraction: float | None) -> Pool:
    """Hold the share `fraction` of the records out, but never none nor all; the rows of a record stay together.

    Raises DataError when there are not two records.
    """
    total = len(encoded.rows_of_records)
    held: NDArray[np.bool_] = np.zeros(total, dtype=bool)
    if fraction is not None:
        if total < 2:
            raise DataError(
                f"data.validation.fraction needs at least 2 records of each dataset and there is 1 of {encoded.name}; "
                "add records, or leave validation out"
            )
        count = min(max(round(total * fraction), 1), total - 1)
        held[np.argsort(np.asarray(encoded.ranks, dtype=np.uint64), kind="stable")[:count]] = True
    rows = np.repeat(held, np.asarray(encoded.rows_of_records))
    return Pool(
        name=encoded.name,
        kept=encoded.first + np.flatnonzero(~rows),
        lengths=np.asarray(encoded.lengths, dtype=np.int32)[~rows],
        records=int((~held).sum()),
        held=encoded.first + np.flatnonzero(rows),
        held_records=int(held.sum()),
    )
