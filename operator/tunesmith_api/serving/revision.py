"""A ModelServe's revisions, as its status has them."""

from typing import Literal

from pydantic import Field

from tunesmith_api.base import Resources, StatusModel, Time
from tunesmith_api.evaljob import Verdict
from tunesmith_api.finetunejob import PublishedModel, SecretRefs
from tunesmith_api.podtemplate import PodTemplate
from tunesmith_api.serving.engine import Engine, ModelCache
from tunesmith_api.serving.prompt import Prompt

RevisionState = Literal["RollingOut", "Promoted", "Retired", "Degraded", "Aborted", "Superseded"]
# What a rollout is doing.
Stage = Literal["Starting", "Evaluating", "Shifting", "Observing", "Promoting"]


class ServedAdapter(PublishedModel):
    """An adapter, resolved."""

    name: str = Field(max_length=63, description="What clients name as their model.")


class RevisionTemplate(StatusModel):
    """All that makes a revision: when one of these changes, there is another."""

    model: PublishedModel = Field(description="The model.")
    adapters: tuple[ServedAdapter, ...] = Field(
        default=(),
        max_length=64,
        description="The adapters on it.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    engine: Engine = Field(default=Engine(), description="What answers.")
    prompt: Prompt | None = Field(default=None, description="What chat requests are told first.")
    resources: Resources = Field(default=Resources(), description="What each pod asks for.")
    pod_template: PodTemplate = Field(default=PodTemplate(), description="Where and how the pods run.")
    secret_refs: SecretRefs = ()
    model_cache: ModelCache | None = Field(default=None, description="Where models are kept for all pods.")


class RolloutEvaluation(StatusModel):
    """An EvalJob of a rollout."""

    name: str = Field(max_length=63, description="Its name.")
    step: int = Field(ge=0, description="0: before any request; else the number of the step.")
    verdict: Verdict | None = Field(default=None, description="Its verdict, once there is one.")
    message: str | None = Field(default=None, max_length=1024, description="Why it did not pass.")


class Revision(StatusModel):
    """A revision and what became of it."""

    number: int = Field(ge=1, description="Counts the revisions.")
    generation: int = Field(default=0, ge=0, description="Generation of the spec that it was made from.")
    created_at: Time = Field(description="When it was made.")
    promoted_at: Time | None = Field(default=None, description="When it took over.")
    state: RevisionState = Field(
        default="RollingOut",
        description="RollingOut, Promoted (it serves), Retired (another one took over), Degraded (taken back), Aborted "
        "(a person took it back) or Superseded (the spec changed before it took over).",
    )
    reason: str | None = Field(default=None, max_length=128, description="Why it was taken back, for programs.")
    message: str | None = Field(default=None, max_length=2048, description="The same for people.")
    evaluations: tuple[RolloutEvaluation, ...] = Field(
        default=(),
        max_length=64,
        description="The EvalJobs of its rollout, once that is over.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    template: RevisionTemplate = Field(description="What it was made of.")
    adapters: tuple[ServedAdapter, ...] | None = Field(
        default=None,
        max_length=64,
        description="Its adapters, where some have come or gone since: the engine loads and unloads them as it runs.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )

    @property
    def now(self) -> RevisionTemplate:
        """What it is made of by now."""
        return self.template if self.adapters is None else self.template.model_copy(update={"adapters": self.adapters})


class RevisionShare(StatusModel):
    """A revision that has pods."""

    revision: int = Field(ge=1, description="Its number.")
    weight: int = Field(ge=0, le=100, description="Percent of the requests that it should get.")
    actual_weight: float = Field(ge=0, le=100, description="Percent of the requests, or of the pods, that it has.")
    replicas: int = Field(default=0, ge=0, description="Pods that it should have.")
    ready_replicas: int = Field(default=0, ge=0, description="Pods that answer.")


class AdapterStatus(StatusModel):
    """An adapter of the revision that serves."""

    name: str = Field(max_length=63, description="What clients name as their model.")
    ready_replicas: int = Field(default=0, ge=0, description="Pods that have loaded it.")
    message: str | None = Field(default=None, max_length=1024, description="Why it cannot be loaded.")


class RolloutStatus(StatusModel):
    """How far a rollout is."""

    revision: int = Field(ge=1, description="The revision that is rolled out.")
    stage: Stage = Field(default="Starting", description="What it is doing.")
    step: int = Field(default=0, ge=0, description="0 before the first step; then the step's number.")
    since: Time = Field(description="When the stage began.")
    reached_at: Time | None = Field(default=None, description="When the step's weight was reached.")
    unready_since: Time | None = Field(default=None, description="Since when none of its pods answers.")
    evaluations: tuple[RolloutEvaluation, ...] = Field(
        default=(),
        max_length=64,
        description="Its EvalJobs.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
