"""The course of a search: what the trials tell goes into their table, into the progress and into the log."""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tunesmith_api.contract import RunFailure, TrainRun
from tunesmith_api.evaluation import EVAL_LOSS
from tunesmith_api.finetunejob import TrainingProgress
from tunesmith_api.gates import number as shown
from tunesmith_runtime import storage
from tunesmith_runtime.errors import RunError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train.tuning.drawing import folder_of
from tunesmith_runtime.train.tuning.table import Table, Trial

_MESSAGE = 512


def forget_losers(config: TrainRun, table: Table, *, all_of_them: bool = False) -> None:
    """Delete the checkpoints of the trials that are over, or of all, but those of the best."""
    trials = [trial for trial in table.trials if trial.is_over or all_of_them]
    best = table.best_of(trials)
    for trial in trials:
        uri = folder_of(config, trial.number)
        if trial is best:
            continue
        if storage.in_bucket(uri):
            storage.delete_folder(uri)
        else:
            shutil.rmtree(storage.local_path(uri), ignore_errors=True)


class Course:
    """Follows the trials of one attempt. Of the trials that are over only the best one's checkpoints are kept."""

    def __init__(self, config: TrainRun, table: Table, reporter: ProgressReporter) -> None:
        self._config = config
        self._table = table
        self._reporter = reporter
        self._trials = {trial.number: trial for trial in table.trials}
        self._began = table.seconds
        self._steps_before = self._steps()
        reporter.update(resumed_from_step=self._steps_before)
        self._report()

    def begins(self, number: int) -> None:
        """Take down that a trial begins, or goes on."""
        trial = self._trials[number]
        trial.state, trial.message, trial.reason = "Running", None, None
        self._say(f"{trial} {f'goes on after step {trial.steps}' if trial.steps else 'begins'}")
        self._save()

    def hears(
        self,
        number: int,
        *,
        steps: int | None,
        report: tuple[int, float] | None,
        training: Mapping[str, Any] | None,
        ended: bool,
        failure: RunFailure | None,
    ) -> None:
        """Take down what a trial has told."""
        trial = self._trials[number]
        trial.steps = max(trial.steps, steps or 0)
        trial.training = dict(training) if training else trial.training
        if report and report[0] not in dict(trial.reports):
            trial.reports.append(report)
        if ended:
            trial.state = "Succeeded"
        if failure:
            self._fails(trial, failure)
        if report or ended or failure:
            self._save()
        else:
            self._report()

    def ends(self, number: int) -> None:
        """Take down that a trial is over: by itself, as it has told, or because others are better."""
        trial = self._trials[number]
        if trial.state == "Running":
            done = trial.total_steps and trial.steps >= trial.total_steps
            trial.state = "Succeeded" if done else "StoppedEarly"
        best = trial.best(self._table.tuning.metric)
        value = f", {self._table.tuning.metric} {shown(best[1])} at step {best[0]}" if best else ""
        self._say(f"{trial} ends after step {trial.steps}: {trial.state}{value}")
        self._save()
        forget_losers(self._config, self._table)

    def loses(self, number: int, message: str) -> None:
        """Take down that a trial's process was lost once too often."""
        trial = self._trials[number]
        self._fails(trial, RunError(f"its process was lost: {message}").failure())
        self._say(f"{trial} failed: {trial.message}")
        self._save()

    def _fails(self, trial: Trial, failure: RunFailure) -> None:
        trial.state, trial.reason, trial.again = "Failed", failure.reason, failure.retryable
        trial.message = failure.message[:_MESSAGE]

    def _save(self) -> None:
        self._table.save()
        self._report()

    def _report(self) -> None:
        self._reporter.update(state="Running", stage="training", training=self._progress(), tuning=self._table.status())

    def _progress(self) -> TrainingProgress:
        trials, best = self._table.trials, self._table.best()
        longest = max(trial.total_steps for trial in trials)
        total = sum(trial.steps if trial.is_over else trial.total_steps or longest for trial in trials)
        steps = self._steps()
        value = best.best(self._table.tuning.metric) if best else None
        running = [trial.training or {} for trial in trials if trial.state == "Running"]
        speeds = [each["tokensPerSecond"] for each in running if "tokensPerSecond" in each]
        return TrainingProgress(
            step=steps,
            total_steps=total,
            percent=min(100, 100 * steps // max(total, 1)),
            eval_loss=value[1] if value and self._table.tuning.metric == EVAL_LOSS else None,
            tokens_per_second=round(sum(speeds), 1) if speeds else None,
            eta=self._eta(steps, total),
        )

    def _steps(self) -> int:
        return sum(trial.steps for trial in self._table.trials)

    def _eta(self, steps: int, total: int) -> datetime | None:
        """Return when the trials end if none of those to come ends early."""
        done = steps - self._steps_before
        if done <= 0:
            return None
        left = (total - steps) * (self._table.seconds - self._began) / done
        return (datetime.now(UTC) + timedelta(seconds=left)).replace(microsecond=0)

    def _say(self, sentence: str) -> None:
        print(sentence, flush=True)  # noqa: T201 - the run's log
