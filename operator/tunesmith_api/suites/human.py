"""Answers of target and baseline that people compare on a page."""

from typing import Annotated

from pydantic import Field, StringConstraints

from tunesmith_api.base import StorageUri
from tunesmith_api.data import TextFormat
from tunesmith_api.suites.kind import SuiteKind


class HumanSuite(SuiteKind):
    """Answers of target and baseline that people compare on a page."""

    uri: StorageUri = Field(description="JSON or JSONL file of questions, with or without reference answers.")
    format: TextFormat = Field(
        default="promptCompletion",
        description="Shape of a record, as for training data; completions are not shown to people. text: each text is "
        "a question, put to a chat.",
    )
    instructions: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = Field(
        default="Which answer is the better one?", description="What people are asked about each pair, in plain text."
    )
    votes: int = Field(
        default=1, ge=1, le=100, description="How many people vote on each pair of answers before the suite ends."
    )
    max_new_tokens: int = Field(default=512, ge=1, le=8192, description="Longest answer to a question in tokens.")

    def metric_names(self) -> tuple[str, ...]:
        """Return the metrics that it gives, by bare name."""
        return ("winRate", "tieRate", *(("raterAgreement", "raterKappa") if self.votes > 1 else ()))
