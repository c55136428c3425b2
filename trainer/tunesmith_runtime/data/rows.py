"""What every kind of file is read as: rows, each with its place."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# Takes a place, such as `line 3`, and what is wrong there; reading goes on after it.
Fault = Callable[[str, str], None]
# Takes the names of all columns and returns those that are needed, for files that keep columns apart.
Choose = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True)
class Row:
    """One object of a dataset; `place` says where it stands, such as `line 3`.

    `untyped` tells that the file knows only strings, so that numbers and lists are still to be read from them.
    """

    place: str
    value: dict[str, Any]
    untyped: bool = False


@dataclass(frozen=True)
class Reader:
    """Reads a file whose kind has been found out.

    For sentences: `unit` is what its rows are called, and `when_empty` says why there is none.
    """

    unit: str
    when_empty: str
    rows: Callable[[Fault, Choose], Iterator[Row]]


def every_column(names: Sequence[str]) -> Sequence[str]:
    """Choose all columns."""
    return names
