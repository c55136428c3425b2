"""ModelServe: a model behind an OpenAI-compatible endpoint."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tunesmith_api.base import ApiModel, ResourceName, Resources, StatusModel
from tunesmith_api.finetunejob import PublishedModel, SecretRefs
from tunesmith_api.meta import Condition
from tunesmith_api.podtemplate import PodTemplate
from tunesmith_api.references import ModelReference
from tunesmith_api.serving.engine import Engine

ServePhase = Literal["Pending", "Progressing", "Ready", "Failed"]


class Requirement(ApiModel):
    """What must hold before the model is served."""

    eval_job: ResourceName = Field(
        description="Name of an EvalJob of the same namespace whose verdict must be Passed on this very model."
    )


class ModelServeSpec(ApiModel):
    """The desired endpoint."""

    model: ModelReference = Field(description="Model to serve.")
    engine: Engine = Field(default=Engine(), description="What answers requests.")
    requires: tuple[Requirement, ...] = Field(
        default=(),
        max_length=16,
        description="Gates in front of the rollout.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["evalJob"]},
    )
    port: int = Field(
        default=8000,
        ge=1024,
        le=65535,
        description="Port of the Service; in the local shell, port on 127.0.0.1.",
    )
    replicas: int = Field(
        default=1, ge=1, le=1000, description="Pods that serve. The local shell always starts one process."
    )
    resources: Resources = Field(default=Resources(), description="What each serving pod asks for.")
    pod_template: PodTemplate = Field(default=PodTemplate(), description="Where and how the pods run.")
    secret_refs: SecretRefs = ()

    @model_validator(mode="after")
    def _unique_requirements(self) -> Self:
        names = [requirement.eval_job for requirement in self.requires]
        if len(set(names)) < len(names):
            raise ValueError("requires names an EvalJob twice")
        return self


class ModelServeStatus(StatusModel):
    """The observed endpoint."""

    phase: ServePhase = Field(default="Pending", description="Summary for people; programs read the conditions.")
    observed_generation: int = Field(default=0, ge=0, description="Generation of the spec that this speaks of.")
    url: str | None = Field(default=None, max_length=1200, description="Base URL of the API, without /v1.")
    revision: int = Field(default=0, ge=0, description="Counts the models that have been rolled out.")
    serving: PublishedModel | None = Field(default=None, description="The model of that revision.")
    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=16,
        description="Ready, Reconciling, Stalled.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
