"""Records of a dataset, read as they are asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from tunesmith_api.data import DataFormat, DatasetSource
from tunesmith_runtime.data.formats import FORMATS, BadRecordError, advice, parse
from tunesmith_runtime.data.formats.fields import Fields, listed
from tunesmith_runtime.data.problems import Problems
from tunesmith_runtime.data.reading import Rows, open_rows
from tunesmith_runtime.data.records import Answerable, PlainText, Question, Record, as_conversation
from tunesmith_runtime.data.rows import Choose, Row, every_column
from tunesmith_runtime.errors import DataError

TextRecord = Answerable | PlainText
T = TypeVar("T")


class RecordStream:
    """The records of a dataset in its order, without those whose answer or text is empty.

    Each iteration reads the dataset anew; only a few records are in memory at a time. `empty` counts those that the
    last complete iteration left out.
    """

    def __init__(self, rows: Rows, fmt: DataFormat, columns: Mapping[str, str]) -> None:
        """Take rows, their format, and the dataset's own names for some of the format's columns."""
        self.uri = rows.uri
        self.format = fmt
        self.digest = rows.digest
        self.empty = 0
        self._rows = rows
        self._columns = columns

    def __iter__(self) -> Iterator[Record]:
        """Yield the records. Raises DataError as `with_rows` does."""
        return (record for _, record in self.with_rows(self.needed))

    def with_rows(self, choose: Choose = every_column) -> Iterator[tuple[Row, Record]]:
        """Yield each record behind the row that it was read from, with the columns that `choose` takes.

        Raises DataError at the end, naming the first faults and their places, for columns that are not the format's,
        for values of a wrong type, and when every record is empty; in between for a file that cannot be read.
        """
        problems = Problems(self.uri, f"records are not of format {self.format}")
        found = empty = 0
        hint = ""
        unseen = set(self._columns.values())
        seen: dict[str, None] = {}
        for row in self._rows.read(choose):
            if unseen:
                unseen -= row.value.keys()
                seen |= dict.fromkeys(row.value)
            try:
                renamed = self._renamed(row)
            except BadRecordError as error:
                problems.add(row.place, str(error))
                continue
            try:
                records = parse(self.format, renamed)
            except BadRecordError as error:
                problems.add(row.place, str(error))
                hint = hint or advice(self.format, renamed)
                continue
            for record in records:
                if record is None:
                    empty += 1
                else:
                    found += 1
                    yield renamed, record
        problems.raise_if_any(hint)
        if unseen:
            raise DataError(
                f"{self.uri}: columns names {_listed(unseen)}, and no record has it; there are {_listed(seen)}"
            )
        if not found:
            raise _all_empty(self.uri, empty)
        self.empty = empty

    def needed(self, names: Sequence[str]) -> Sequence[str]:
        """Return the columns to read: those that the format knows, all of them when that would not do."""
        own = self._own_names()
        needed = [name for name in names if name in own]
        complete = FORMATS[self.format].fits({own[name] for name in needed}) and {*self._columns.values()} <= {*names}
        return needed if complete else names

    def _own_names(self) -> dict[str, str]:
        """Return the format's columns by the dataset's names."""
        fmt = FORMATS[self.format]
        hidden = {*self._columns.values()}
        kept = {name: name for name in fmt.columns if name not in self._columns and name not in hidden}
        return kept | {theirs: ours for ours, theirs in self._columns.items()}

    def _renamed(self, row: Row) -> Row:
        """Return the row with the format's names of its columns."""
        if not self._columns:
            return row
        value = {name: each for name, each in row.value.items() if name not in self._columns.values()}
        for ours, theirs in self._columns.items():
            if theirs in row.value:
                value[ours] = row.value[theirs]
            elif ours in FORMATS[self.format].optional:
                value.pop(ours, None)
            else:
                raise BadRecordError(
                    f"there is no column {theirs}, which columns reads as {ours}; there are {_listed(row.value)}"
                )
        return replace(row, value=value)


def open_records(source: DatasetSource) -> RecordStream:
    """Return the records of a dataset, none of which is read yet.

    Raises DataError when the dataset is not there or `columns` names a column that its format does not have, and
    another RunError when where it lies does not answer.
    """
    check_columns(source)
    return RecordStream(open_rows(source), source.format, source.columns)


def check_columns(source: DatasetSource) -> None:
    """Raise DataError when `columns` names a column that the format does not have."""
    known = FORMATS[source.format].columns
    unknown = sorted(source.columns.keys() - set(known))
    if unknown:
        raise DataError(
            f"{source.uri}: columns names {listed(tuple(unknown))}, and format {source.format} has {listed(known)}; "
            "write the format's column first, then the dataset's"
        )


@dataclass(frozen=True)
class ParsedDataset(Generic[T]):
    """The records of a dataset; `empty` counts those left out for an empty answer or text."""

    uri: str
    digest: str
    records: tuple[T, ...]
    empty: int


def read_records(source: DatasetSource) -> "ParsedDataset[TextRecord]":
    """Return all records of a dataset of prompts and answers or of text; a question is put to a chat.

    Raises DataError as `read_each` does.
    """
    return read_each(source, lambda _, record: _text(source, record), every=False)


def read_texts(source: DatasetSource, make: Callable[[Fields, TextRecord], T]) -> "ParsedDataset[T]":
    """Return what `make` does with the fields and the record of each row; else as `read_records` and `read_each`."""

    def made(fields: Fields, record: Record) -> T | None:
        text = _text(source, record)
        return None if text is None else make(fields, text)

    return read_each(source, made)


def read_each(
    source: DatasetSource, make: Callable[[Fields, Record], T | None], *, every: bool = True
) -> "ParsedDataset[T]":
    """Return what `make` does with the fields and the record of each row, None of which counts as empty.

    Without `every`, the fields are those that the format knows. Raises DataError as RecordStream does, when all are
    empty, and with the places of the first records that `make` refuses by BadRecordError.
    """
    stream = open_records(source)
    problems = Problems(source.uri, "records cannot be used")
    made: list[T] = []
    empty = 0
    for row, record in stream.with_rows() if every else stream.with_rows(stream.needed):
        try:
            each = make(row.value, record)
        except BadRecordError as error:
            problems.add(row.place, str(error))
            continue
        if each is None:
            empty += 1
        else:
            made.append(each)
    problems.raise_if_any()
    if not made:
        raise _all_empty(source.uri, empty)
    return ParsedDataset(stream.uri, stream.digest, tuple(made), stream.empty + empty)


def _text(source: DatasetSource, record: Record) -> TextRecord | None:
    text = as_conversation(record) if isinstance(record, Question) else record
    if text is None or isinstance(text, TextRecord):
        return text
    raise DataError(f"{source.uri}: records of format {source.format} have no text to evaluate")


def _all_empty(uri: str, empty: int) -> DataError:
    return DataError(f"{uri}: every record ({empty}) has an empty answer or text; nothing is left to use")


def _listed(names: set[str] | dict[str, None] | Mapping[str, object]) -> str:
    return ", ".join(sorted(names) if isinstance(names, set) else names) or "none"
