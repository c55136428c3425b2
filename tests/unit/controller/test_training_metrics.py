"""What Prometheus reads of a training run."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY

from tunesmith_api.finetunejob import FineTuneJobStatus, MetricValue, Phase, StepTime, Straggler, TrainingProgress
from tunesmith_api.modelserve import ModelServeStatus
from tunesmith_operator.controller.training import TrainingMetrics
from tunesmith_operator.controller.world import Key

KEY = Key("FineTuneJob", "team", "support-bot")
JOB = {"namespace": "team", "name": "support-bot"}
END = datetime(2030, 1, 1, tzinfo=UTC)
PROGRESS = TrainingProgress(
    step=40,
    total_steps=100,
    loss=1.25,
    tokens_per_second=900.0,
    mfu=0.4,
    step_time=StepTime(forward=0.5, backward=1.0),
    stragglers=(Straggler(name="pod-3", factor=2.0),),
    metrics=(MetricValue(metric="fresh/perplexity", value=12.5),),
    eta=END,
)


@pytest.fixture
def training() -> Iterator[TrainingMetrics]:
    training = TrainingMetrics()
    yield training
    training.forget(KEY)


def status(progress: TrainingProgress | None = PROGRESS, phase: Phase = "Running") -> FineTuneJobStatus:
    return FineTuneJobStatus(phase=phase, progress=progress)


def value(metric: str, /, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"tunesmith_training_{metric}", {**JOB, **labels})


def all_series() -> list[str]:
    return [
        sample.name
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name.startswith("tunesmith_training_")
    ]


def test_a_run_has_its_series(training: TrainingMetrics) -> None:
    training.set(KEY, status())
    assert (value("step"), value("total_steps"), value("loss")) == (40, 100, 1.25)
    assert (value("tokens_per_second"), value("mfu")) == (900, 0.4)
    assert value("expected_end_timestamp_seconds") == END.timestamp()
    assert value("step_seconds", section="backward") == 1.0
    assert value("straggler_factor", worker="pod-3") == 2.0
    assert value("metric", metric="fresh/perplexity") == 12.5
    assert value("eval_loss") is None  # it is not measured


def test_what_is_no_longer_so_is_gone(training: TrainingMetrics) -> None:
    training.set(KEY, status())
    training.set(KEY, status(PROGRESS.model_copy(update={"stragglers": (), "step": 41})))
    assert value("straggler_factor", worker="pod-3") is None
    assert value("step") == 41


def test_a_run_that_has_ended_or_is_deleted_has_none(training: TrainingMetrics) -> None:
    for end in (status(phase="Succeeded"), status(phase="Failed")):
        training.set(KEY, status())
        training.set(KEY, end)
        assert all_series() == []
    training.set(KEY, status())
    training.forget(KEY)
    training.forget(KEY)
    assert all_series() == []


def test_only_training_has_them(training: TrainingMetrics) -> None:
    training.set(KEY, status(progress=None))
    training.set(Key("ModelServe", "team", "bot"), ModelServeStatus())
    assert all_series() == []
