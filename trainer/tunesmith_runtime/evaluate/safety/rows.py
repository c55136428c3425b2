"""Records of a shape that only one part of the suite has."""

from collections.abc import Callable
from typing import Any, TypeVar

from tunesmith_api.data import DatasetSource
from tunesmith_runtime.data.formats.fields import BadRecordError, Fields, text_of
from tunesmith_runtime.data.problems import Problems
from tunesmith_runtime.data.reading import open_rows

T = TypeVar("T")


def read_rows(uri: str, make: Callable[[Fields], T]) -> tuple[T, ...]:
    """Return what `make` does with each row of a file.

    Raises DataError, also with the places of the first rows that `make` refuses by BadRecordError.
    """
    problems = Problems(uri, "records cannot be used")
    made: list[T] = []
    # The format is not looked at: only the rows are read.
    for row in open_rows(DatasetSource(uri=uri, format="text")).read():
        try:
            made.append(make(row.value))
        except BadRecordError as error:
            problems.add(row.place, str(error))
    problems.raise_if_any()
    return tuple(made)


def filled(fields: dict[str, Any], name: str) -> str:
    """Return a string with something in it. Raises BadRecordError."""
    text = text_of(fields, name)
    if not text.strip():
        raise BadRecordError(f"{name} is empty; write a text")
    return text
