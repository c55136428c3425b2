"""The trials of a search outlive an attempt: what is over stays over, and the best is known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.s3 import BUCKET, S3Server
from tests.unit.runtime.test_tuning_drawing import run
from tunesmith_api.contract import RunFailure, TrainRun
from tunesmith_runtime import storage
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.tuning.choosing import NoTrialError
from tunesmith_runtime.train.tuning.course import Course
from tunesmith_runtime.train.tuning.drawing import folder_of
from tunesmith_runtime.train.tuning.table import Table

Make = Callable[..., TrainRun]
OUT_OF_MEMORY = RunFailure(reason="OutOfMemory", message="out of memory: use less", retryable=True)
WRONG = RunFailure(reason="ConfigInvalid", message="it cannot be", retryable=False)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a builder of searches of four trials with 20 steps each."""

    def build(**tuning: Any) -> TrainRun:
        (tmp_path / "c").mkdir(exist_ok=True)
        checkpoints = {"uri": f"file://{tmp_path}/c", "everySteps": 4, "keep": 2}
        return run({"trials": 4, **tuning}, checkpoints=checkpoints)

    return build


@pytest.fixture
def reporter(tmp_path: Path) -> ProgressReporter:
    return ProgressReporter(tmp_path / "progress.json")


def hear(course: Course, number: int, step: int, value: float | None = None, **more: Any) -> None:
    """Have a trial of 20 steps tell that it is at a step, and what it was measured to be."""
    heard: dict[str, Any] = {"ended": False, "failure": None, **more}
    course.hears(
        number,
        steps=step,
        report=None if value is None else (step, value),
        training={"step": step, "totalSteps": 20, "tokensPerSecond": 100.5},
        **heard,
    )


def leave_checkpoint(config: TrainRun, number: int) -> Path:
    folder = storage.local_path(folder_of(config, number)) / "checkpoint-4"
    folder.mkdir(parents=True)
    return folder


def test_a_search_from_beginning_to_end(make: Make, reporter: ProgressReporter) -> None:
    config = make()
    table = Table.open(config, "data-1")
    course = Course(config, table, reporter)
    folders = {number: leave_checkpoint(config, number) for number in (1, 2, 3)}
    for number in (1, 2, 3):
        course.begins(number)
    hear(course, 1, 4, 3.0)
    hear(course, 2, 4, 5.0)
    course.ends(2)
    hear(course, 1, 20, 2.0)
    hear(course, 1, 20, ended=True)
    course.ends(1)
    hear(course, 3, 8, 2.5)
    hear(course, 3, 8, failure=WRONG)
    course.ends(3)

    status = table.status()
    assert status.best == 1
    assert [(each.number, each.state, each.steps, each.value, each.step) for each in status.trials] == [
        (1, "Succeeded", 20, 2.0, 20),
        (2, "StoppedEarly", 4, 5.0, 4),
        (3, "Failed", 8, 2.5, 8),
    ]
    assert status.trials[2].message == "it cannot be"
    assert [number for number, folder in folders.items() if folder.exists()] == [1]
    document = reporter.read()
    assert document.tuning == status
    assert document.training is not None
    # The fourth has yet to begin: it is taken to be as long as the longest.
    assert (document.training.step, document.training.total_steps) == (20 + 4 + 8, 20 + 4 + 8 + 20)
    assert document.training.eval_loss == 2.0


def test_the_next_attempt_runs_what_is_left_those_that_had_begun_first(make: Make, reporter: ProgressReporter) -> None:
    config = make()
    table = Table.open(config, "data-1")
    course = Course(config, table, reporter)
    for number in (2, 3, 4):
        course.begins(number)
    hear(course, 2, 8, 3.0)
    hear(course, 3, 20, 2.0, ended=True)
    course.ends(3)
    hear(course, 4, 4, failure=OUT_OF_MEMORY)
    course.ends(4)

    again = Table.open(config, "data-1")
    assert [trial.number for trial in again.left()] == [2, 4, 1]
    assert [trial.values for trial in again.trials] == [trial.values for trial in table.trials]
    assert again.trials[1].reports == [(8, 3.0)]
    assert again.best() is again.trials[2]
    Course(config, again, reporter)
    assert reporter.read().resumed_from_step == 8 + 20 + 4


def test_a_report_is_taken_down_once(make: Make, reporter: ProgressReporter) -> None:
    config = make()
    table = Table.open(config, "data-1")
    course = Course(config, table, reporter)
    course.begins(1)
    hear(course, 1, 4, 3.0)
    hear(course, 1, 4, 3.5)
    assert table.trials[0].reports == [(4, 3.0)]


def test_a_trial_whose_process_is_lost_too_often_is_tried_by_the_next_attempt(
    make: Make, reporter: ProgressReporter
) -> None:
    config = make()
    table = Table.open(config, "data-1")
    course = Course(config, table, reporter)
    course.begins(1)
    course.loses(1, "the actor died")
    (failed,) = table.status().trials
    assert (failed.state, failed.message) == ("Failed", "its process was lost: the actor died")
    assert 1 in [trial.number for trial in Table.open(config, "data-1").left()]


def test_the_best_is_the_largest_of_a_metric_that_is_better_larger(make: Make, reporter: ProgressReporter) -> None:
    config = make(metric="facts/f1")
    table = Table.open(config, "data-1")
    course = Course(config, table, reporter)
    for number, value in ((1, 0.25), (2, 0.75), (3, 0.75)):
        course.begins(number)
        hear(course, number, 4, value)
    assert table.status().best == 2
    document = reporter.read()
    assert document.training is not None
    assert document.training.eval_loss is None


def test_time_counts_over_all_attempts(make: Make) -> None:
    now = 1000.0
    config = make(maxSeconds=60)
    table = Table(config.tuning, [], config.checkpoints.uri, "data-1", clock=lambda: now)  # type: ignore[arg-type]
    now += 40
    assert not table.is_out_of_time
    table.save()
    assert 40 <= Table.open(config, "data-1").seconds < 59
    now += 20
    assert table.is_out_of_time
    table.save()
    assert Table.open(config, "data-1").is_out_of_time


def test_trials_of_other_data_are_refused(make: Make) -> None:
    Table.open(make(), "data-1").save()
    with pytest.raises(DataError, match=r"the trials in file://.*/c were trained on other data"):
        Table.open(make(), "data-2")


def test_without_a_checkpoint_of_any_trial_the_first_failure_is_said(make: Make, reporter: ProgressReporter) -> None:
    config = make()
    table = Table.open(config, "data-1")
    course = Course(config, table, reporter)
    for number in (1, 2):
        course.begins(number)
        hear(course, number, 0, failure=WRONG)
        course.ends(number)
    error = NoTrialError(table)
    assert error.message.startswith("no trial has come as far as a checkpoint; trial 1 (training.learningRate=")
    assert error.message.endswith(") failed: it cannot be")
    failure = error.failure()
    assert (failure.reason, failure.retryable) == ("ConfigInvalid", False)
    nothing = Table(table.tuning, (), config.checkpoints.uri, "data-1")
    assert "maxSeconds was over before a trial had a checkpoint" in NoTrialError(nothing).message


def test_a_table_in_a_bucket(s3: S3Server) -> None:
    config = run(checkpoints={"uri": f"s3://{BUCKET}/c", "everySteps": 4, "keep": 1})
    table = Table.open(config, "data-1")
    table.trials[0].reports.append((4, 1.5))
    table.save()
    again = Table.open(config, "data-1").best()
    assert again is not None
    assert again.reports == [(4, 1.5)]
