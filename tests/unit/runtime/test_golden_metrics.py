"""Metrics of an answer's form, each beside a reference implementation."""

import json
import math
import re
from typing import Any

import jsonschema
import numpy as np
import pytest

from tunesmith_api.suites.golden import Tolerance
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.evaluate import json_metrics, pattern_metrics
from tunesmith_runtime.evaluate.json_metrics import fits_schema, json_match, json_valid
from tunesmith_runtime.evaluate.pattern_metrics import finds, last_number, numeric
from tunesmith_runtime.evaluate.text_metrics import score

JSON = [
    '{"name": "Åsa", "age": 3}',
    '{"age": 3.0, "name": "\\u00c5sa"}',
    '{"age": 3.1, "name": "Åsa"}',
    ' [1, 2.50, {"a": null}]\n',
    '[1, 2.5, {"a": null}]',
    "[2.5, 1, null]",
    "true",
    "1",
    "1e0",
    "0",
    "false",
    "null",
    '""',
    '"日本"',
]
NO_JSON = [
    "",
    " ",
    "Sure: {}",
    "{'a': 1}",
    "{",
    "[1,]",
    "NaN",
    "[Infinity]",
    "1 2",
    "```json\n{}\n```",
    "１",
    "[" * 10**5,
]


@pytest.mark.parametrize("text", JSON)
def test_json_is_valid_from_beginning_to_end(text: str) -> None:
    assert json_valid(text) == 1
    assert json_match(text, [text]) == 1


@pytest.mark.parametrize("text", NO_JSON)
def test_what_is_no_json_is_neither_valid_nor_a_match_nor_fits_a_schema(text: str) -> None:
    assert json_valid(text) == 0
    assert json_match(text, [text, "1"]) == 0
    assert fits_schema({})(text) == 0


@pytest.mark.parametrize("answer", JSON)
@pytest.mark.parametrize("reference", JSON)
def test_values_match_where_the_const_of_json_schema_says_so(answer: str, reference: str) -> None:
    const = jsonschema.Draft202012Validator({"const": json.loads(reference)})
    assert json_match(answer, ["[]", reference]) == const.is_valid(json.loads(answer))


def test_numbers_match_by_their_exact_value() -> None:
    assert json_match("1" * 5000, ["1" * 5000]) == 1
    assert json_match("1" * 5000, ["1" * 4999 + "2"]) == 0
    assert json_match("0.1", ["0.10000000000000000001"]) == 0
    assert json_match("1e400", ["10e399"]) == 1
    assert json_valid(f"1e{'9' * 30}") == 1
    assert json_match("1", [f"1e{'9' * 30}"]) == 0
    assert json_match(f"1e{'9' * 30}", [f"1e{'9' * 30}"]) == 1


def test_values_that_are_nested_too_deeply_do_not_end_the_run() -> None:
    deep = "[" * 900 + "]" * 900
    assert json_match(deep, [deep]) in (0, 1)
    assert fits_schema({"items": {"$ref": "#"}})(deep) in (0, 1)


SCHEMA = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string", "pattern": "^[A-ZÅ]"}, "age": {"type": "integer", "minimum": 1}},
    "additionalProperties": False,
}


@pytest.mark.parametrize("schema", [SCHEMA, {}, {"type": "integer"}, {"type": "array", "uniqueItems": True}])
@pytest.mark.parametrize("answer", [*JSON, '{"name": "åsa"}', '{"name": 1}', '{"name": "A", "b": 1}', "[1, 1.0]"])
def test_an_answer_fits_a_schema_where_jsonschema_says_so(schema: dict[str, Any], answer: str) -> None:
    assert fits_schema(schema)(answer) == jsonschema.Draft202012Validator(schema).is_valid(json.loads(answer))


def test_the_schemas_own_draft_is_followed() -> None:
    assert fits_schema({"items": [{"type": "null"}], "$schema": "http://json-schema.org/draft-07/schema#"})("[1]") == 0
    assert fits_schema({"prefixItems": [{"type": "null"}]})("[1]") == 0
    old = {"prefixItems": [{"type": "null"}], "$schema": "http://json-schema.org/draft-07/schema#"}
    assert fits_schema(old)("[1]") == 1


def test_a_schema_that_goes_round_in_circles_fits_nothing() -> None:
    assert fits_schema({"$ref": "#"})("1") == 0


def test_a_number_of_many_digits_fits_a_schema() -> None:
    assert fits_schema({"type": "number"})("1" * 5000) == 1
    assert fits_schema({"multipleOf": 0.01})("1e400") == 0


@pytest.mark.parametrize("pattern", ["blue", r"\Ablue\Z", r"(?i)BLUE$", r"\bé", "^$", r"\d{2}"])
@pytest.mark.parametrize("answer", ["blue", "It is blue", "Blue", "", "café", "é", "a\nblue", "42", "٤٢"])
def test_a_pattern_is_found_where_pythons_re_finds_it(pattern: str, answer: str) -> None:
    assert finds(pattern)(answer) == (re.search(pattern, answer) is not None)


CATASTROPHIC = r"(?:a|aa)+\d"


def test_a_pattern_that_takes_forever_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pattern_metrics, "SECONDS", 0.05)
    with pytest.raises(ConfigError, match=r"regex looked for more than 0.05 s at an answer of 40 characters; write it"):
        finds(CATASTROPHIC)("a" * 40)


def test_a_schemas_pattern_that_takes_forever_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_metrics, "SECONDS", 0.05)
    with pytest.raises(ConfigError, match=r"more than 0.05 s at a string of 40 characters"):
        fits_schema({"pattern": CATASTROPHIC})(json.dumps("a" * 40))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("42", 42),
        ("It is 3, no, 4.", 4),
        ("It is 4.50", 4.5),
        ("#### 1,234,567.5", 1234567.5),
        ("1,23", 23),
        ("-7", -7),
        ("−7 °C", -7),
        ("x=-7", -7),
        ("(-7)", -7),
        ("5-3", 3),
        ("5 - 3", 3),
        (".5", 0.5),
        ("$-.5", -0.5),
        ("version 1.2.3", 3),
        ("6.02e23", 6.02e23),
        ("1E-3 m", 0.001),
        ("1e99999", 99999),
        ("50%", 50),
        ("١٢", 12),
        ("A4", 4),
        ("", None),
        ("none", None),
        ("½", None),
        ("-", None),
        ("e5.", 5),
    ],
)
def test_the_last_number_of_a_text(text: str, number: float | None) -> None:
    found = last_number(text)
    assert found is None if number is None else float(found or math.nan) == number


@pytest.mark.parametrize("absolute", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("relative", [0.0, 0.01, 0.3])
def test_numbers_are_near_where_numpy_says_so(absolute: float, relative: float) -> None:
    numbers = [-100.0, -1.0, 0.0, 0.25, 1.0, 1.2, 3.0, 99.0, 100.0, 1e6]
    near = numeric(Tolerance(absolute=absolute, relative=relative))
    for answer in numbers:
        for reference in numbers:
            expected = np.isclose(answer, reference, rtol=relative, atol=absolute)
            assert near(f"It is {answer}", ["1e300", f"{reference}"]) == expected, (answer, reference)


def test_the_bounds_of_a_tolerance_are_exact_in_decimals() -> None:
    assert numeric(Tolerance(absolute=0.1))("1.1", ["1.0"]) == 1
    assert numeric(Tolerance(absolute=0.1))("1.100001", ["1.0"]) == 0


def test_without_a_number_an_answer_is_wrong() -> None:
    assert numeric(Tolerance(absolute=1e9))("none", ["1"]) == 0


def test_they_are_means_over_the_answers() -> None:
    result = score(
        ['{"a": 1}', "", "x = 5"],
        [['{"a": 1.0}'], ["{}"], ["5"]],
        ["jsonValid", "jsonMatch", "regex"],
        {"regex": lambda answer, _: finds("x")(answer)},
    )
    assert result.corpus == pytest.approx({"jsonValid": 1 / 3, "jsonMatch": 1 / 3, "regex": 1 / 3})
    assert result.summands["jsonMatch"].shares
    assert [sample["regex"] for sample in result.samples] == [0, 0, 1]
