"""What an EvalJob evaluates."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import ApiModel, ModelUri, ResourceName
from tunesmith_api.endpoint import KeyedEndpoint

EACH = "each"
# A checkpoint of a FineTuneJob: the best one, the newest one, that of a step, or each new one as it comes.
CheckpointName = Annotated[str, StringConstraints(max_length=12, pattern=r"^(best|last|each|[0-9]+)$")]
_KINDS = ("fineTuneJob", "uri", "modelServe", "endpoint")


class EvalTarget(ApiModel):
    """A model or an endpoint: of a resource of the same namespace, or from elsewhere."""

    fine_tune_job: ResourceName | None = Field(
        default=None, description="Name of a FineTuneJob; waited for, and the model that it publishes is evaluated."
    )
    checkpoint: CheckpointName | None = Field(
        default=None,
        description="One of that job's checkpoints in place of its model: best, last, or the number of a step. It need "
        "not have ended; the checkpoint is waited for. best: of a job with earlyStopping. each: a run for each new "
        "checkpoint as long as the job trains; of those that come while a run is under way only the newest.",
    )
    uri: ModelUri | None = Field(default=None, description="URI of a model, as in FineTuneJob's spec.model.uri.")
    adapter: ModelUri | None = Field(
        default=None, description="URI of a PEFT adapter that is put on the model of `uri`, its base."
    )
    model_serve: ResourceName | None = Field(
        default=None, description="Name of a ModelServe; waited for, and asked like any client of it."
    )
    endpoint: KeyedEndpoint | None = Field(default=None, description="An OpenAI-compatible endpoint.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        found = (self.fine_tune_job, self.uri, self.model_serve, self.endpoint)
        if sum(each is not None for each in found) != 1:
            raise ValueError(f"set exactly one of {', '.join(_KINDS[:-1])} and {_KINDS[-1]}")
        if self.checkpoint is not None and self.fine_tune_job is None:
            raise ValueError("checkpoint is one of a FineTuneJob's; set fineTuneJob, or drop checkpoint")
        if self.adapter is not None and self.uri is None:
            raise ValueError("adapter goes on the model of uri; set uri, or drop adapter")
        return self

    @property
    def is_endpoint(self) -> bool:
        """Whether it is asked over HTTP, and its weights are out of reach."""
        return self.model_serve is not None or self.endpoint is not None
