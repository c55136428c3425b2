"""A model that a resource names."""

from typing import Self

from pydantic import Field, model_validator

from tunesmith_api.base import ApiModel, ModelUri, ResourceName


class ModelReference(ApiModel):
    """A model, by the job that publishes it or by URI."""

    fine_tune_job: ResourceName | None = Field(
        default=None, description="Name of a FineTuneJob of the same namespace; waited for."
    )
    uri: ModelUri | None = Field(default=None, description="URI of a model, as in FineTuneJob's spec.model.uri.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.fine_tune_job is None) == (self.uri is None):
            raise ValueError("set exactly one of fineTuneJob and uri")
        return self
