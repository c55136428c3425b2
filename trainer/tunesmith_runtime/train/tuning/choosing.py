"""The best trial of a search becomes the run's model."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tunesmith_api.contract import ProgressDocument, TrainRun
from tunesmith_api.finetunejob import TrainingProgress
from tunesmith_api.gates import number
from tunesmith_runtime.errors import RunError
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train import environment
from tunesmith_runtime.train.inputs import TokenisedData
from tunesmith_runtime.train.recovery.attempt import Attempt, NothingLearntError, Outcome
from tunesmith_runtime.train.tuning.course import forget_losers
from tunesmith_runtime.train.tuning.drawing import run_of
from tunesmith_runtime.train.tuning.table import Table, Trial


class NoTrialError(RunError):
    """No trial has come as far as a checkpoint."""

    def __init__(self, table: Table) -> None:
        failed = [trial for trial in table.trials if trial.state == "Failed"]
        if not failed:
            super().__init__("maxSeconds was over before a trial had a checkpoint; raise it, or lower everySteps")
            self.retryable = False
            return
        super().__init__(f"no trial has come as far as a checkpoint; {failed[0]} failed: {failed[0].message}")
        self.reason = failed[0].reason or self.reason
        self.retryable = any(trial.again for trial in failed)


@dataclass(frozen=True)
class Trained:
    """What a run has trained: with which settings, what it said of itself, and how it ended."""

    config: TrainRun
    document: ProgressDocument
    outcome: Outcome


def tune(config: TrainRun, data: TokenisedData, staged: Path, reporter: ProgressReporter, attempt: Attempt) -> Trained:
    """Run the trials and leave the model of the best one's best checkpoint in `staged`; return that trial.

    What an earlier attempt has done is not done again. A search whose time is over is partial. Raises RunError.
    """
    from tunesmith_runtime.train.tuning.search import search

    table = Table.open(config, data.fingerprint)
    undone = bool(table.left())
    search(config, data, table, reporter, attempt)
    seconds = attempt.seconds_left
    over = undone and seconds is not None and seconds <= 0
    best = table.best()
    if best is None:
        raise NothingLearntError if over else NoTrialError(table)
    forget_losers(config, table, all_of_them=True)
    reporter.update(stage="saving the model", tuning=table.status(), ending=_sentence(table, best))
    chosen = run_of(config, best.number, best.values)
    document = _save(chosen, best, data, staged)
    reporter.update(best=document.best)
    own = {"method": chosen.method, "training": chosen.training, "checkpoints": chosen.checkpoints}
    outcome = Outcome(best.steps, best.total_steps, partial=over)
    return Trained(config.model_copy(update=own), document, outcome)


def _save(chosen: TrainRun, best: Trial, data: TokenisedData, staged: Path) -> ProgressDocument:
    """Save the model of the trial's best checkpoint; return what the trial said of itself."""
    environment.prepare(chosen)

    from tunesmith_runtime.train import loop

    # It goes on from the last checkpoint, has nothing left to train, and brings the best one back.
    steps, _ = best.reports[-1]
    over = chosen.model_copy(update={"training": chosen.training.model_copy(update={"max_steps": steps})})
    with tempfile.TemporaryDirectory(prefix="tunesmith-trial-") as folder:
        reporter = ProgressReporter(Path(folder, "progress.json"))
        reporter.update(training=TrainingProgress.model_validate_json(json.dumps(best.training or {})))
        loop.train(over, data, staged, reporter)
        return reporter.read()


def _sentence(table: Table, best: Trial) -> str:
    metric = table.tuning.metric
    step, value = best.best(metric) or (0, 0.0)
    begun = sum(trial.state is not None for trial in table.trials)
    return f"of {begun} trials {best} was best, with {metric} {number(value)} at step {step}; its weights are published"
