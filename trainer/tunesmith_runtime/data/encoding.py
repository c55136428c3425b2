"""The records of a dataset become rows of an Arrow file; what is left out is counted."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from tunesmith_api.data import TrainingData
from tunesmith_runtime.data.encoded import RowWriter
from tunesmith_runtime.data.holdout import rank
from tunesmith_runtime.data.overlong import Overlong, policy_of
from tunesmith_runtime.data.records import Record
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.train.recipes.recipe import Encoder, Recipe, Row


@dataclass
class EncodedDataset:
    """What became of a dataset: of each row its tokens, of each record its number of rows and its rank.

    Its rows follow each other in the file from row number `first` on. `records` counts those that were encoded,
    `empty` those of them that gave no row.
    """

    name: str
    overlong: Overlong
    first: int = 0
    records: int = 0
    empty: int = 0
    lengths: "array[int]" = field(default_factory=lambda: array("i"))
    rows_of_records: "array[int]" = field(default_factory=lambda: array("i"))
    ranks: "array[int]" = field(default_factory=lambda: array("Q"))

    def check_left(self, place: str, empty: int, removed: int = 0) -> None:
        """Raise DataError when there is no row; `empty` and `removed` count what went before encoding."""
        if self.lengths:
            return
        if self.overlong.shortest is not None:
            raise DataError(
                f"{place}: no record fits: data.maxLength is {self.overlong.max_length} tokens and the shortest of "
                f"{self.overlong.dropped} has {self.overlong.shortest}. Raise data.maxLength or shorten the records"
            )
        quality = f", and data.quality took out {removed}" if removed else ""
        raise DataError(
            f"{place}: no record is left: {empty + self.empty} had nothing to learn from{quality}. Leave the dataset "
            f"out, or change {'data.quality' if removed else 'its records'}"
        )


@dataclass(frozen=True)
class Encoding:
    """How the records of a run become rows.

    Rows get a column `length`, the tokens that count towards maxLength. Those of training dataset number `stream`
    get that as `stream`, and when several datasets are to be packed as `streams`, once for each token.
    """

    data: TrainingData
    recipe: Recipe
    encoder: Encoder
    ranked: bool = False

    def write(self, name: str, records: Iterable[Record], writer: RowWriter, stream: int | None) -> EncodedDataset:
        """Write the rows of the records in their order, and return what became of them."""
        overlong = Overlong(self.data.max_length, policy_of(self.data, self.recipe), self.recipe.length)
        result = EncodedDataset(name, overlong, first=writer.rows)
        for record in records:
            result.records += 1
            whole = list(self.recipe.encode(record, self.encoder))
            result.empty += not whole
            rows = list(overlong.fitting(whole))
            for row in rows:
                length = self.recipe.length(row)
                writer.write(self._stored(row, length, stream), length)
                result.lengths.append(length)
            if rows:
                result.rows_of_records.append(len(rows))
                if self.ranked:
                    result.ranks.append(rank(record, self.data.seed))
        return result

    def _stored(self, row: Row, length: int, stream: int | None) -> Row:
        if self.recipe.is_plain:
            row = {name: np.asarray(values, dtype=np.int32) for name, values in row.items()}
        if stream is None:
            return {**row, "length": length}
        if self.data.packing == "bfd" and len(self.data.train) > 1:
            row = {**row, "streams": np.full(length, stream, dtype=np.int8)}
        return {**row, "stream": stream, "length": length}
