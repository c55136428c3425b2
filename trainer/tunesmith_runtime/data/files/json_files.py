"""JSON: one object per line, or one document that is a list, or an object with the list under `data`."""

import json
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from tunesmith_runtime.data.files.compression import unpacked
from tunesmith_runtime.data.files.lines import BOM, filled_lines, not_utf8
from tunesmith_runtime.data.rows import Choose, Fault, Reader, Row
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.storage import StoredFile


def looks_like_json(start: bytes) -> bool:
    """Tell whether the beginning of a file is that of a list or an object."""
    return start.removeprefix(BOM).lstrip().startswith((b"{", b"["))


def reader_of(file: StoredFile) -> Reader | None:
    """Return what reads the file, None when it is blank. Raises DataError when it is neither JSON nor JSONL.

    Lines are read one by one; a document is parsed at once.
    """
    lines = [line for _, line in islice(filled_lines(file), 2)]
    if not lines:
        return None
    by_line = Reader("lines", "it has no lines", partial(_rows_of_lines, file))
    # A broken first line must not make a document of a long file.
    if any(map(_is_record, lines)) and not lines[0].rstrip().endswith(b"["):
        return by_line
    with unpacked(file.path) as stream:
        content = stream.read()
    try:
        document = json.loads(content.removeprefix(BOM).decode())
    except (ValueError, RecursionError) as error:
        if any(_is_record(line) for _, line in filled_lines(file)):
            return by_line
        csv = "" if looks_like_json(lines[0]) else ". A CSV file's name must end with .csv or .tsv"
        raise DataError(f"{file.uri} is neither JSON nor JSONL: {_reason(error)}{csv}") from error
    return Reader("records", "its list is empty", partial(_rows_of_list, *_list_in(document, file.uri)))


def _rows_of_lines(file: StoredFile, fault: Fault, _: Choose) -> Iterator[Row]:
    for number, line in filled_lines(file):
        place = f"line {number}"
        try:
            value = json.loads(line.rstrip().decode())
        except (ValueError, RecursionError) as error:
            fault(place, _reason(error))
            continue
        if isinstance(value, dict):
            yield Row(place, value)
        else:
            fault(place, _not_an_object(value))


def _list_in(document: Any, uri: str) -> tuple[str, list[Any]]:
    """Return the list of records, and how places in it begin."""
    if isinstance(document, dict) and isinstance(document.get("data"), list):
        return "data", document["data"]
    if isinstance(document, list):
        return "record", document
    raise DataError(
        f"{uri} holds {_kind(document)} where a list of objects is expected; "
        "write [{...}, ...], or one object per line"
    )


def _rows_of_list(unit: str, values: list[Any], fault: Fault, _: Choose) -> Iterator[Row]:
    for number, value in enumerate(values, start=1):
        place = f"{unit}[{number - 1}]" if unit == "data" else f"{unit} {number}"
        if isinstance(value, dict):
            yield Row(place, value)
        else:
            fault(place, _not_an_object(value))


def _is_record(line: bytes) -> bool:
    """Tell whether a line is an object by itself, and not a whole document on one line, as SQuAD is published."""
    try:
        value = json.loads(line.decode())
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and not isinstance(value.get("data"), list)


def _reason(error: Exception) -> str:
    match error:
        case json.JSONDecodeError():
            where = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
            return f"not JSON: {error.msg[:1].lower()}{error.msg[1:]} at {where}"
        case UnicodeDecodeError():
            return not_utf8(error)
        case RecursionError():
            return "not JSON that can be read: nested too deeply"
        case _:
            return f"not JSON: {error}"


def _not_an_object(value: Any) -> str:
    return f"{_kind(value)} where an object is expected"


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "one object"
