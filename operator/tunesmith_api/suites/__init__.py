"""Suites: samples to measure a model on, and the metrics that they give. One module for each kind."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import ApiModel, ItemName
from tunesmith_api.endpoint import KeyedEndpoint
from tunesmith_api.suites.classification import ClassificationSuite
from tunesmith_api.suites.extraction import ExtractionSuite
from tunesmith_api.suites.golden import GoldenSuite
from tunesmith_api.suites.harness import HarnessSuite, InlineTask
from tunesmith_api.suites.human import HumanSuite
from tunesmith_api.suites.judge import JudgeSuite
from tunesmith_api.suites.kind import SuiteKind
from tunesmith_api.suites.performance import PerformanceSuite
from tunesmith_api.suites.perplexity import PerplexitySuite
from tunesmith_api.suites.safety import SafetySuite

__all__ = [
    "ClassificationSuite",
    "EvalSuite",
    "ExtractionSuite",
    "GoldenSuite",
    "HarnessSuite",
    "HumanSuite",
    "InlineTask",
    "JudgeSuite",
    "MetricName",
    "PerformanceSuite",
    "PerplexitySuite",
    "SafetySuite",
    "Suite",
    "SuiteKind",
    "check_names",
]

# SUITE/METRIC, or SUITE/PART/METRIC for a task or a class of the suite.
MetricName = Annotated[
    str,
    StringConstraints(
        max_length=160, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(/[A-Za-z0-9][A-Za-z0-9_.-]*)?/[A-Za-z][A-Za-z0-9_]*$"
    ),
]


class Suite(ApiModel):
    """A named set of samples and the metrics on it. Those here can be run on any model, a checkpoint among them."""

    name: ItemName = Field(description="Name; its metrics are called NAME/METRIC.")
    golden: GoldenSuite | None = Field(default=None, description="Answers compared with reference answers.")
    perplexity: PerplexitySuite | None = Field(default=None, description="How well the model predicts a text.")
    classification: ClassificationSuite | None = Field(default=None, description="Texts that it puts into classes.")
    extraction: ExtractionSuite | None = Field(default=None, description="Answers that stand in a text, as in SQuAD.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [name for name in type(self).model_fields if name != "name"]
        if sum(getattr(self, name) is not None for name in kinds) != 1:
            raise ValueError(f"set exactly one of {', '.join(kinds[:-1])} and {kinds[-1]}")
        return self

    @property
    def kind(self) -> SuiteKind:
        """What it measures, whichever it is."""
        found = next(getattr(self, name) for name in type(self).model_fields if name != "name" and getattr(self, name))
        assert isinstance(found, SuiteKind)  # noqa: S101 - the validator
        return found

    def metric_names(self) -> tuple[str, ...]:
        """Return the metrics that this suite gives for sure, as SUITE/METRIC."""
        return tuple(f"{self.name}/{name}" for name in self.kind.metric_names())

    def listed_metrics(self) -> tuple[str, ...]:
        """Return what a message says that it gives: its metrics, or their form where only the runtime knows them."""
        return self.metric_names() or (f"{self.name}/TASK/METRIC",)

    def may_give(self, metric: str) -> bool:
        """Return whether SUITE/METRIC may be one of this suite's."""
        suite, _, bare = metric.partition("/")
        return metric in self.metric_names() or (suite == self.name and self.kind.may_give(bare))


class EvalSuite(Suite):
    """A suite of an EvalJob: also those that ask more than a model of its own process."""

    harness: HarnessSuite | None = Field(default=None, description="Tasks of lm-evaluation-harness.")
    judge: JudgeSuite | None = Field(default=None, description="Answers that a judge scores or compares.")
    performance: PerformanceSuite | None = Field(default=None, description="How fast an endpoint answers under load.")
    safety: SafetySuite | None = Field(default=None, description="How it behaves where it could do harm.")
    human: HumanSuite | None = Field(default=None, description="Answers that people compare on a page.")

    @property
    def judges(self) -> tuple[KeyedEndpoint, ...]:
        """The endpoints of its judges."""
        refusal = self.safety.refusal if self.safety else None
        judges = (self.judge, refusal.judge if refusal else None)
        return tuple(each.endpoint for each in judges if each)

    @property
    def runs_code(self) -> bool:
        """Whether it runs Python that its tasks bring, and so must be measured in a sandbox."""
        return self.harness is not None and self.harness.runs_code


def check_names(suites: Sequence[Suite]) -> None:
    """Raise ValueError when two suites have one name."""
    names = [suite.name for suite in suites]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"suites has more than one suite named {', '.join(twice)}")
