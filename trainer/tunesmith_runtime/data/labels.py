"""The classes that a classifier learns, found in its training records."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal

from tunesmith_runtime.data.records import LabelledText, Record, TaggedTokens
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.train.recipes.recipe import Labels

# The tag of words that belong to nothing.
OUTSIDE = "O"

_Kind = Literal["single", "multi", "regression"]
_WORDS: dict[_Kind, str] = {"single": "one class", "multi": "a list of classes", "regression": "a number"}
_SHOWN = 10


def find_labels(records: Iterable[Record]) -> Labels:
    """Return the classes of labelled texts in natural order: by their numbers where they have some, else by name.

    Raises DataError when labels are of several kinds, a number is not finite, or there is nothing to tell apart.
    """
    kinds: Counter[_Kind] = Counter()
    names: set[str] = set()
    for record in records:
        if not isinstance(record, LabelledText):
            continue
        match record.label:
            case str(label):
                kinds["single"] += 1
                names.add(label)
            case tuple(labels):
                kinds["multi"] += 1
                names.update(labels)
            case number:
                kinds["regression"] += 1
                _check_finite(number)
    if len(kinds) > 1:
        found = ", ".join(f"{count} with {_WORDS[kind]}" for kind, count in sorted(kinds.items()))
        raise DataError(f"data.train: the labels are of different kinds: there are records {found}; use one kind")
    kind: _Kind = next(iter(kinds), "single")
    least = {"single": 2, "multi": 1, "regression": 0}[kind]
    if len(names) < least:
        raise _too_few("class", names, least)
    return Labels(kind, _sorted(names))


def find_tags(records: Iterable[Record]) -> Labels:
    """Return the tags of tagged words in natural order, `O` first. Raises DataError when there are fewer than two."""
    names = {tag for record in records if isinstance(record, TaggedTokens) for tag in record.tags}
    if len(names) < 2:
        raise _too_few("tag", names, 2)
    outside = (OUTSIDE,) if OUTSIDE in names else ()
    return Labels("single", outside + _sorted(names - {OUTSIDE}))


def number_of(name: str, labels: Labels) -> int:
    """Return the number of a class. Raises DataError when no training record has it."""
    number = _numbers(labels.names).get(name)
    if number is None:
        raise DataError(
            f"the label {name!r} is none of the {len(labels.names)} that the training records have: "
            f"{_listed(labels.names)}; correct it, or train on records that have it"
        )
    return number


@lru_cache(maxsize=4)
def _numbers(names: tuple[str, ...]) -> Mapping[str, int]:
    return {name: number for number, name in enumerate(names)}


def _sorted(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=_numeric if all(map(_is_number, names)) else _natural))


def _numeric(name: str) -> tuple[float, str]:
    return float(name), name


def _is_number(name: str) -> bool:
    return re.fullmatch(r"[-+]?[0-9]+(\.[0-9]+)?", name) is not None


def _natural(name: str) -> tuple[tuple[tuple[str, int], ...], str]:
    """Return a key by which `level 2` stands before `level 10`."""
    parts = re.findall(r"([^0-9]*)([0-9]*)", name)
    return tuple((text, int(digits) if digits else -1) for text, digits in parts), name


def _check_finite(number: float) -> None:
    if not math.isfinite(number):
        raise DataError(f"data.train: a label is {number}, which no model can predict; correct it or leave it out")


def _too_few(what: str, names: set[str], least: int) -> DataError:
    found = f"the only {what} is {next(iter(names))!r}" if names else f"there is no {what}"
    wanted = "two different ones" if least == 2 else "one"
    return DataError(f"data.train: {found} in all training records; at least {wanted} must be there to learn from")


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
