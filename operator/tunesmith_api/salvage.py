"""A resource as it is kept, even when its status makes no sense: somebody may have edited it by hand."""

import json
from typing import Any

from pydantic import BaseModel, ValidationError

from tunesmith_api.resources import Resource, parse


def read(data: dict[str, Any]) -> tuple[Resource, bool]:
    """Return the resource that plain JSON values describe, and whether parts of its status had to be left out.

    Every field of the status stands alone, and in a list every item: what cannot be read is passed over, and the rest
    stays known. Raises pydantic.ValidationError for what is wrong with anything but the status.
    """
    try:
        return parse(data), False
    except ValidationError:
        if not isinstance(data, dict) or not data.get("status"):
            raise
    bare = parse({name: value for name, value in data.items() if name != "status"})
    status = bare.status.model_copy(update=_sensible(type(bare.status), data["status"]))
    return bare.model_copy(update={"status": status}), True


def _sensible(model: type[BaseModel], given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        return {}
    kept: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        alias = field.alias or name
        value = given.get(alias)
        if isinstance(value, list):
            # The newest are last.
            most = next((each.max_length for each in field.metadata if hasattr(each, "max_length")), len(value))
            value = [item for item in value if _valid(model, alias, [item]) is not None][-most:]
        found = _valid(model, alias, value) if alias in given else None
        if found is not None:
            kept[name] = getattr(found, name)
    return kept


def _valid(model: type[BaseModel], alias: str, value: Any) -> BaseModel | None:
    try:
        return model.model_validate_json(json.dumps({alias: value}))
    except ValidationError:
        return None
