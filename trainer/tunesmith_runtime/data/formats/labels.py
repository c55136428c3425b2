"""Texts with classes, and words with tags."""

import math
import re
from collections.abc import Iterator

from tunesmith_runtime.data.formats.fields import BadRecordError, Fields, as_text, kind, list_of, text_of
from tunesmith_runtime.data.records import LabelledText, Record, TaggedTokens

_DECIMAL = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")


def text_classification(fields: Fields) -> Iterator[Record | None]:
    """Read `{"text": str, "text_pair": str (optional), "label": str | int | bool | float | [str | int]}`.

    A string, a whole number or a truth value is a class, a list is several classes or none, and a number with a
    decimal point is a value to predict.
    """
    text = text_of(fields, "text")
    pair = None if fields.get("text_pair") is None else text_of(fields, "text_pair")
    label = _label(fields["label"])
    yield LabelledText(text, pair or None, label) if text.strip() else None


def token_classification(fields: Fields) -> Iterator[Record | None]:
    """Read `{"tokens": [str], "tags": [str | int]}`, one tag for each token."""
    tokens = [as_text(token, f"tokens[{index}]") for index, token in enumerate(list_of(fields, "tokens"))]
    tags = [_class(tag, f"tags[{index}]") for index, tag in enumerate(list_of(fields, "tags"))]
    if len(tokens) != len(tags):
        raise BadRecordError(f"there are {len(tokens)} tokens and {len(tags)} tags; give each token one tag")
    yield TaggedTokens(tuple(tokens), tuple(tags)) if any(token.strip() for token in tokens) else None


def number(text: str) -> str | float:
    """Return the number that a CSV field with a decimal point says, else the text itself."""
    return float(text) if _DECIMAL.fullmatch(text.strip()) else text


def _label(value: object) -> str | float | tuple[str, ...]:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadRecordError(f"label is {value}; it must be a number that is finite")
        return value
    if not isinstance(value, list):
        return _class(value, "label")
    classes = [_class(each, f"label[{index}]") for index, each in enumerate(value)]
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise BadRecordError(f"label names {', '.join(twice)} twice; a list holds the classes of the text, each once")
    return tuple(classes)


def _class(value: object, where: str) -> str:
    if isinstance(value, int):  # a truth value among them
        return str(value).lower()
    if not isinstance(value, str):
        raise BadRecordError(f"{where} is {kind(value)}; it must be a string or a whole number")
    name = as_text(value, where)
    if not name.strip():
        raise BadRecordError(f"{where} is empty; it must name a class")
    return name
