"""What becomes of a checkpoint that the Trainer has written."""

from dataclasses import dataclass, field
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunesmith_api.contract import TrainRun
from tunesmith_api.finetunejob import CheckpointRecord
from tunesmith_api.uris import join
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train import group
from tunesmith_runtime.train.checkpoints import CheckpointStore
from tunesmith_runtime.train.completing import Completion
from tunesmith_runtime.train.measuring import Measuring
from tunesmith_runtime.train.recovery import life


@dataclass
class CheckpointCallback(TrainerCallback):
    """Makes each checkpoint complete once the Trainer has written it.

    `before` are the optimizer steps of the run that came before this training. `beside` says that this may go on beside
    the next steps; a checkpoint that is to be measured, or that training ends with, is complete before anything else.
    """

    config: TrainRun
    store: CheckpointStore
    fingerprint: str
    reporter: ProgressReporter
    measuring: Measuring
    before: int = 0
    beside: bool = False
    completion: Completion = field(default_factory=Completion)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Raise what has gone wrong beside training."""
        self.completion.check()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Put the staged checkpoint in its place once every worker has written its part, and report it."""
        wanted, step = self.config.checkpoints, state.global_step
        ledger, here = self.measuring.ledger, self.measuring.awaits
        first, spared = state.is_world_process_zero, ledger.spared(step)
        record = CheckpointRecord(
            step=self.before + step, uri=join(wanted.uri, f"checkpoint-{step}"), metrics=ledger.of(step)
        )

        def complete() -> None:
            self.store.complete(step, self.fingerprint, wanted.keep, spared, here=here)
            if first:
                self.reporter.update(checkpoint=record)

        with life.working():
            self.completion.wait()
            group.wait_for_all()
            if self.beside and not here and not control.should_training_stop:
                self.completion.start(complete)
            else:
                complete()
        self.measuring.completed(step)
