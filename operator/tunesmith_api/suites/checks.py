"""Templates, patterns and JSON schemas in a spec: looked at when it is read, long before they are used.

The libraries are imported by who needs them: most specs have none of these.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, StringConstraints


def _template(text: str) -> str:
    """Return the text. Raises ValueError when it is no Jinja template."""
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        ImmutableSandboxedEnvironment().from_string(text)
    except TemplateSyntaxError as error:
        raise ValueError(f"is not a Jinja template: line {error.lineno}: {error.message}") from error
    except RecursionError as error:
        raise ValueError("is not a Jinja template that can be read: it is nested too deeply") from error
    return text


def _pattern(text: str) -> str:
    """Return the text. Raises ValueError when it is no regular expression of the package regex."""
    import regex

    try:
        regex.compile(text)
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is not a regular expression: {error or 'it is nested too deeply'}") from error
    return text


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema. Raises ValueError when it is no JSON schema, or refers to what is not inside it."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import NoSuchResource, Unresolvable
    from referencing.jsonschema import DRAFT202012

    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        where = ".".join(str(step) for step in error.absolute_path)
        raise ValueError(f"is not a JSON schema: {f'{where}: ' if where else ''}{error.message}"[:1000]) from error
    except RecursionError as error:
        raise ValueError("is not a JSON schema that can be read: it is nested too deeply") from error
    inside = DRAFT202012.create_resource(schema)
    resolver = Registry().with_resource("", inside).crawl().resolver()
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except (Unresolvable, NoSuchResource, ValueError) as error:
            raise ValueError(f"refers to {reference}, which is not inside it; write it below $defs") from error
    return schema


def _references(value: object) -> Iterator[str]:
    """Yield what a schema refers to."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


_AS_IT_IS: dict[str, JsonValue] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

Template = Annotated[str, StringConstraints(min_length=1, max_length=16384), AfterValidator(_template)]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(_pattern)]
JsonSchema = Annotated[dict[str, Any], AfterValidator(_schema), Field(json_schema_extra=_AS_IT_IS)]
