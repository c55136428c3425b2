"""values.yaml, its schema and its table in the README say the same."""

import json
from typing import Any

import yaml
from tools.chart import readme, value_rows

from tests.unit.charts.rendered import read

VALUES = read("charts/tunesmith/values.yaml")
SCHEMA: dict[str, Any] = json.loads(read("charts/tunesmith/values.schema.json"))


def documented() -> set[str]:
    return {path.strip("`") for path, _, _ in value_rows(VALUES)}


def paths(schema: dict[str, Any], prefix: str = "") -> set[str]:
    """Return the paths that a schema knows, down to where it no longer lists what there is."""
    schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if not schema.get("properties") or prefix in documented():
        return {prefix}
    return {path for name, each in schema["properties"].items() for path in paths(each, f"{prefix}.{name}".strip("."))}


def test_the_schema_knows_what_values_yaml_documents_and_no_more() -> None:
    assert paths(SCHEMA) == documented() | {"global"}


def test_every_value_is_documented() -> None:
    def undocumented(values: dict[str, Any], prefix: str) -> set[str]:
        found = set()
        for name, value in values.items():
            path = f"{prefix}.{name}".strip(".")
            if path not in documented():
                found |= undocumented(value, path) if isinstance(value, dict) and value else {path}
        return found

    assert undocumented(yaml.safe_load(VALUES), "") == set()


def test_every_object_of_the_schema_is_strict() -> None:
    def lax(schema: Any, path: str) -> list[str]:
        if isinstance(schema, list):
            return [each for number, item in enumerate(schema) for each in lax(item, f"{path}/{number}")]
        if not isinstance(schema, dict):
            return []
        here = [path] if "properties" in schema and schema.get("additionalProperties") is not False else []
        inner = schema.items() if path.endswith("/properties") else [(k, v) for k, v in schema.items() if k != "enum"]
        return here + [each for name, item in inner for each in lax(item, f"{path}/{name}")]

    assert lax(SCHEMA, "") == []


def test_the_readme_has_the_table_of_the_values() -> None:
    text = read("charts/tunesmith/README.md")
    assert text == readme(VALUES), "run `make generate`"
    assert "| `crds.keep` | `true` | Keep them, and with them every FineTuneJob, EvalJob and ModelServe," in text
    assert '| `resources` | `{"requests": {"cpu": "100m", "memory": "128Mi"}' in text
