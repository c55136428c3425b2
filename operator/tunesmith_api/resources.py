"""The three kinds, whole: metadata, spec and status."""

import json
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from tunesmith_api.base import API_VERSION, ApiModel, Kind
from tunesmith_api.evaljob import EvalJobSpec, EvalJobStatus
from tunesmith_api.finetunejob import FineTuneJobSpec, FineTuneJobStatus
from tunesmith_api.meta import ObjectMeta, Reference
from tunesmith_api.modelserve import ModelServeSpec, ModelServeStatus


class _Resource(ApiModel):
    model_config = ConfigDict(extra="forbid")

    api_version: Literal["tunesmith.dev/v1alpha1"] = API_VERSION
    metadata: ObjectMeta


class FineTuneJob(_Resource):
    """Fine-tunes a base model on datasets and publishes the result."""

    kind: Literal["FineTuneJob"] = "FineTuneJob"
    spec: FineTuneJobSpec
    status: FineTuneJobStatus = FineTuneJobStatus()


class EvalJob(_Resource):
    """Evaluates a model against gates and a baseline."""

    kind: Literal["EvalJob"] = "EvalJob"
    spec: EvalJobSpec
    status: EvalJobStatus = EvalJobStatus()


class ModelServe(_Resource):
    """Serves a model behind an OpenAI-compatible API once its gates have passed."""

    kind: Literal["ModelServe"] = "ModelServe"
    spec: ModelServeSpec
    status: ModelServeStatus = ModelServeStatus()


Resource = FineTuneJob | EvalJob | ModelServe
KINDS: dict[str, type[FineTuneJob] | type[EvalJob] | type[ModelServe]] = {
    "FineTuneJob": FineTuneJob,
    "EvalJob": EvalJob,
    "ModelServe": ModelServe,
}
PLURALS: dict[Kind, str] = {"FineTuneJob": "finetunejobs", "EvalJob": "evaljobs", "ModelServe": "modelserves"}
SHORT_NAMES: dict[Kind, str] = {"FineTuneJob": "ftj", "EvalJob": "evj", "ModelServe": "mserve"}

_any_resource: TypeAdapter[Resource] = TypeAdapter(Annotated[Resource, Field(discriminator="kind")])


def parse(data: dict[str, Any]) -> Resource:
    """Return the resource that plain JSON values describe.

    Raises pydantic.ValidationError; `tunesmith_api.errors.explain` turns it into sentences.
    """
    return _any_resource.validate_json(json.dumps(data), by_alias=True, by_name=False)


def reference(resource: Resource) -> Reference:
    """Return how other resources name this one."""
    return Reference(kind=resource.kind, name=resource.metadata.name)
