"""A JSON or JSONL file becomes rows, each with its place in the file."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith_api.finetunejob import DatasetSource
from tunesmith_runtime import storage
from tunesmith_runtime.data.problems import Problems
from tunesmith_runtime.errors import DataError

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Row:
    """One object of the file; `place` says where it stands, such as `line 3`."""

    place: str
    value: dict[str, Any]


@dataclass(frozen=True)
class RawDataset:
    """The rows of a file, in its order, and the SHA-256 of its bytes in hexadecimal."""

    uri: str
    digest: str
    rows: tuple[Row, ...]


def read_rows(source: DatasetSource) -> RawDataset:
    """Return the objects of a JSON file (a list, or an object with the list under `data`) or of a JSONL file.

    The content decides which of the two it is. A byte order mark, CRLF and blank lines are passed over. Raises
    DataError, naming the broken lines, for a file that is missing, empty, not UTF-8 or not JSON.
    """
    with storage.local_file(source.uri) as path:
        return _read(path, source.uri)


def _read(path: Path, uri: str) -> RawDataset:
    name = uri if str(path) in uri or storage.in_bucket(uri) else f"{uri} ({path})"
    if path.is_dir():
        raise DataError(f"{name} is a folder; name a JSON or JSONL file")
    if not path.exists():
        raise DataError(f"{name}: no such file")
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        rows = tuple(_rows(path, uri))
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}") from error
    if not rows:
        raise DataError(f"{uri} holds no records: its list is empty")
    return RawDataset(uri, digest, rows)


def _rows(path: Path, uri: str) -> Iterator[Row]:
    first = next(_lines(path), None)
    if first is None:
        raise DataError(f"{uri} is empty; it must hold at least one record")
    if _is_record(first[1]):
        return _rows_of_lines(path, uri)
    try:
        document = json.loads(path.read_bytes().removeprefix(_BOM).decode())
    except (ValueError, RecursionError) as error:
        if any(_is_record(line) for _, line in _lines(path)):
            return _rows_of_lines(path, uri)
        raise DataError(f"{uri} is neither JSON nor JSONL: {_reason(error)}") from error
    return _rows_of_document(document, uri)


def _rows_of_lines(path: Path, uri: str) -> Iterator[Row]:
    problems = Problems(uri, "lines cannot be read")
    for number, line in _lines(path):
        place = f"line {number}"
        try:
            value = json.loads(line.rstrip().decode())
        except (ValueError, RecursionError) as error:
            problems.add(place, _reason(error))
            continue
        if isinstance(value, dict):
            yield Row(place, value)
        else:
            problems.add(place, _not_an_object(value))
    problems.raise_if_any()


def _rows_of_document(document: Any, uri: str) -> Iterator[Row]:
    if isinstance(document, dict) and isinstance(document.get("data"), list):
        unit, values = "data", document["data"]
    elif isinstance(document, list):
        unit, values = "record", document
    else:
        raise DataError(
            f"{uri} holds {_kind(document)} where a list of objects is expected; "
            "write [{...}, ...], or one object per line"
        )
    problems = Problems(uri, "records cannot be read")
    for number, value in enumerate(values, start=1):
        place = f"{unit}[{number - 1}]" if unit == "data" else f"{unit} {number}"
        if isinstance(value, dict):
            yield Row(place, value)
        else:
            problems.add(place, _not_an_object(value))
    problems.raise_if_any()


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers from 1."""
    with path.open("rb") as stream:
        for number, line in enumerate(_without_mark(stream), start=1):
            if line.strip():
                yield number, line


def _without_mark(lines: Iterable[bytes]) -> Iterator[bytes]:
    for index, line in enumerate(lines):
        yield line.removeprefix(_BOM) if index == 0 else line


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
            return f"not UTF-8: byte 0x{error.object[error.start]:02x} at position {error.start}; save it as UTF-8"
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
