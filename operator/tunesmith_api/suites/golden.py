"""Answers compared with reference answers."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from tunesmith_api.base import ApiModel, StorageUri
from tunesmith_api.data import TextFormat
from tunesmith_api.metrics import GoldenMetric


class GoldenSuite(ApiModel):
    """Answers compared with reference answers."""

    needs_weights: ClassVar[bool] = False
    needs_endpoint: ClassVar[bool] = False

    uri: StorageUri = Field(description="JSON or JSONL file of questions with reference answers.")
    format: TextFormat = Field(
        default="promptCompletion",
        description="Shape of a record, as for training data; the completion is the reference. text has none and is "
        "refused.",
    )
    metrics: tuple[GoldenMetric, ...] = Field(
        default=("exactMatch", "f1"),
        min_length=1,
        max_length=16,
        description="What to compute.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    max_new_tokens: int = Field(default=64, ge=1, le=8192, description="Longest answer in tokens.")

    def metric_names(self) -> tuple[str, ...]:
        """Return the metrics that it gives, by bare name."""
        return self.metrics

    @model_validator(mode="after")
    def _has_references(self) -> Self:
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError("metrics names a metric twice")
        if self.format == "text":
            raise ValueError("format text has no reference answers; use a format with a completion")
        return self
