"""Each keyword of a schema becomes examples: values at the bound, and values just beyond it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.crds.evaluations import GOLDEN_METRICS
from tests.crds.fields import ABSENT, ITEM, Field, fields, place_of
from tunesmith_api.base import Kind

NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"
_REST = r"[A-Za-z0-9._~@%+=,/-]+"
# What fits each pattern, the shortest first, and what does not.
_WORD = "[A-Za-z_][A-Za-z0-9_]*"
PATTERNS: dict[str, tuple[list[str], list[str]]] = {
    NAME: (["a", "7", "a-b", "bot-2"], ["A", "-a", "a-", "a.b", "a_b", "a b", "ä", "a/b"]),
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$": (["a", "a.b", "a-b.c"], ["A", ".a", "a.", "-a", "a_b", "a/b"]),
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(/[A-Za-z0-9][A-Za-z0-9_.-]*)?/[A-Za-z][A-Za-z0-9_]*$": (
        ["a/b", "facts/rouge2", "general/mmlu/acc_norm", "tone/very-good/f1"],
        ["f1", "/f1", "facts/", "facts/f-1", "Facts/f1", "facts/2", "a/b/c/d", "a//b"],
    ),
    r"^(best|last|each|[0-9]+)$": (["7", "best", "last", "120"], ["worst", "-1", "step 7", "7a"]),
    r"^[-._a-zA-Z0-9]+$": (["a", "api-key", "tls.key", "A_B"], ["a b", "a/b", "ä"]),
    r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[0-9*,/A-Za-z#?-]+( +[0-9*,/A-Za-z#?-]+){4})$": (
        ["@daily", "* * * * *", "0 3 * * *", "*/5 0-6 1,15 JAN MON-FRI"],
        ["@never", "@daily 3", "* * * *", "* * * * * *", "0 3 * * ä"],
    ),
    r"^(evalLoss|[a-z0-9]([-a-z0-9]*[a-z0-9])?/[A-Za-z][A-Za-z0-9]*)$": (
        ["a/b", "evalLoss", "facts/rouge2"],
        ["loss", "f1", "/f1", "facts/", "Facts/f1", "facts/2", "a/b/c"],
    ),
    r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$": (["a", "B.c-d_1"], ["-a", "a-", ".a", "a/b", "a b", "ä"]),
    QUANTITY: (["1", "500m", "1.5", "16Gi", "3k"], ["x", "-1", "1 Gi", "1GB", ".5", "1.", "1Ei", "m"]),
    rf"^(hf|pvc|s3|file|finetunejob)://{_REST}$": (
        ["hf://a", "hf://org/name@main", "pvc://claim/a", "s3://bucket/a_b/c=1", "file:///a", "finetunejob://bot"],
        ["a", "hf://", "http://a", "HF://a", "pvc:/a", "pvc://a b", "pvc://a;b", "pvc://a$b", "pvc://ä"],
    ),
    rf"^(hf|pvc|s3|file)://{_REST}$": (
        ["hf://a", "hf://org/name@main", "pvc://claim/a", "s3://a/b", "file:///a"],
        ["a", "hf://", "http://a", "finetunejob://bot", "pvc://a b", "s3://a'b"],
    ),
    rf"^(pvc|s3|file)://{_REST}$": (
        ["s3://a", "pvc://claim/a.jsonl", "file:///a"],
        ["a", "s3://", "hf://org/name", "finetunejob://bot", "pvc://a b", "s3://a'b"],
    ),
    r"^((hf|pvc|s3|file)://[A-Za-z0-9._~@%+=,/*?\[\]-]+|modelserve://[a-z0-9]([-a-z0-9]*[a-z0-9])?/feedback)$": (
        ["hf://a", "hf://org/name@main", "pvc://claim/**/*.jsonl", "s3://bucket/a[0-9]?.csv", "file:///a"],
        ["a", "hf://", "http://a", "finetunejob://bot", "pvc://a b", "pvc://a;b", "s3://a'b", "modelserve://bot"],
    ),
    r"^(/[A-Za-z0-9_@%+=:,~-][A-Za-z0-9._@%+=:,~-]*)+$": (
        ["/a", "/scratch/zero-1/v1.2", "/_a"],
        ["ab", "a/b", "//", "/a/", "/a//b", "/../a", "/a/./b", "/a b", "/ä"],
    ),
    r"^[a-z0-9-]+$": (["a", "x-team", "7-"], ["X-Team", "x_team", "x team", "x:team", "ä"]),
    r"^[A-Za-z0-9_-]+$": (["a", "get_weather", "Look-up2"], ["a b", "a.b", "ä", "a/b"]),
    r"^[A-Za-z0-9._-]+$": (["t", "train", "test_2.x-y"], ["a b", "train[:10]", "ä"]),
    r"^[A-Za-z0-9][A-Za-z0-9_.()-]*$": (
        ["a", "mmlu", "wmt16-en-ro", "tmmluplus_education_(profession_level)"],
        ["_a", "a b", "a/b", "a::b", "ä"],
    ),
    r"^[a-z]+$": (["en", "de"], ["EN", "e1", "1a"]),
    r"^[a-z0-9_-]+$": (["a", "fp8", "compressed-tensors", "gptq_marlin"], ["FP8", "a b", "a.b", "ä"]),
    r"^/[A-Za-z0-9._~/-]*$": (["/", "/health", "/v1/health.json"], ["health", "//a?b", "/a b", "/ä"]),
    rf"^([A-Za-z0-9]+|{_WORD}(\.{_WORD})*:{_WORD})$": (
        ["a", "exactMatch", "pkg.rewards:score", "_a:_b"],
        ["exact-match", "pkg.rewards", ":score", "pkg:", "a b", "pkg..x:y", "7a:b", "ä:b"],
    ),
    r"^https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~%+=/-]*)?$": (
        ["http://judge", "https://judge.default.svc:8000/v1", "http://[::1]:80/"],
        ["judge", "ftp://judge", "http://", "http://me:word@judge/v1", "http://judge/v1?key=a", "http://judge:port"],
    ),
    rf"^((pvc|s3)://[A-Za-z0-9.-]+|file://)/{_REST}$": (
        ["s3://a/b", "pvc://claim/a/b", "file:///a"],
        ["a", "pvc://claim", "pvc://claim/", "file://a/b", "file:///", "s3:///a", "hf://a/b", "pvc://cl aim/a"],
    ),
}
# What to put in place of a value to see that its type is checked.
OF_ANOTHER_TYPE: dict[str, list[Any]] = {
    "string": [7, True, ["a"], {}],
    "date-time": [7, True, {}],  # for a date, API servers overlook a list
    "integer": ["7", 1.5, True, [7]],
    "number": ["0.5", True, [0.5]],
    "boolean": ["true", 1],
    "array": ["a", {}, 7],
    "object": ["a", ["a"], 7],
}
_TINY = 1e-9


@dataclass(frozen=True)
class Constraint:
    """One keyword at one field: values that the field takes, values that it does not, and the server's words for them.

    `below` is where beneath the field the server finds the fault, for faults that are not the field's own.
    """

    field: Field
    keyword: str
    accepted: list[Any]
    refused: list[Any]
    words: str
    below: str = ""

    def __str__(self) -> str:
        return f"{self.field.kind} {self.field} {self.keyword}"


def constraints(kind: Kind, root: str) -> list[Constraint]:
    """Return every constraint of a kind's spec or status."""
    return [each for field in fields(kind, root) for each in _of(field)]


def _of(field: Field) -> Iterator[Constraint]:
    for keyword in field.schema:
        if keyword in KEYWORDS:
            yield from KEYWORDS[keyword](field, keyword)
        else:
            assert keyword in NO_CONSTRAINT, f"{field}: {keyword} has no examples; add them to tests/crds"
    if field.required:
        yield Constraint(field, "required", [], [ABSENT], "Required value")
    elif not field.is_element:
        yield Constraint(field, "optional", [ABSENT], [], "")
    yield from _null(field)


def _null(field: Field) -> Iterator[Constraint]:
    """A null counts as no value, as no field of ours is nullable; a list has no place without a value."""
    if field.required:
        yield Constraint(field, "null", [], [None], "Required value")
    elif field.path[-1] == ITEM:
        yield Constraint(field, "null", [], [None], "must be of type")
    else:
        yield Constraint(field, "null", [None], [], "")


def _type(field: Field, keyword: str) -> Iterator[Constraint]:
    value, type_ = place_of(field).value, str(field.schema.get("format", field.schema["type"]))
    yield Constraint(field, keyword, [value], OF_ANOTHER_TYPE[type_], f"must be of type {type_}")
    if type_ != "object":
        return
    own = next(iter(value.values()), "x") if "additionalProperties" in field.schema else "x"
    more = {**value, "unheardOf": own}
    if "properties" in field.schema:
        yield Constraint(field, "unknown", [value], [more], "unknown field", ".unheardOf")
    else:
        assert "additionalProperties" in field.schema or "x-kubernetes-preserve-unknown-fields" in field.schema
        yield Constraint(field, "unknown", [more, {}], [], "")


def _max_properties(field: Field, keyword: str) -> Iterator[Constraint]:
    bound, value = field.schema[keyword], next(iter(place_of(field).value.values()))
    accepted, refused = ({f"key-{number}": value for number in range(count)} for count in (bound, bound + 1))
    yield Constraint(field, keyword, [accepted], [refused], f"must have at most {bound} items")


def _int_or_string(field: Field, keyword: str) -> Iterator[Constraint]:
    yield Constraint(field, keyword, [2, "2", "16Gi"], [1.5, True, ["2"]], "must be of type integer,string")


def _minimum(field: Field, keyword: str) -> Iterator[Constraint]:
    bound, step = field.schema[keyword], _step(field)
    if field.schema.get("exclusiveMinimum"):
        yield Constraint(field, keyword, [bound + step], [bound, bound - step], f"should be greater than {bound}")
    else:
        yield Constraint(field, keyword, [bound], [bound - step], f"should be greater than or equal to {bound}")


def _maximum(field: Field, keyword: str) -> Iterator[Constraint]:
    bound, step = field.schema[keyword], _step(field)
    if field.schema.get("exclusiveMaximum"):
        yield Constraint(field, keyword, [bound - step], [bound, bound + step], f"should be less than {bound}")
    else:
        yield Constraint(field, keyword, [bound], [bound + step], "should be less than or equal to")


def _step(field: Field) -> float:
    return 1 if field.schema["type"] == "integer" else _TINY


def _min_length(field: Field, keyword: str) -> Iterator[Constraint]:
    bound = field.schema[keyword]
    shortest = PATTERNS[field.schema["pattern"]][0][0] if "pattern" in field.schema else "a" * bound
    words = f"should be at least {bound} chars long"
    yield Constraint(field, keyword, [shortest], ["a" * (bound - 1)], words)


def _max_length(field: Field, keyword: str) -> Iterator[Constraint]:
    bound = field.schema[keyword]
    yield Constraint(
        field, keyword, [_stretched(field, bound)], [_stretched(field, bound + 1)], f"may not be more than {bound}"
    )


def _stretched(field: Field, length: int) -> str:
    value, pattern = place_of(field).value, field.schema.get("pattern", "")
    numeric = pattern == QUANTITY or value.isdigit()
    value = value.rjust(length, "1") if numeric else value.ljust(length, "a")
    assert re.match(pattern, value), f"{field}: {value} does not fit {pattern}"
    return str(value)


def _pattern(field: Field, keyword: str) -> Iterator[Constraint]:
    pattern = field.schema[keyword]
    assert pattern in PATTERNS, f"{field}: {pattern} has no examples; add them to PATTERNS"
    accepted, refused = PATTERNS[pattern]
    yield Constraint(field, keyword, accepted, refused, "should match")


def _format(field: Field, keyword: str) -> Iterator[Constraint]:
    assert field.schema[keyword] == "date-time"
    yield Constraint(
        field, keyword, ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.5+01:00"], ["yesterday", "2026-13-01T00:00:00Z"],
        "must be of type date-time",
    )  # fmt: skip


def _enum(field: Field, keyword: str) -> Iterator[Constraint]:
    values = field.schema[keyword]
    strange = [max(values) + 1, min(values) - 1] if field.schema["type"] == "integer" else ["strange", ""]
    # Of a set, the other items are taken already.
    others = place_of(field).beside() if field.path[-1] == ITEM else []
    yield Constraint(field, keyword, [each for each in values if each not in others], strange, "Unsupported value")


def _min_items(field: Field, keyword: str) -> Iterator[Constraint]:
    bound = field.schema[keyword]
    yield Constraint(
        field, keyword, [_items(field, bound)], [_items(field, bound - 1)], f"should have at least {bound} items"
    )


def _max_items(field: Field, keyword: str) -> Iterator[Constraint]:
    bound = field.schema[keyword]
    values = field.schema["items"].get("enum")
    if values and field.schema["x-kubernetes-list-type"] == "set":
        # It may be that there are not so many different ones.
        accepted, refused = values[:bound], (values * bound)[: bound + 1]
    else:
        accepted, refused = _items(field, bound), _items(field, bound + 1)
    yield Constraint(field, keyword, [accepted], [refused], f"must have at most {bound} items")


def _items(field: Field, count: int) -> list[Any]:
    """Return so many items, alike but for their keys."""
    first = place_of(field).value[0]
    keys = field.schema.get("x-kubernetes-list-map-keys", [])
    if _is_open_set(field):
        return [_key(field, first, number) for number in range(count)]
    return [{**first, **{key: _key(field, first[key], n) for key in keys}} if keys else first for n in range(count)]


def _is_open_set(field: Field) -> bool:
    """Return whether items must differ, and may be any text."""
    return field.schema.get("x-kubernetes-list-type") == "set" and "enum" not in field.schema["items"]


def _key(field: Field, value: Any, number: int) -> Any:
    if isinstance(value, int):
        return value + number
    if (field.kind, str(field)) == ("EvalJob", "spec.gates"):  # its keys are metrics, which there must be
        suite, metric = divmod(number, len(GOLDEN_METRICS))
        return f"suite-{suite}/{GOLDEN_METRICS[metric]}"
    return f"{value}-{number}" if number else value


def _list_type(field: Field, keyword: str) -> Iterator[Constraint]:
    first = place_of(field).value[0]
    match field.schema[keyword]:
        case "atomic":
            yield Constraint(field, keyword, [[first, first]], [], "")
        case "set":
            two = _items(field, 2) if _is_open_set(field) else field.schema["items"]["enum"][:2]
            yield Constraint(field, keyword, [two], [[first, first]], "Duplicate value", "[1]")
        case "map":
            (key,) = field.schema["x-kubernetes-list-map-keys"]
            refused = [first, {**_items(field, 2)[1], key: first[key]}]
            yield Constraint(field, keyword, [_items(field, 2)], [refused], "Duplicate value", "[1]")


KEYWORDS: dict[str, Callable[[Field, str], Iterator[Constraint]]] = {
    "type": _type,
    "x-kubernetes-int-or-string": _int_or_string,
    "minimum": _minimum,
    "maximum": _maximum,
    "minLength": _min_length,
    "maxProperties": _max_properties,
    "maxLength": _max_length,
    "pattern": _pattern,
    "format": _format,
    "enum": _enum,
    "minItems": _min_items,
    "maxItems": _max_items,
    "x-kubernetes-list-type": _list_type,
}
# Words of a schema that refuse nothing, or whose examples come with another keyword's.
NO_CONSTRAINT = {
    "description",
    "default",
    "properties",
    "items",
    "additionalProperties",  # its values are fields of their own
    "required",  # said of the object, tested on each of its fields
    "exclusiveMinimum",  # with minimum
    "exclusiveMaximum",  # with maximum
    "x-kubernetes-list-map-keys",  # with x-kubernetes-list-type
    "x-kubernetes-preserve-unknown-fields",  # with type
    "x-kubernetes-validations",  # tests/crds/examples.py
}
