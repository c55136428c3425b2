"""What people read of resources."""

import json
import shlex
from datetime import UTC, datetime, timedelta

import pytest

from tests.builders import eval_job, fine_tune_job, model_serve
from tunesmith_api.contract import ProgressDocument, RatingProgress, SampleProgress
from tunesmith_api.evaljob import EvalJobStatus, GateResult, MetricResult
from tunesmith_api.finetunejob import FineTuneJobStatus, TrainingProgress
from tunesmith_api.meta import Condition
from tunesmith_api.modelserve import ModelServeStatus
from tunesmith_operator.local.activity import activity, duration
from tunesmith_operator.local.tables import how_to_try, key_figure, metric_table, resource_table
from tunesmith_operator.planner import ObservedWorkload

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
JUDGED = eval_job(
    status=EvalJobStatus(
        phase="Succeeded",
        verdict="Failed",
        results=(
            MetricResult(metric="facts/f1", value=0.5, baseline=0.125, delta=0.375, n=20),
            MetricResult(metric="facts/exactMatch", value=0.25, n=20),
        ),
        gates=(GateResult(metric="facts/f1", passed=False, message="facts/f1 is 0.5 and misses min 0.75"),),
    )
)


def test_the_table_has_the_figure_that_counts_for_each_kind() -> None:
    job = fine_tune_job(status=FineTuneJobStatus(progress=TrainingProgress(loss=0.5, eval_loss=0.625)))
    assert key_figure(job) == "loss 0.500, evaluation loss 0.625"
    assert key_figure(JUDGED) == "Failed, facts/f1 0.5 (baseline 0.125)"
    assert key_figure(eval_job(status=EvalJobStatus(percent=40))) == "40%"
    assert key_figure(model_serve(status=ModelServeStatus(url="http://127.0.0.1:8000"))) == "http://127.0.0.1:8000"
    assert key_figure(fine_tune_job()) == key_figure(eval_job()) == key_figure(model_serve()) == ""


def test_the_table_ends_with_the_conditions_sentence() -> None:
    told = Condition(
        type="Reconciling",
        status="True",
        reason="Running",
        message="attempt 1 is training",
        last_transition_time=NOW,
    )
    job = fine_tune_job(status=FineTuneJobStatus(phase="Running", conditions=(told,)))
    assert resource_table([job]).splitlines() == [
        "NAME                     PHASE    RESULT  MESSAGE",
        "finetunejob/support-bot  Running          attempt 1 is training",
    ]
    assert "Stopped" in resource_table([job], shell_runs=False)


def test_metrics_stand_beside_the_baselines_with_their_gate() -> None:
    assert metric_table(JUDGED).splitlines() == [
        "METRIC            BASELINE  FINE-TUNED  DELTA   GATE",
        "facts/f1          0.125     0.5         +0.375  FAILED: facts/f1 is 0.5 and misses min 0.75",
        "facts/exactMatch  -         0.25        -       -",
    ]
    assert metric_table(eval_job()) == ""


def test_the_curl_line_survives_a_shell() -> None:
    serve = model_serve(status=ModelServeStatus(phase="Ready", url="http://127.0.0.1:8000"))
    words = shlex.split(how_to_try(serve).splitlines()[1])
    assert words[:3] == ["curl", "-s", "http://127.0.0.1:8000/v1/chat/completions"]
    assert json.loads(words[-1])["model"] == "support-bot"


def test_training_is_told_by_step_loss_speed_and_time_left() -> None:
    training = TrainingProgress(
        step=20, total_steps=60, loss=2.3125, tokens_per_second=1234.4, eta=NOW + timedelta(seconds=130)
    )
    seen = ObservedWorkload("a", "Running", progress=ProgressDocument(stage="training", training=training))
    doing = activity(fine_tune_job(), seen)
    assert doing is not None
    assert doing.text(NOW) == "step 20/60, loss 2.312, 1,234 tokens/s, 2 min 10 s left"


def test_evaluation_is_told_by_samples_and_a_server_by_its_stage() -> None:
    samples = ProgressDocument(stage="evaluating", samples=SampleProgress(done=3, total=20))
    evaluating = activity(eval_job(), ObservedWorkload("a", "Running", progress=samples))
    rating = RatingProgress(url="http://127.0.0.1:1/?key=k", votes=12, needed=40)
    asking = ProgressDocument(stage="waits for votes: 12 of 40", samples=SampleProgress(done=4, total=9), rating=rating)
    waiting = activity(eval_job(), ObservedWorkload("a", "Running", progress=asking))
    assert waiting is not None
    assert waiting.text(NOW) == "vote 12/40, http://127.0.0.1:1/?key=k"
    starting = activity(model_serve(), ObservedWorkload("a", "Running", progress=ProgressDocument(stage="loading")))
    fresh = activity(model_serve(), ObservedWorkload("a", "Running"))
    assert [each.text(NOW) for each in (evaluating, starting, fresh) if each] == ["sample 3/20", "loading", "starting"]


def test_what_serves_or_has_ended_does_nothing_more() -> None:
    assert activity(model_serve(), ObservedWorkload("a", "Running", ready=True, url="http://x")) is None
    assert activity(eval_job(), ObservedWorkload("a", "Failed")) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (45, "45 s"), (60, "1 min"), (130, "2 min 10 s"), (11100, "3 h 5 min"), (187200, "2 d 4 h")],
)
def test_a_time_span_has_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text
