"""Validation errors as sentences that say what is wrong, where, and what to do."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tunesmith_api.base import API_VERSION
from tunesmith_api.resources import KINDS

_TYPE_WORDS = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def explain(error: ValidationError) -> list[str]:
    """Return one sentence per error, each beginning with the path of the field, in the order of the document."""
    sentences: list[str] = []
    for detail in error.errors(include_url=False):
        if detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]:
            continue  # said of a list only because one of its items has an error of its own
        for sentence in _combinations(detail) if detail["type"] == "combination" else [_sentence(detail)]:
            if sentence not in sentences:
                sentences.append(sentence)
    return sentences


def _combinations(detail: ErrorDetails) -> list[str]:
    parent = ".".join(str(part) for part in detail["loc"] if part not in KINDS)
    return [
        f"{'.'.join(name for name in (parent, field) if name)}: {message}"
        for field, message in detail["ctx"]["sentences"]
    ]


def _sentence(detail: ErrorDetails) -> str:
    kind = detail["loc"][0] if detail["loc"] else None
    location = detail["loc"][1:] if kind in KINDS else detail["loc"]
    context = detail.get("ctx", {})
    value = _shown(detail["input"])
    if location and (location[-1] == "int" or str(location[-1]).startswith("constrained-str")):
        return f"{_path(location[:-1])}: {value} is not a quantity such as 2, 500m or 16Gi"
    path = _path(location)
    match detail["type"]:
        case "union_tag_invalid":
            return f"kind: {context['tag']!r} is not a kind of {API_VERSION}; use {_listed(list(KINDS))}"
        case "union_tag_not_found":
            return f"kind: missing; use {_listed(list(KINDS))}"
        case "missing":
            return f"{path}: missing; it is required"
        case "extra_forbidden":
            return f"{path}: unknown field{_nearest(str(kind), location)}"
        case "literal_error":
            return f"{path}: {value} is not allowed; use {context['expected'].replace(chr(39), '')}"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            words = detail["msg"].removeprefix("Input should be ")
            return f"{path}: {value} is out of bounds; it must be {words}"
        case "too_short":
            return f"{path}: has {context['actual_length']} items; it needs at least {context['min_length']}"
        case "too_long":
            return f"{path}: has {context['actual_length']} items; it takes at most {context['max_length']}"
        case "string_too_short" | "string_too_long":
            return f"{path}: {value} {_clause(detail['msg']).replace('string should have', 'must have')}"
        case "string_pattern_mismatch":
            return f"{path}: {value} does not match {context['pattern']}"
        case "value_error":
            return f"{path}: {context['error']}"
        case error_type if error_type in _TYPE_WORDS:
            return f"{path}: {value} is not {_TYPE_WORDS[error_type]}"
        case _:
            return f"{path}: {_clause(detail['msg'])} (got {value})"


def _clause(message: str) -> str:
    return message[:1].lower() + message[1:]


def _path(location: Sequence[str | int]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path or "the document"


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except RecursionError:
        text = f"{type(value).__name__} of many levels"
    return text if len(text) <= 60 else text[:57] + "..."


def _listed(words: list[Any]) -> str:
    return ", ".join(str(word) for word in words[:-1]) + f" or {words[-1]}"


def _nearest(kind: str, location: Sequence[str | int]) -> str:
    """Return a hint at the known field that the last part of `location` was meant to be."""
    names = sorted(_names_at(kind, location[:-1]))
    close = difflib.get_close_matches(_folded(str(location[-1])), [_folded(name) for name in names], n=1, cutoff=0.6)
    if close:
        return f"; did you mean {next(name for name in names if _folded(name) == close[0])}?"
    return f"; known here: {', '.join(names)}" if names else ""


def _folded(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _names_at(kind: str, parents: Sequence[str | int]) -> set[str]:
    if kind not in KINDS:
        return set()
    models: list[type[BaseModel]] = [KINDS[kind]]
    for part in parents:
        if isinstance(part, int):
            continue
        fields = [field for model in models for field in model.model_fields.values() if field.alias == part]
        models = [inner for field in fields for inner in _models_in(field.annotation)]
    return {field.alias or name for model in models for name, field in model.model_fields.items()}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
