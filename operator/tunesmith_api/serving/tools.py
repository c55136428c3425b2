"""Tools that the gateway runs for a model."""

import json
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import ApiModel
from tunesmith_api.endpoint import EndpointUrl, SecretKey
from tunesmith_api.suites.checks import JsonSchema

NAMED_TWICE = "two tools have the same name"
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
ToolName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
# Of the schema of a tool's arguments, as JSON.
LONGEST_SCHEMA = 16_384


class HttpTool(ApiModel):
    """An HTTP endpoint that a model may call."""

    name: ToolName = Field(description="What the model calls it.")
    description: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = Field(
        description="What the model is told that it does, and when to call it."
    )
    parameters: JsonSchema = Field(
        default={"type": "object", "properties": {}},
        description="JSON schema of its arguments, an object. Arguments that do not fit it are never sent.",
    )
    url: EndpointUrl = Field(
        description="Where the call goes; nothing else is asked. Arguments are the query of GET and DELETE, and the "
        "JSON body of the others."
    )
    method: Method = Field(default="POST", description="How it is called.")
    headers_secret_ref: SecretKey | None = Field(
        default=None,
        description="Key of a Secret with headers of the call, one `Name: value` in each line. The local shell takes "
        "it from the environment variable TUNESMITH_KEY_NAME__KEY.",
    )
    timeout_seconds: int = Field(default=10, ge=1, le=300, description="How long a call may take.")
    max_bytes: int = Field(
        default=65_536, ge=256, le=1_048_576, description="How much of the answer the model is given; the rest is cut."
    )

    @model_validator(mode="after")
    def _takes_an_object(self) -> Self:
        if len(json.dumps(self.parameters)) > LONGEST_SCHEMA:
            raise ValueError(f"parameters is longer than {LONGEST_SCHEMA} characters")
        if self.parameters.get("type", "object") != "object":
            raise ValueError("parameters is not of an object, as arguments are; set its type to object")
        return self


class Tools(ApiModel):
    """What a model may call, besides what a client brings and answers itself."""

    http: tuple[HttpTool, ...] = Field(
        min_length=1,
        max_length=32,
        description="HTTP endpoints.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    max_rounds: int = Field(
        default=4,
        ge=1,
        le=16,
        description="How often the model may call tools before it has to answer with what it knows.",
    )

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        names = [each.name for each in self.http]
        if len(set(names)) < len(names):
            raise ValueError(NAMED_TWICE)
        return self
