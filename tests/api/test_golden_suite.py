"""A golden suite's fields: what goes with which metric, and what is no template, pattern or schema."""

from typing import Any

import pytest
from pydantic import ValidationError

from tunesmith_api.errors import explain
from tunesmith_api.suites import Suite

SCHEMA = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"$ref": "#/$defs/name"}, "age": {"type": "integer"}},
    "$defs": {"name": {"type": "string", "pattern": "^[A-Z]"}},
}
ENCODER = "hf://org/encoder"


def suite(**golden: Any) -> Suite:
    return Suite.model_validate({"name": "facts", "golden": {"uri": "pvc://data/x.jsonl", **golden}})


def refused(**golden: Any) -> str:
    with pytest.raises(ValidationError) as error:
        suite(**golden)
    (sentence,) = explain(error.value)
    return sentence


def test_every_field_beside_its_metric() -> None:
    whole = suite(
        template="{{ prompt }} As JSON.",
        metrics=("jsonValid", "jsonSchema", "jsonMatch", "regex", "numeric", "similarity"),
        jsonSchema=SCHEMA,
        regex=r"\A\p{Lu}",
        numericTolerance={"absolute": 0.5, "relative": 0.01},
        embeddingModel=ENCODER,
    )
    assert whole.metric_names()[1] == "facts/jsonSchema"
    assert whole.to_json()["golden"]["jsonSchema"] == SCHEMA
    assert suite(metrics=("numeric",)).kind.needs_weights is False


@pytest.mark.parametrize("schema", [{}, {"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}, {"$anchor": "a"}])
def test_schemas_that_are_taken(schema: dict[str, Any]) -> None:
    suite(metrics=("jsonSchema",), jsonSchema=schema)


@pytest.mark.parametrize(
    ("metric", "field"), [("jsonSchema", "jsonSchema"), ("regex", "regex"), ("similarity", "embeddingModel")]
)
def test_a_metric_without_its_field_is_refused(metric: str, field: str) -> None:
    assert refused(metrics=(metric,)) == f"golden: metric {metric} needs {field}; set it, or drop the metric"


@pytest.mark.parametrize(
    ("field", "value", "metric"),
    [
        ("jsonSchema", {}, "jsonSchema"),
        ("regex", "a", "regex"),
        ("numericTolerance", {"absolute": 1.0}, "numeric"),
        ("embeddingModel", ENCODER, "similarity"),
    ],
)
def test_a_field_without_its_metric_is_refused(field: str, value: Any, metric: str) -> None:
    assert refused(**{field: value}) == (
        f"golden: {field} is for the metric {metric}, which metrics does not name; add it or drop {field}"
    )


def test_a_pattern_that_is_none_is_refused() -> None:
    assert refused(metrics=("regex",), regex="(a").startswith("golden.regex: is not a regular expression: missing )")
    assert "is not a regular expression" in refused(metrics=("regex",), regex="(" * 3000)


def test_a_template_that_is_none_is_refused() -> None:
    assert refused(template="a\n{{ prompt").startswith("golden.template: is not a Jinja template: line 2: ")
    assert "is not a Jinja template" in refused(template="{% include 'a' %}{% endif %}")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "sting"}, "is not a JSON schema: type: 'sting' is not valid"),
        ({"properties": {"a": {"minimum": "1"}}}, "is not a JSON schema: properties.a.minimum: '1' is not of type"),
        ({"pattern": "(a"}, "is not a JSON schema: pattern: '(a' is not a 'regex'"),
        ({"$ref": "#/$defs/a"}, "refers to #/$defs/a, which is not inside it; write it below $defs"),
        ({"items": [{"$ref": "https://example.com/a"}]}, "is not a JSON schema"),
        ({"items": {"$ref": "https://example.com/a"}}, "refers to https://example.com/a, which is not inside it"),
        ({"allOf": [{"$ref": "#missing"}]}, "refers to #missing, which is not inside it"),
    ],
)
def test_a_schema_that_is_none_is_refused(schema: dict[str, Any], words: str) -> None:
    assert refused(metrics=("jsonSchema",), jsonSchema=schema).startswith(f"golden.jsonSchema: {words}")


def test_a_schema_that_is_too_deep_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(2000):
        schema = {"not": schema}
    assert "nested too deeply" in refused(metrics=("jsonSchema",), jsonSchema=schema)
