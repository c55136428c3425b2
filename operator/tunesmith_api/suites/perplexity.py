"""How well a model predicts texts."""

from typing import Self

from pydantic import Field, model_validator

from tunesmith_api.base import StorageUri
from tunesmith_api.data import ColumnName, TextFormat
from tunesmith_api.metrics import PerplexityMetric
from tunesmith_api.suites.kind import SuiteKind
from tunesmith_api.suites.parts import of_some_part


class PerplexitySuite(SuiteKind):
    """How well the model predicts a text."""

    uri: StorageUri = Field(description="JSON or JSONL file of records.")
    format: TextFormat = Field(
        default="text", description="Shape of a record; with a format that has a completion, only it is scored."
    )
    metrics: tuple[PerplexityMetric, ...] = Field(
        default=("perplexity",),
        min_length=1,
        max_length=8,
        description="What to compute. All but perplexity are for format text, and can be compared between models with "
        "different tokenizers.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    group_by: ColumnName | None = Field(
        default=None,
        description="A field of the records, such as source: each metric is given as SUITE/VALUE/METRIC too, for each "
        "of its values, of which there may be 32.",
    )
    max_length: int = Field(
        default=1024, ge=8, le=1_048_576, description="Tokens scored at once; a longer record is scored in windows."
    )
    stride: int | None = Field(
        default=None,
        ge=1,
        le=1_048_576,
        description="Tokens from the start of one window to that of the next. The smaller, the more of a long record "
        "each token is predicted from, and the longer it takes. Default: half of maxLength.",
    )

    @property
    def needs_weights(self) -> bool:
        """Whether it asks for a model's own probabilities: always."""
        return True

    def metric_names(self) -> tuple[str, ...]:
        """Return the metrics that it gives for sure, by bare name."""
        return self.metrics

    def may_give(self, metric: str) -> bool:
        """Return whether it may give another metric, which depends on its records."""
        return self.group_by is not None and of_some_part(metric, self.metrics)

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError("metrics names a metric twice")
        others = [name for name in self.metrics if name != "perplexity"]
        if self.format != "text" and others:
            raise ValueError(f"{others[0]} counts all of a text, and of format {self.format} only a part is scored")
        if self.stride is not None and self.stride >= self.max_length:
            raise ValueError(
                f"stride is {self.stride} and maxLength {self.max_length}: tokens between two windows would be left "
                "out; choose a smaller stride"
            )
        return self
