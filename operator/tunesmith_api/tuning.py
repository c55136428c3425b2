"""Hyperparameter search: which settings of a FineTuneJob are tried, and what came of it."""

import json
import math
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import ApiModel, StatusModel
from tunesmith_api.evaluation import EVAL_LOSS, StoppingMetric

MOST_TRIALS = 256
# Steps that no run reaches.
MOST_STEPS = 100_000_000
# The value of a parameter: what YAML calls a scalar.
Scalar = bool | int | float | str
TrialState = Literal["Running", "Succeeded", "StoppedEarly", "Failed"]
ParameterName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Written = Annotated[str, StringConstraints(min_length=1, max_length=64)]
ONE_DOMAIN = "set exactly one of uniform, logUniform, intUniform and choice"


class Span(ApiModel):
    """Numbers from `min` to `max`."""

    min: float = Field(description="Smallest value.")
    max: float = Field(description="Largest value; more than min.")

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.min >= self.max:
            raise ValueError("min must be less than max")
        return self


class LogSpan(Span):
    """Numbers from `min` to `max` whose logarithms are equally likely: 1e-5 to 1e-4 as often as 1e-4 to 1e-3."""

    min: float = Field(gt=0, description="Smallest value.")


class WholeSpan(ApiModel):
    """Whole numbers from `min` to `max`."""

    min: int = Field(description="Smallest value.")
    max: int = Field(description="Largest value; more than min.")

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.min >= self.max:
            raise ValueError("min must be less than max")
        return self


class Parameter(ApiModel):
    """A setting, and the values that trials take for it."""

    name: ParameterName = Field(
        description="Path of the setting below spec: training.NAME, method.adapter.NAME, or method.TYPE.NAME of the "
        "job's own method, such as method.dpo.beta. Numbers, words of a list and true or false can be tuned."
    )
    uniform: Span | None = Field(default=None, description="Any number of a range.")
    log_uniform: LogSpan | None = Field(
        default=None, description="Any number of a range, small ones as often as large."
    )
    int_uniform: WholeSpan | None = Field(default=None, description="Any whole number of a range.")
    choice: tuple[Written, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description='One of these, each written as a string: ["8", "16"], ["0.1"], ["true", "false"] or '
        '["cosine", "linear"].',
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )

    @model_validator(mode="after")
    def _one_domain(self) -> Self:
        if sum(domain is not None for domain in (self.uniform, self.log_uniform, self.int_uniform, self.choice)) != 1:
            raise ValueError(ONE_DOMAIN)
        return self

    def extremes(self) -> tuple[Scalar, ...]:
        """Return the values that show whether all can be used: the ends of a range, or every choice."""
        span = self.uniform or self.log_uniform or self.int_uniform
        return (span.min, span.max) if span else tuple(map(scalar, self.choice or ()))

    def count(self) -> float:
        """Return how many values there are; infinity for those of a range of any numbers."""
        if self.int_uniform:
            return self.int_uniform.max - self.int_uniform.min + 1
        return len(set(self.choice)) if self.choice else math.inf


class TrialScheduler(ApiModel):
    """Which trials end before their last step."""

    type: Literal["asha", "none"] = Field(
        default="asha",
        description="asha: at graceSteps, and whenever the steps have grown by reductionFactor, a trial that is not "
        "among the best 1/reductionFactor of those that have come so far ends (Li et al. 2018, "
        "https://arxiv.org/abs/1810.05934). none: all trials run to their last step.",
    )
    grace_steps: int | None = Field(
        default=None,
        ge=1,
        le=MOST_STEPS,
        description="Optimizer steps that every trial may do. Default: checkpoints.everySteps.",
    )
    reduction_factor: int = Field(default=3, ge=2, le=16, description="The larger, the more trials end early.")


class Tuning(ApiModel):
    """Several trainings with different settings, the best of which is published."""

    parameters: tuple[Parameter, ...] = Field(
        min_length=1,
        max_length=32,
        description="What is tried.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    metric: StoppingMetric = Field(
        default=EVAL_LOSS,
        description="What the best trial is best at: evalLoss, or SUITE/METRIC of evaluation.suites. Of each trial the "
        "checkpoint counts that is best at it.",
    )
    trials: int = Field(default=16, ge=1, le=MOST_TRIALS, description="How many trainings there are.")
    max_concurrent_trials: int | None = Field(
        default=None,
        ge=1,
        le=MOST_TRIALS,
        description="Trials at the same time. Each has one GPU, or shares the CPUs of its pod with the others there. "
        "Default: one for each GPU of the workers, or without GPUs one for each worker.",
    )
    max_seconds: int | None = Field(
        default=None,
        ge=1,
        le=31_536_000,
        description="Seconds of all attempts together after which no further trial begins. Default: no limit.",
    )
    scheduler: TrialScheduler = Field(default=TrialScheduler(), description="Which trials end early.")
    seed: int = Field(default=42, ge=0, le=4_294_967_295, description="Seed of the values that are tried.")

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [each.name for each in self.parameters]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"parameters has {' and '.join(twice)} more than once")
        return self

    def combinations(self) -> float:
        """Return how many different trials there can be."""
        return math.prod(parameter.count() for parameter in self.parameters)


class TrialRecord(StatusModel):
    """One training of a search."""

    number: int = Field(ge=1, description="Counts from 1.")
    parameters: dict[ParameterName, Annotated[str, StringConstraints(max_length=64)]] = Field(
        default={}, max_length=32, description="Its values of the parameters, by their names."
    )
    state: TrialState = Field(
        default="Running",
        description="StoppedEarly: it ended before its last step because others were better.",
    )
    steps: int = Field(default=0, ge=0, description="Optimizer steps done.")
    value: float | None = Field(default=None, description="The metric of its best checkpoint.")
    step: int | None = Field(default=None, ge=0, description="Step of that checkpoint.")
    message: str | None = Field(default=None, max_length=512, description="Why it failed.")


class TuningStatus(StatusModel):
    """What came of a search."""

    trials: tuple[TrialRecord, ...] = Field(
        default=(),
        max_length=MOST_TRIALS,
        description="The trials that have begun.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    best: int | None = Field(default=None, ge=1, description="Number of the best trial so far.")


def scalar(text: str) -> Scalar:
    """Return the number, the truth value or the word that a choice stands for."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text


def written(value: Scalar) -> str:
    """Return a value as a choice writes it."""
    return value if isinstance(value, str) else json.dumps(value)
