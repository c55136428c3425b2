"""Reference pages from the API's models, constants and metrics."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunesmith_api import conditions
from tunesmith_api.base import API_VERSION, Kind
from tunesmith_api.crd import COLUMNS, VALIDATIONS, resource_schema
from tunesmith_api.metrics import METRICS
from tunesmith_api.resources import PLURALS, SHORT_NAMES
from tunesmith_api.schema import Schema

NOTICE = "<!-- Written by `make generate` from tunesmith_api. -->"


def kind_page(kind: Kind) -> str:
    """Return the page of a kind: every field of spec and status, and the rules across fields."""
    schema = resource_schema(kind)
    parts = [
        NOTICE,
        f"# {kind}",
        f"{schema['description']}",
        f"`apiVersion: {API_VERSION}`, `kind: {kind}`. `kubectl get {PLURALS[kind]}`, short `{SHORT_NAMES[kind]}`.",
    ]
    for part in ("spec", "status"):
        rows = list(_rows(schema["properties"][part], part))
        parts += [f"## {part}", _table(("field", "type", "default", "meaning"), rows)]
    if rules := list(_rules(schema, "")):
        parts += ["## Rules across fields", "\n".join(rules)]
    columns = [(f"`{each.name}`", f"`{each.path}`", "wide only" if each.priority else "") for each in COLUMNS[kind]]
    parts += ["## Columns of `kubectl get`", _table(("column", "path", ""), columns)]
    return "\n\n".join(parts) + "\n"


def conditions_page() -> str:
    """Return the page of condition types, reasons and metrics."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for title, name, comment in _constants(Path(conditions.__file__).read_text(encoding="utf-8")):
        sections.setdefault(title, []).append((f"`{name}`", comment))
    parts = [NOTICE, "# Conditions and metrics"]
    for title, rows in sections.items():
        parts += [f"## {title}", _table(("name", "meaning"), rows)]
    metrics = [
        (f"`{name}`", metric.description, "higher" if metric.higher_is_better else "lower")
        for name, metric in METRICS.items()
    ]
    parts += ["## Metrics", _table(("metric", "meaning", "better"), metrics)]
    return "\n\n".join(parts) + "\n"


def _rows(schema: Schema, path: str) -> Iterator[tuple[str, str, str, str]]:
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        default = "required" if name in required else _default(field)
        yield f"`{here}`", _type(field), default, field.get("description", "")
        inner, suffix = (field["items"], "[]") if field.get("type") == "array" else (field, "")
        yield from _rows(inner, here + suffix)


def _default(field: Schema) -> str:
    value = field.get("default")
    if value is None or isinstance(value, dict):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(field: Schema) -> str:
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    if field.get("type") == "array":
        bounds = _bounds(field, "minItems", "maxItems", " items")
        return f"list of {_type(field['items'])}{bounds}"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    words = {"date-time": "time"}.get(field.get("format", ""), str(field["type"]))
    if field["type"] == "string":
        return words
    return words + _bounds(field, "minimum", "maximum", "")


def _bounds(field: Schema, low: str, high: str, unit: str) -> str:
    bounds = []
    if low in field:
        bounds.append(f"{'more than' if field.get('exclusiveMinimum') else 'at least'} {field[low]}")
    if high in field:
        bounds.append(f"{'less than' if field.get('exclusiveMaximum') else 'at most'} {field[high]}")
    return f" ({', '.join(bounds)}{unit})" if bounds else ""


def _rules(schema: Schema, path: str) -> Iterator[str]:
    for rule in schema.get(VALIDATIONS, []):
        yield f"- `{path.lstrip('.') or 'the resource'}`: {rule['message']}."
    for name, field in schema.get("properties", {}).items():
        yield from _rules(field, f"{path}.{name}")
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")


def _table(header: tuple[str, ...], rows: list[Any]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _constants(source: str) -> Iterator[tuple[str, str, str]]:
    """Yield section, value and comment of each constant: a comment alone in its paragraph opens a section."""
    values = {
        node.lineno: node.value.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    title, comment = "", []
    for number, line in enumerate(source.splitlines(), start=1):
        if match := re.match(r"#\s?(.*)", line):
            comment.append(match[1])
        elif number in values:
            yield title, str(values[number]), " ".join(comment)
            comment = []
        elif not line.strip() and comment:
            title, comment = " ".join(comment), []
