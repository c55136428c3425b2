"""What people read of a search."""

from datetime import UTC, datetime
from pathlib import Path

from tests.builders import FINE_TUNE_JOB_SPEC, fine_tune_job
from tunesmith_api.contract import ProgressDocument
from tunesmith_api.finetunejob import FineTuneJobStatus, TrainingProgress
from tunesmith_api.tuning import TrialRecord, TuningStatus
from tunesmith_operator.local.activity import activity
from tunesmith_operator.local.describe import describe
from tunesmith_operator.local.state import State
from tunesmith_operator.planner import ObservedWorkload

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
RATE = "training.learningRate"
TUNING = TuningStatus(
    trials=(
        TrialRecord(number=1, parameters={RATE: "1.0"}, state="StoppedEarly", steps=10, value=8.5, step=10),
        TrialRecord(number=2, parameters={RATE: "0.0003"}, steps=30, value=1.2345678, step=20),
    ),
    best=2,
)
JOB = fine_tune_job(
    data=FINE_TUNE_JOB_SPEC["data"] | {"validation": {"fraction": 0.1}},
    tuning={"parameters": [{"name": RATE, "uniform": {"min": 0.0001, "max": 1}}], "trials": 4},
    status=FineTuneJobStatus(tuning=TUNING),
)


def test_describe_shows_the_trials_as_a_table_with_a_star_at_the_best(tmp_path: Path) -> None:
    text = describe(State(tmp_path), JOB)
    (_, table) = text.split("Trials\n")
    assert [line.split() for line in table.splitlines()[:3]] == [
        ["NUMBER", RATE, "STATE", "STEPS", "BEST", "AT", "STEP", "MESSAGE"],
        ["1", "1.0", "StoppedEarly", "10", "8.5", "10"],
        ["*", "2", "0.0003", "Running", "30", "1.235", "20"],
    ]


def test_a_search_is_told_by_the_trials_that_have_ended() -> None:
    training = TrainingProgress(step=40, total_steps=160, eval_loss=1.25)
    running = ObservedWorkload(
        "bot-a1", "Running", progress=ProgressDocument(stage="training", training=training, tuning=TUNING)
    )
    told = activity(JOB, running)
    assert told is not None
    assert told.text(NOW) == "step 40/160, 1 trial ended, evaluation loss 1.250"
