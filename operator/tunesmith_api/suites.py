"""Suites: samples to measure a model on, and the metrics that they give."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import ApiModel, ItemName, StorageUri
from tunesmith_api.data import TextFormat
from tunesmith_api.metrics import PERPLEXITY_METRICS, GoldenMetric

MetricName = Annotated[
    str, StringConstraints(max_length=100, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[A-Za-z][A-Za-z0-9]*$")
]


class GoldenSuite(ApiModel):
    """Answers compared with reference answers."""

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

    @model_validator(mode="after")
    def _has_references(self) -> Self:
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError("metrics names a metric twice")
        if self.format == "text":
            raise ValueError("format text has no reference answers; use a format with a completion")
        return self


class PerplexitySuite(ApiModel):
    """How well the model predicts a text."""

    uri: StorageUri = Field(description="JSON or JSONL file of records.")
    format: TextFormat = Field(
        default="text", description="Shape of a record; with a format that has a completion, only it is scored."
    )
    max_length: int = Field(
        default=1024, ge=8, le=1_048_576, description="Tokens scored at once; a longer record is scored in windows."
    )


class Suite(ApiModel):
    """A named set of samples and the metrics on it."""

    name: ItemName = Field(description="Name; its metrics are called NAME/METRIC.")
    golden: GoldenSuite | None = Field(default=None, description="Answers compared with reference answers.")
    perplexity: PerplexitySuite | None = Field(default=None, description="How well the model predicts a text.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.golden is None) == (self.perplexity is None):
            raise ValueError("set exactly one of golden and perplexity")
        return self

    def metric_names(self) -> tuple[str, ...]:
        """Return the metrics that this suite gives, as SUITE/METRIC."""
        names = self.golden.metrics if self.golden else PERPLEXITY_METRICS
        return tuple(f"{self.name}/{name}" for name in names)


def check_names(suites: Sequence[Suite]) -> None:
    """Raise ValueError when two suites have one name."""
    names = [suite.name for suite in suites]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"suites has more than one suite named {', '.join(twice)}")
