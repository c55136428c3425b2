"""Answers that are to be JSON."""

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend, validator_for
from referencing import Registry

from tunesmith_runtime.errors import ConfigError

# How long a pattern of a schema may look at one string.
SECONDS = 5.0


class _Number(NamedTuple):
    """A number by its exact value: a type of its own, because to Python true equals 1."""

    value: Decimal | str


def json_valid(answer: str) -> float:
    """Return 1 when the whole answer is one JSON value as RFC 8259 has it, else 0; NaN and Infinity are none."""
    return float(_exact(answer) is not None)


def json_match(answer: str, references: Sequence[str]) -> float:
    """Return 1 when the answer is the same JSON value as one of the references, else 0.

    Numbers are the same by their value (1 and 1.0), objects whatever the order of their names: what JSON Schema's
    `const` calls equal.
    """
    found = _exact(answer)
    try:
        return float(found is not None and any(found == _exact(reference) for reference in references))
    except RecursionError:
        return 0.0


def is_json(text: str) -> bool:
    """Return whether a reference can be compared with."""
    return _exact(text) is not None


def fits_schema(schema: dict[str, Any]) -> Callable[[str], float]:
    """Return a function that says 1 of an answer that is JSON and fits the schema, else 0.

    The schema is one that the spec's own check has taken. `format` is an annotation, as drafts since 2019-09 have it by
    default. The function raises ConfigError when a pattern of the schema takes forever.
    """
    kind = extend(validator_for(schema, default=Draft202012Validator), {"pattern": _pattern})
    validator = kind(schema, registry=Registry())

    def fits(answer: str) -> float:
        try:
            return float(validator.is_valid(json.loads(answer, parse_constant=_refuse, parse_int=_whole)))
        except (ValueError, ArithmeticError, RecursionError):
            return 0.0

    return fits


def _exact(text: str) -> tuple[Any] | None:
    """Return the JSON value of a text, with exact numbers and in a tuple because null is one; None if it is none."""
    try:
        return (json.loads(text, parse_constant=_refuse, parse_int=_number, parse_float=_number),)
    except (ValueError, RecursionError):
        return None


def _number(digits: str) -> _Number:
    try:
        return _Number(Decimal(digits))
    except ArithmeticError:  # an exponent beyond all that there is
        return _Number(digits)


def _whole(digits: str) -> int | float:
    """Return a whole number; Python reads no more digits than these into one."""
    return int(digits) if len(digits) < 4000 else float(digits)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Any:
    """Yield what is wrong: as jsonschema's own, with a limit to how long it takes."""
    if not validator.is_type(instance, "string"):
        return
    try:
        found = regex.search(pattern, instance, timeout=SECONDS)
    except TimeoutError as error:
        raise ConfigError(
            f"jsonSchema: the pattern {pattern} looked for more than {SECONDS:g} s at a string of {len(instance)} "
            "characters; write it without repetitions inside of repetitions"
        ) from error
    if not found:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")
