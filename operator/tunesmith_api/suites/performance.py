"""How fast an endpoint answers under load."""

from typing import Self

from pydantic import Field, model_validator

from tunesmith_api.base import StorageUri
from tunesmith_api.data import TextFormat
from tunesmith_api.metrics import PERFORMANCE_METRICS
from tunesmith_api.suites.kind import SuiteKind


class PerformanceSuite(SuiteKind):
    """How fast an endpoint answers under load."""

    uri: StorageUri | None = Field(
        default=None,
        description="JSON or JSONL file of prompts, which are asked in their order and over again.",
    )
    format: TextFormat = Field(
        default="promptCompletion",
        description="Shape of a record of the file, as for training data; text: each text is a prompt.",
    )
    prompt_words: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="In place of a file: prompts of so many English words, drawn at random. Default without a file: "
        "200.",
    )
    requests: int = Field(default=100, ge=2, le=5_000, description="Requests that are measured.")
    warmup_requests: int = Field(
        default=3, ge=1, le=1000, description="Requests before those, which do not count: one after the other."
    )
    concurrency: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Clients that each send the next request as soon as the last one is answered (a closed loop). "
        "Default without requestRate: 1.",
    )
    request_rate: float | None = Field(
        default=None,
        gt=0,
        le=10_000,
        description="In place of clients: requests per second that arrive at random times (a Poisson process), however "
        "many are still unanswered (an open loop).",
    )
    max_new_tokens: int = Field(default=128, ge=1, le=8192, description="Longest answer in tokens.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Of the random times and words.")

    @property
    def needs_endpoint(self) -> bool:
        """Whether it can be measured on an endpoint alone: yes."""
        return True

    def metric_names(self) -> tuple[str, ...]:
        """Return the metrics that it gives, by bare name."""
        return PERFORMANCE_METRICS

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.concurrency is not None and self.request_rate is not None:
            raise ValueError("concurrency is a load of clients and requestRate one of arrivals; drop one of them")
        if self.uri is not None and self.prompt_words is not None:
            raise ValueError("promptWords is for prompts that are made up, and uri names a file of them; drop one")
        return self
