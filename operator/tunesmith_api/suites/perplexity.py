"""How well a model predicts texts."""

from typing import ClassVar

from pydantic import Field

from tunesmith_api.base import ApiModel, StorageUri
from tunesmith_api.data import TextFormat
from tunesmith_api.metrics import PERPLEXITY_METRICS


class PerplexitySuite(ApiModel):
    """How well the model predicts a text."""

    needs_weights: ClassVar[bool] = True
    needs_endpoint: ClassVar[bool] = False

    uri: StorageUri = Field(description="JSON or JSONL file of records.")
    format: TextFormat = Field(
        default="text", description="Shape of a record; with a format that has a completion, only it is scored."
    )
    max_length: int = Field(
        default=1024, ge=8, le=1_048_576, description="Tokens scored at once; a longer record is scored in windows."
    )

    def metric_names(self) -> tuple[str, ...]:
        """Return the metrics that it gives, by bare name."""
        return PERPLEXITY_METRICS
