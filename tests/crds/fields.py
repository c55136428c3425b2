"""The fields of a schema, where they lie in a resource, and resources with one of them changed."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.crds.whole import whole
from tunesmith_api.base import Kind
from tunesmith_api.crd import custom_resource_definition

Schema = dict[str, Any]
Object = dict[str, Any]
Step = str | int

ITEM, VALUE = "[]", "{}"
# As a value: the field is not there.
ABSENT: Any = object()


@dataclass(frozen=True)
class Field:
    """A field of a schema. In `path`, [] is each item of a list and {} is each value of a map."""

    kind: Kind
    path: tuple[str, ...]
    schema: Schema
    required: bool

    def __str__(self) -> str:
        return ".".join(self.path).replace(f".{ITEM}", ITEM).replace(f".{VALUE}", VALUE)

    @property
    def is_element(self) -> bool:
        """Whether this is an item of a list or a value of a map."""
        return self.path[-1] in {ITEM, VALUE}


def schema_of(kind: Kind) -> Schema:
    """Return the schema of a kind as its definition carries it."""
    version = custom_resource_definition(kind)["spec"]["versions"][0]
    schema: Schema = version["schema"]["openAPIV3Schema"]
    return schema


def fields(kind: Kind, root: str) -> Iterator[Field]:
    """Return the field `root` (spec or status) of a kind and all fields below it."""
    schema = schema_of(kind)
    yield from _walk(kind, (root,), schema["properties"][root], root in schema["required"])


def _walk(kind: Kind, path: tuple[str, ...], schema: Schema, required: bool) -> Iterator[Field]:
    yield Field(kind, path, schema, required)
    for name, inner in schema.get("properties", {}).items():
        yield from _walk(kind, (*path, name), inner, name in schema.get("required", ()))
    if "items" in schema:
        yield from _walk(kind, (*path, ITEM), schema["items"], False)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _walk(kind, (*path, VALUE), schema["additionalProperties"], False)


@dataclass(frozen=True)
class Place:
    """Where a field lies in a resource."""

    resource: Object
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return dotted(self.steps)

    @property
    def value(self) -> Any:
        return _at(self.resource, self.steps)

    def beside(self) -> list[Any]:
        """Return the other items of the list that it is an item of."""
        items = _at(self.resource, self.steps[:-1])
        return [each for index, each in enumerate(items) if index != self.steps[-1]]

    def holding(self, value: Any) -> Object:
        """Return the resource with another value in this place, or with none."""
        changed = copy.deepcopy(self.resource)
        parent = _at(changed, self.steps[:-1])
        if value is ABSENT:
            del parent[self.steps[-1]]
        else:
            parent[self.steps[-1]] = copy.deepcopy(value)
        return changed


def place_of(field: Field) -> Place:
    """Return the first place of a field in the whole resources of its kind."""
    for resource in whole(field.kind):
        for steps in _find(resource, field.path):
            return Place(resource, steps)
    raise AssertionError(f"no resource of tests/crds/whole.py has {field.kind} {field}")


def dotted(steps: tuple[Step, ...]) -> str:
    """Return a place as API servers write it: spec.suites[0].name."""
    written = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return written.removeprefix(".")


def _find(value: Any, path: tuple[str, ...]) -> Iterator[tuple[Step, ...]]:
    if not path:
        yield ()
        return
    name, rest = path[0], path[1:]
    inner: list[tuple[Step, Any]] = []
    if name == ITEM:
        inner = list(enumerate(value))
    elif name == VALUE:
        inner = list(value.items())
    elif name in value:
        inner = [(name, value[name])]
    for step, each in inner:
        yield from ((step, *steps) for steps in _find(each, rest))


def _at(value: Any, steps: tuple[Step, ...]) -> Any:
    for step in steps:
        value = value[step]
    return value
