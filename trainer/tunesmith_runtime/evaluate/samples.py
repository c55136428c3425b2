"""What a suite asks, and what it gives: metrics, and each sample that they come from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunesmith_api.suites import Suite
from tunesmith_runtime.errors import RunError
from tunesmith_runtime.evaluate.respondent import Generation
from tunesmith_runtime.evaluate.statistics import Summands

# The score of one text of a perplexity suite.
MEAN_NLL = "nllPerToken"
# Of one request of a performance suite, in seconds.
FIRST_TOKEN, LATENCY = "timeToFirstToken", "latency"


class NotMeasuredError(RunError):
    """A suite has no result, while the others may; the evaluation goes on and is inconclusive."""


@dataclass(frozen=True)
class LoadedSuite:
    """A suite with its samples, whatever they are; `empty` counts those left out for an empty answer or text.

    `generation` is how they are answered, when they are prompts that a model is to answer. A record counts in the
    progress as often as it is gone through: by each respondent `rounds` times, and in a comparison `comparing` times.
    `groups` are the parts of the suite that they belong to, one for each, when it tells parts apart.
    """

    suite: Suite
    records: tuple[Any, ...]
    empty: int = 0
    generation: Generation | None = None
    rounds: int = 1
    comparing: int = 0
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class AnswerSample:
    """A question, the model's answer, and its scores by metric in each metric's own unit."""

    index: int
    prompt: str
    answer: str
    references: tuple[str, ...]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class JudgedSample(AnswerSample):
    """An answer with what a judge has replied about it, by what it was asked; unreadable replies are there as well."""

    replies: Mapping[str, str]


@dataclass(frozen=True)
class RequestSample:
    """A request of a load: the start of its prompt, when it began, and how many tokens were answered.

    Times and scores are in seconds; the load begins at 0. `error` is why there are no scores, or empty.
    """

    index: int
    text: str
    begun: float
    tokens: int
    error: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class LabelSample(AnswerSample):
    """A text, the class that the model's answer names, and how likely it finds the positive class of two."""

    given: str | None
    probability: float | None


@dataclass(frozen=True)
class TaskSample(AnswerSample):
    """A sample of a task of lm-eval: the prompt is what the model got, all examples included."""

    task: str


@dataclass(frozen=True)
class TextSample:
    """The start of a text, the sum of its tokens' negative log-likelihoods in nats, and how many were scored."""

    index: int
    text: str
    nll: float
    tokens: int

    @property
    def scores(self) -> Mapping[str, float]:
        """The mean in nats per token; nothing when no token was scored or the mean is not a number."""
        mean = self.nll / self.tokens if self.tokens else math.nan
        return {MEAN_NLL: mean} if math.isfinite(mean) else {}


Sample = AnswerSample | TextSample | RequestSample


@dataclass(frozen=True)
class ConfusionMatrix:
    """How many texts of each class (the rows) were given each class (the columns; the last one is of none)."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class SuiteResult:
    """The metrics of one suite on one model, by bare name, and the samples in the order of the records.

    A metric may be infinite or not a number, as when a model is broken. `summands` are what each is computed from; one
    without has no interval and is compared with no baseline. `higher_is_better` is the direction of metrics that
    tunesmith_api.metrics does not list. `notes` are sentences for the report. `counts` tells how many samples a metric
    without summands is computed from, where that is not all of them.
    """

    metrics: Mapping[str, float]
    samples: tuple[Sample, ...]
    summands: Mapping[str, Summands] = field(compare=False)
    higher_is_better: Mapping[str, bool] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    confusion: ConfusionMatrix | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
