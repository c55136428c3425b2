"""ModelServe: a model behind an OpenAI-compatible endpoint."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from tunesmith_api.base import ApiModel, ItemName, ResourceName, Resources, StatusModel
from tunesmith_api.finetunejob import PublishedModel, SecretRefs
from tunesmith_api.meta import Condition
from tunesmith_api.podtemplate import PodTemplate
from tunesmith_api.references import ModelReference
from tunesmith_api.serving.engine import Engine, ModelCache
from tunesmith_api.serving.prompt import Prompt
from tunesmith_api.serving.revision import AdapterStatus, Revision, RevisionShare, RolloutStatus
from tunesmith_api.serving.rollout import EvalJobTemplate, Rollout
from tunesmith_api.serving.scaling import Scaling, ScalingStatus
from tunesmith_api.serving.traffic import Traffic
from tunesmith_api.serving.watch import WatchPolicy, WatchStatus
from tunesmith_api.traffic import GatewayPolicy

ANALYSIS_NEEDS_GATEWAY = (
    "rollout.analysis goes by what the gateway sees; set traffic.provider to gateway, or drop analysis"
)
SCALING_NEEDS_GATEWAY = (
    "scaling goes by what the gateway sees; set traffic.provider to gateway, or let a HorizontalPodAutoscaler scale "
    "the ModelServe"
)
ONLY_THE_GATEWAY = (
    "auth, limits, capture, prompt, retrieval, tools and traffic.sticky are what the gateway does; set "
    "traffic.provider to gateway, or drop them"
)

WATCH_NEEDS_GATEWAY = "watch goes by what the gateway sees; set traffic.provider to gateway, or drop watch"
WATCH_NEEDS_REFERENCE = (
    "the first requests are compared with later ones where they are kept; set capture, or watch.drift.reference"
)

ServePhase = Literal["Pending", "Progressing", "Ready", "Failed"]


class Requirement(ApiModel):
    """What must hold before the model is served."""

    eval_job: ResourceName = Field(
        description="Name of an EvalJob of the same namespace whose verdict must be Passed on this very model."
    )


def check_unique(requires: Sequence[Requirement]) -> None:
    """Raise ValueError when an EvalJob is named twice."""
    names = [requirement.eval_job for requirement in requires]
    if len(set(names)) < len(names):
        raise ValueError("requires names an EvalJob twice")


class Adapter(ModelReference):
    """An adapter on the model, by the job that publishes it or by URI."""

    name: ItemName = Field(description="What clients name as their model.")
    requires: tuple[Requirement, ...] = Field(
        default=(),
        max_length=16,
        description="Gates that the adapter must have passed before it is served. Until then all of the spec waits.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["evalJob"]},
    )

    @model_validator(mode="after")
    def _unique_requirements(self) -> Self:
        check_unique(self.requires)
        return self


class Watch(WatchPolicy):
    """What is watched, and what follows when something is amiss."""

    eval_job_template: EvalJobTemplate | None = Field(
        default=None,
        description="Evaluation of the revision that serves, once for each time that its inputs change or its answers "
        "get worse. Without a baseline of its own, its gates compare with nothing.",
    )


class ModelServeSpec(GatewayPolicy):
    """The desired endpoint."""

    model: ModelReference = Field(description="Model to serve.")
    adapters: tuple[Adapter, ...] = Field(
        default=(),
        max_length=64,
        description="PEFT adapters that are served beside the model, each under its own name.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    engine: Engine = Field(default=Engine(), description="What answers requests.")
    model_cache: ModelCache | None = Field(
        default=None,
        description="Keeps models of hf:// and s3://: the first pod downloads, and checks them by their digest, the "
        "others find them there. Default: each pod downloads for itself.",
    )
    requires: tuple[Requirement, ...] = Field(
        default=(),
        max_length=16,
        description="Gates that a model must have passed before there is a revision with it.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["evalJob"]},
    )
    prompt: Prompt | None = Field(
        default=None,
        description="What chat requests are told before their own messages. Another one is a new revision.",
    )
    rollout: Rollout = Field(default=Rollout(), description="How a new revision takes over.")
    traffic: Traffic = Field(default=Traffic(), description="Which way requests come to the pods.")
    watch: Watch | None = Field(default=None, description="What is watched of requests and answers.")
    revision_history_limit: int = Field(
        default=10, ge=1, le=50, description="How many revisions that are over stay in status.revisions."
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
    scaling: Scaling | None = Field(
        default=None, description="Lets the number of pods follow the load, in place of `replicas`."
    )
    resources: Resources = Field(default=Resources(), description="What each serving pod asks for.")
    pod_template: PodTemplate = Field(default=PodTemplate(), description="Where and how the pods run.")
    secret_refs: SecretRefs = ()

    @model_validator(mode="after")
    def _traffic_fits_rollout(self) -> Self:
        if self.rollout.analysis and self.traffic.provider != "gateway":
            raise ValueError(ANALYSIS_NEEDS_GATEWAY)
        return self

    @model_validator(mode="after")
    def _gateway_does_what_is_asked(self) -> Self:
        if self.traffic.provider == "gateway":
            return self
        policy = (self.auth, self.limits, self.capture, self.prompt, self.retrieval, self.tools, self.traffic.sticky)
        if any(each is not None for each in policy):
            raise ValueError(ONLY_THE_GATEWAY)
        return self

    @model_validator(mode="after")
    def _scaling_fits(self) -> Self:
        if self.scaling and self.traffic.provider != "gateway":
            raise ValueError(SCALING_NEEDS_GATEWAY)
        return self

    @model_validator(mode="after")
    def _watch_fits(self) -> Self:
        if self.watch and self.traffic.provider != "gateway":
            raise ValueError(WATCH_NEEDS_GATEWAY)
        if self.watch and self.watch.drift and self.watch.drift.reference is None and self.capture is None:
            raise ValueError(WATCH_NEEDS_REFERENCE)
        return self

    @model_validator(mode="after")
    def _unique_adapters(self) -> Self:
        names = [adapter.name for adapter in self.adapters]
        if len(set(names)) < len(names):
            raise ValueError("two adapters have the same name")
        return self

    @model_validator(mode="after")
    def _unique_requirements(self) -> Self:
        check_unique(self.requires)
        return self

    @property
    def gates(self) -> tuple[str, ...]:
        """Names of the EvalJobs that the model and its adapters must have passed."""
        requires = (*self.requires, *(each for adapter in self.adapters for each in adapter.requires))
        return tuple(dict.fromkeys(each.eval_job for each in requires))


class ModelServeStatus(StatusModel):
    """The observed endpoint."""

    phase: ServePhase = Field(default="Pending", description="Summary for people; programs read the conditions.")
    observed_generation: int = Field(default=0, ge=0, description="Generation of the spec that this speaks of.")
    url: str | None = Field(default=None, max_length=1200, description="Base URL of the API, without /v1.")
    revision: int = Field(default=0, ge=0, description="Number of the newest revision.")
    serving: PublishedModel | None = Field(default=None, description="The model of the revision that serves.")
    stable: RevisionShare | None = Field(default=None, description="The revision that serves.")
    canary: RevisionShare | None = Field(default=None, description="The revision that is rolled out beside it.")
    adapters: tuple[AdapterStatus, ...] = Field(
        default=(),
        max_length=64,
        description="The adapters of the revision that serves.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    replicas: int = Field(default=0, ge=0, description="Pods that answer, for the scale subresource.")
    http_route: str | None = Field(default=None, max_length=253, description="The HTTPRoute that was made.")
    selector: str | None = Field(default=None, max_length=512, description="Labels of the pods, for the same.")
    scaling: ScalingStatus | None = Field(default=None, description="With spec.scaling: how many pods the load needs.")
    rollout: RolloutStatus | None = Field(default=None, description="How far the rollout is, while there is one.")
    watch: WatchStatus | None = Field(default=None, description="With spec.watch: what has been watched.")
    refused: int | None = Field(
        default=None,
        ge=1,
        description="The revision that was taken back, and that the spec still asks for. It is not tried again until "
        "the spec changes.",
    )
    revisions: tuple[Revision, ...] = Field(
        default=(),
        max_length=64,
        description="Revisions, oldest first.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["number"]},
    )
    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=16,
        description="Ready, Reconciling, Stalled, Degraded; with spec.watch, Drifted and QualityLow; with adapters, "
        "AdaptersLoaded.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
