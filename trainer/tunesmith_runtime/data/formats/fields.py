"""A record's fields: taken out with their types checked, and what is wrong with them in words."""

import json
from collections.abc import Iterator
from typing import Any

Fields = dict[str, Any]


class BadRecordError(ValueError):
    """What is wrong with one record, without its place."""


def text_of(fields: Fields, column: str, path: str = "") -> str:
    """Return a string; `path` says where `fields` stands in the record, such as `messages[0]`."""
    where = _where(path, column)
    if column not in fields:
        raise BadRecordError(f"{where} is missing")
    return as_text(fields[column], where)


def text_or_none(fields: Fields, column: str) -> str:
    """Return a string, an empty one for a column that is missing or null."""
    return "" if fields.get(column) is None else text_of(fields, column)


def as_text(value: object, where: str) -> str:
    """Return the value itself, a string of whole characters."""
    if not isinstance(value, str):
        raise BadRecordError(f"{where} is {kind(value)}; it must be a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = value[error.start]
        raise BadRecordError(
            f"{where} holds half a surrogate pair (\\u{ord(half):04x}), which is no character"
        ) from None
    return value


def list_of(fields: Fields, column: str, path: str = "") -> list[Any]:
    """Return a list."""
    where = _where(path, column)
    if column not in fields:
        raise BadRecordError(f"{where} is missing")
    values = fields[column]
    if not isinstance(values, list):
        raise BadRecordError(f"{where} is {kind(values)}; it must be a list")
    return values


def objects_of(fields: Fields, column: str, path: str = "") -> Iterator[tuple[str, Fields]]:
    """Yield the objects of a list with the path of each, such as `messages[0]`."""
    where = _where(path, column)
    for index, value in enumerate(list_of(fields, column, path)):
        if not isinstance(value, dict):
            raise BadRecordError(f"{where}[{index}] is {kind(value)}; it must be an object")
        yield f"{where}[{index}]", value


def from_json(text: str) -> Any:
    """Return what a CSV field says when it is a list or an object in JSON, else the text itself."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def kind(value: object) -> str:
    """Return what a value is, with an article."""
    match value:
        case None:
            return "null"
        case bool() | int() | float():
            return f"the {'boolean' if isinstance(value, bool) else 'number'} {str(value).lower()}"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"of type {type(value).__name__}"


def listed(words: tuple[str, ...], last: str = "and") -> str:
    """Return words as a clause: a, b and c."""
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else words[0]


def _where(path: str, column: str) -> str:
    return f"{path}.{column}".lstrip(".")
