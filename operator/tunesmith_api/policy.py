"""What a training run may take and bear, besides what every run has."""

from pydantic import Field

from tunesmith_api.base import RunPolicy


class TrainingPolicy(RunPolicy):
    """How often and how long training is tried, and when it pauses. May change at any time."""

    suspend: bool = Field(
        default=False,
        description="Ends the attempt under way once it has saved a checkpoint, and starts none. When it is false "
        "again, the next attempt goes on from there.",
    )
    grace_period_seconds: int = Field(
        default=30,
        ge=1,
        le=86_400,
        description="Seconds that pods have to save a checkpoint when they are told to end, because the job is "
        "suspended, its time is over or a node wants them gone. Large models need more. Counts from the next attempt.",
    )
    max_failures: int = Field(
        default=3,
        ge=0,
        le=100,
        description="How often the workers of an attempt start again after some were lost; then the attempt has "
        "failed. Counts from the next attempt.",
    )
    progress_timeout_seconds: int = Field(
        default=3600,
        ge=1,
        le=604_800,
        description="Without an optimizer step for so long while it trains, an attempt counts as hung: it has failed, "
        "and its log has the stacks of all workers. An hour is more than a step takes with the checkpoint and the "
        "measurements beside it, and little against the days that a hung run would hold its GPUs; set more where "
        "suites between steps take longer. Counts from the next attempt.",
    )
    gpu_hours: float | None = Field(
        default=None,
        ge=0.01,
        le=10_000_000,
        description="Budget of all attempts together, counted as hours times GPUs of all pods. When it is used up, "
        "training ends and the model so far is published as partial. Counts from the next attempt. Default: none.",
    )
