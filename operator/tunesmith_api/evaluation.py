"""How a run is measured on its way, and when it has learnt enough."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from tunesmith_api.base import ApiModel
from tunesmith_api.metrics import METRICS
from tunesmith_api.suites import Suite, check_names

EVAL_LOSS = "evalLoss"
# As many as status holds of a checkpoint.
MOST_METRICS = 64

StoppingMetric = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=100,
        pattern=r"^(evalLoss|[a-z0-9]([-a-z0-9]*[a-z0-9])?/[A-Za-z][A-Za-z0-9]*)$",
    ),
]


class EarlyStopping(ApiModel):
    """When training ends before its last step. The best checkpoint is published then, and also without an early end."""

    metric: StoppingMetric = Field(
        default=EVAL_LOSS, description="evalLoss, or SUITE/METRIC of one of the suites. Its direction is known."
    )
    patience: int = Field(
        default=3, ge=1, le=1000, description="Evaluations in a row without an improvement after which training ends."
    )
    min_delta: float = Field(
        default=0.0,
        ge=0,
        le=1_000_000,
        description="An improvement is one by more than this over the last one, in the metric's own unit.",
    )


class Evaluation(ApiModel):
    """What is measured at each checkpoint besides the evaluation loss."""

    suites: tuple[Suite, ...] = Field(
        default=(),
        max_length=16,
        description="Suites as of an EvalJob, run on each checkpoint of a causal language model.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    parallel: bool | None = Field(
        default=None,
        description="true: a process of its own measures the checkpoint while training goes on; it needs memory for "
        "one more model. false: training waits meanwhile. Default: true where there is room, that is a GPU that no "
        "worker uses, or without GPUs four CPUs for each worker of the pod and enough memory.",
    )
    early_stopping: EarlyStopping | None = Field(
        default=None, description="When training ends early. Default: never; the last weights are published."
    )

    @model_validator(mode="after")
    def _names(self) -> Self:
        check_names(self.suites)
        return self

    def metric_names(self) -> tuple[str, ...]:
        """Return the metrics that the suites give, as SUITE/METRIC."""
        return tuple(name for suite in self.suites for name in suite.metric_names())


def higher_is_better(metric: str) -> bool:
    """Return the direction of evalLoss or SUITE/METRIC."""
    return metric != EVAL_LOSS and METRICS[metric.rpartition("/")[2]].higher_is_better
