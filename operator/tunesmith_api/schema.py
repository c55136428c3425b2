"""A pydantic model becomes a structural OpenAPI schema, as CustomResourceDefinitions want it.

Structural: no `$ref`, every type said, nothing but `properties` describing an object's fields
(https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema).
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

_INT_OR_STRING = "x-kubernetes-int-or-string"
# What pydantic says for its own readers, and what a structural schema cannot say.
_DROPPED = frozenset({"title", "discriminator", "$defs", "additionalProperties", "propertyNames"})


def structural_schema(model: type[BaseModel]) -> Schema:
    """Return the schema of a model under the names that users write.

    Fields that may be None become fields that may be absent. Raises ValueError for what a CRD cannot say: recursion,
    or a union of anything but integer and string.
    """
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(schema, schema.get("$defs", {}), ())


def _convert(node: Mapping[str, Any], definitions: Mapping[str, Schema], path: tuple[str, ...]) -> Schema:
    node = _resolve(node, definitions, path)
    if node.get(_INT_OR_STRING):
        return _int_or_string(node)
    if "anyOf" in node:
        node = _without_null(node)
        return _convert(node, definitions, path)
    node = dict(node)
    if "const" in node:
        node["enum"] = [node.pop("const")]
    converted: Schema = {}
    for key, value in node.items():
        match key:
            case "properties":
                converted[key] = {name: _convert(each, definitions, (*path, name)) for name, each in value.items()}
            case "items":
                converted[key] = _convert(value, definitions, (*path, "[]"))
            case "exclusiveMinimum":
                converted |= {"minimum": value, "exclusiveMinimum": True}
            case "exclusiveMaximum":
                converted |= {"maximum": value, "exclusiveMaximum": True}
            case "default":
                if value is not None:
                    converted[key] = _without_unset(value)
            case "additionalProperties" if isinstance(value, dict) and "properties" not in node:
                converted[key] = _convert(value, definitions, (*path, "{}"))
            case _ if key not in _DROPPED:
                converted[key] = value
    if "type" not in converted:
        raise ValueError(f"{'.'.join(path)}: a CRD cannot say {node}")
    return converted


def _resolve(node: Mapping[str, Any], definitions: Mapping[str, Schema], path: tuple[str, ...]) -> Mapping[str, Any]:
    """Put a definition in the place of `$ref`; what stands beside the reference says more and wins."""
    if len(path) > 32:
        raise ValueError(f"{'.'.join(path)}: a CRD cannot say a recursive type")
    if "$ref" not in node:
        return node
    definition = definitions[node["$ref"].rpartition("/")[2]]
    return {**definition, **{key: value for key, value in node.items() if key != "$ref"}}


def _without_null(node: Mapping[str, Any]) -> Mapping[str, Any]:
    members = [member for member in node["anyOf"] if member.get("type") != "null"]
    if len(members) != 1:
        raise ValueError(f"a CRD cannot say the union {members}")
    return {**members[0], **{key: value for key, value in node.items() if key != "anyOf"}}


def _without_unset(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_unset(each) for name, each in value.items() if each is not None}
    return value


def _int_or_string(node: Mapping[str, Any]) -> Schema:
    kept = {key: node[key] for key in ("description", "default") if node.get(key) is not None}
    member: Mapping[str, Any] = next((each for each in node.get("anyOf", ()) if each.get("type") == "string"), {})
    limits = {key: member[key] for key in ("pattern", "maxLength") if key in member}
    return {**kept, **limits, _INT_OR_STRING: True}
