"""Answers that stand in a text, as in SQuAD."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import StorageUri
from tunesmith_api.metrics import ExtractionMetric
from tunesmith_api.suites.checks import Template
from tunesmith_api.suites.kind import SuiteKind

# Questions whose answer stands in the text, and questions without one.
HAS_ANSWER = "hasAnswer"
NO_ANSWER = "noAnswer"


class ExtractionSuite(SuiteKind):
    """Answers that stand in a text, as in SQuAD 1.1 and 2.0."""

    uri: StorageUri = Field(
        description="JSON or JSONL file in the format squad: as published, or a question to a record. A question "
        "without answers has none in its text."
    )
    template: Template | None = Field(
        default=None,
        description="What is asked: a Jinja template over the record's fields, question, context and noAnswer. "
        "Default: the text, the question, and to answer with words from the text.",
    )
    no_answer: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = Field(
        default=None,
        description="What the model says when the text does not hold the answer; an empty answer says so too. "
        "Default: only an empty answer does.",
    )
    metrics: tuple[ExtractionMetric, ...] = Field(
        default=("exactMatch", "f1"),
        min_length=1,
        max_length=8,
        description="What to compute. Where some questions have no answer, each is given as SUITE/hasAnswer/METRIC and "
        "SUITE/noAnswer/METRIC too.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    max_new_tokens: int = Field(default=64, ge=1, le=8192, description="Longest answer in tokens.")

    def metric_names(self) -> tuple[str, ...]:
        """Return the metrics that it gives for sure, by bare name."""
        return self.metrics

    def may_give(self, metric: str) -> bool:
        """Return whether it may give another metric, which depends on its records."""
        return metric in {f"{part}/{name}" for part in (HAS_ANSWER, NO_ANSWER) for name in self.metrics}

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError("metrics names a metric twice")
        return self
