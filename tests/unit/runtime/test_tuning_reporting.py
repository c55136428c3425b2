"""A trial tells each checkpoint's value once, when the checkpoint is complete."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.finetunejob import CheckpointRecord, MetricValue, TrainingProgress
from tunesmith_runtime.train.tuning.reporting import DivergedError, TrialReporter

Make = Callable[..., TrialReporter]


def record(step: int, **metrics: float) -> CheckpointRecord:
    values = tuple(MetricValue(metric=name.replace("_", "/"), value=value) for name, value in metrics.items())
    return CheckpointRecord(step=step, uri=f"pvc://c/checkpoint-{step}", metrics=values)


@pytest.fixture
def told() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def make(tmp_path: Path, told: list[dict[str, Any]]) -> Make:
    def build(metric: str = "evalLoss", **settings: Any) -> TrialReporter:
        return TrialReporter(tmp_path / "progress.json", metric, told.append, **settings)

    return build


def values(told: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(each["step"], each["value"]) for each in told if "step" in each]


def test_each_checkpoint_is_told_once_it_is_complete(make: Make, told: list[dict[str, Any]]) -> None:
    reporter = make()
    reporter.update(training=TrainingProgress(step=4, total_steps=8, eval_loss=3.0))
    # It may be the best before it is complete.
    reporter.update(best=record(4, evalLoss=3.0), checkpoint=record(4, evalLoss=3.0))
    reporter.update(checkpoint=record(4, evalLoss=3.0))
    reporter.update(training=TrainingProgress(step=8, total_steps=8), checkpoint=record(8, evalLoss=3.5))
    assert values(told) == [(4, 3.0), (8, 3.5)]
    assert told[-1]["steps"] == 8
    assert told[-1]["training"]["totalSteps"] == 8


def test_a_suite_may_be_measured_while_training_goes_on(make: Make, told: list[dict[str, Any]]) -> None:
    reporter = make("facts/f1")
    reporter.update(checkpoint=record(4, evalLoss=3.0))
    assert values(told) == []
    reporter.update(checkpoint=record(4, evalLoss=3.0, facts_f1=0.5))
    assert values(told) == [(4, 0.5)]


def test_a_trial_that_goes_on_does_not_repeat_itself(make: Make, told: list[dict[str, Any]]) -> None:
    reporter = make(told=[4])
    reporter.update(resumed_from_step=8)
    reporter.update(best=record(4, evalLoss=3.0))
    assert values(told) == []


def test_a_trial_that_goes_on_tells_what_was_lost_with_the_attempt_before(
    make: Make, told: list[dict[str, Any]]
) -> None:
    reporter = make(told=[4])
    reporter.update(resumed_from_step=8)
    reporter.update(best=record(8, evalLoss=2.0))
    assert values(told) == [(8, 2.0)]
    assert told[0]["steps"] == 8


def test_between_checkpoints_it_tells_now_and_then_how_far_it_is(make: Make, told: list[dict[str, Any]]) -> None:
    now = [0.0]
    reporter = make(seconds=lambda: now[0])
    for step in range(1, 11):
        now[0] += 1.0
        reporter.update(training=TrainingProgress(step=step, total_steps=20))
    assert [each["steps"] for each in told] == [1, 6]


def test_a_loss_that_is_no_number_ends_the_trial(make: Make) -> None:
    reporter = make()
    reporter.update(checkpoint=record(4, evalLoss=3.0))
    with pytest.raises(DivergedError, match="evalLoss at step 8 is no number: training has diverged"):
        reporter.update(checkpoint=record(8))
