"""CSV: a header line with the names of the columns, then one record after another."""

import csv
from collections.abc import Iterator
from functools import partial

from tunesmith_runtime.data.files.lines import filled_lines, not_utf8, numbered_lines
from tunesmith_runtime.data.rows import Choose, Fault, Reader, Row
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.storage import StoredFile

SUFFIXES = (".csv", ".tsv")

# Characters of one field; more come from a quote that is never closed.
_LONGEST_FIELD = 1 << 27


def reader_of(file: StoredFile) -> Reader | None:
    """Return what reads the file, None when it is blank.

    Columns are parted by commas, semicolons or tabs, whichever the header has most of; fields may be quoted and then
    span lines. Raises DataError for a header that names a column twice.
    """
    first = next(filled_lines(file), None)
    if first is None:
        return None
    delimiter = max(",;\t", key=first[1].decode(errors="replace").count)
    return Reader("lines", "nothing follows its header", partial(_rows, file, delimiter))


def _rows(file: StoredFile, delimiter: str, fault: Fault, _: Choose) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_FIELD)
    records = csv.reader(_decoded(file, fault), delimiter=delimiter, strict=True)
    names: list[str] = []
    while True:
        place = f"line {records.line_num + 1}"
        try:
            values = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            fault(place, f"not CSV: {error}")
            continue
        if not values:
            continue
        if not names:
            names = _checked(values, file.uri)
        elif len(values) != len(names):
            fault(place, f"{len(values)} fields where the header names {len(names)}")
        else:
            yield Row(place, dict(zip(names, values, strict=True)), untyped=True)


def _decoded(file: StoredFile, fault: Fault) -> Iterator[str]:
    for number, line in numbered_lines(file):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            fault(f"line {number}", not_utf8(error))
            yield line.decode(errors="replace")


def _checked(names: list[str], uri: str) -> list[str]:
    names = [name.strip() for name in names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{uri}: the header names a column twice: {', '.join(map(repr, twice))}")
    return names
