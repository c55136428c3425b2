"""Measures the checkpoints of a run, stops it when it no longer gets better, and brings the best weights back."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import (
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tunesmith_api.contract import TrainRun
from tunesmith_api.evaluation import EVAL_LOSS
from tunesmith_api.finetunejob import CheckpointRecord
from tunesmith_api.uris import join
from tunesmith_runtime.errors import RunError
from tunesmith_runtime.evaluate.samples import LoadedSuite
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train import zero
from tunesmith_runtime.train.best import load_weights
from tunesmith_runtime.train.checkpoint_process import CheckpointProcess
from tunesmith_runtime.train.checkpoints import Checkpoint, CheckpointStore
from tunesmith_runtime.train.history import MEASURED, History, history_file
from tunesmith_runtime.train.leading import Leader
from tunesmith_runtime.train.ledger import Ledger
from tunesmith_runtime.train.live_measuring import measure_live
from tunesmith_runtime.train.measurable import read_suites
from tunesmith_runtime.train.precision import Precision
from tunesmith_runtime.train.recovery import life
from tunesmith_runtime.train.room import has_room
from tunesmith_runtime.train.stopping import Rule, sentence
from tunesmith_runtime.train.timing import Timeline

# How often, between two checkpoints, the workers ask whether the process that measures has ended.
LOOKS = 10

# The checkpoint of a step, and what it was measured to be.
Found = tuple[int, Mapping[str, float]]


class NothingLeftError(Exception):
    """A run that goes on from its last step, or from where it was stopped, has nothing to train."""


def open_ledger(config: TrainRun, resume: Checkpoint | None, store: CheckpointStore) -> Ledger:
    """Return what is known of a run's checkpoints as it begins, or goes on from one of them."""
    wanted = config.evaluation
    rule = Rule.of(wanted.early_stopping) if wanted and wanted.early_stopping else None
    if resume is None:
        return Ledger(rule)
    ledger = Ledger.read(resume.path, rule)
    if ledger.latest is None and wanted and wanted.suites:
        ledger.awaited = resume.step
    if ledger.best and ledger.best.step != resume.step and not store.has(ledger.best.step):
        ledger.lose_best()
    return ledger


class Measuring(TrainerCallback):
    """Measures each checkpoint of a Trainer. Every worker has one; the first measures, and all decide the same.

    Either the first worker measures the model between two steps, just before it is saved; or a process measures what
    was saved, and training goes on meanwhile, at most to the next checkpoint. What is known is saved with each.
    """

    def __init__(
        self,
        trainer: Trainer,
        tokenizer: PreTrainedTokenizerBase,
        config: TrainRun,
        ledger: Ledger,
        store: CheckpointStore,
        reporter: ProgressReporter,
        resume: Checkpoint | None = None,
        before: int = 0,
        hurries: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take what a worker has; `before` are the optimizer steps of the run that came before this training.

        `hurries` says that training is being ended, so that there is no time to measure the checkpoint that is saved.
        """
        self.ledger = ledger
        self._trainer = trainer
        self._tokenizer = tokenizer
        self._config = config
        self._store = store
        self._reporter = reporter
        self._resume = resume
        self._before = before
        self._hurries = hurries
        self._wanted = bool(config.evaluation and config.evaluation.suites)
        self._suites: Sequence[LoadedSuite] = ()
        self._process: CheckpointProcess | None = None
        self._beside: bool | None = None
        self._underway = False
        self._leader: Leader[list[Found]] = Leader()
        self._history = History(history_file(config.checkpoints.uri))

    def attach(self, timeline: Timeline) -> None:
        """Have the Trainer measure whatever it saves; `timeline` counts the time as evaluation."""
        save = self._trainer._save_checkpoint

        def measured(*arguments: Any, **options: Any) -> None:
            if self._hurries():
                self._put_off()
            else:
                with timeline.section("evaluation"):
                    self._before_save()
            with life.working():
                save(*arguments, **options)
            if self._trainer.is_world_process_zero():
                state = self._trainer.state
                self.ledger.save(Path(self._trainer.args.output_dir, f"checkpoint-{state.global_step}"))

        self._trainer._save_checkpoint = measured
        self._trainer.add_callback(self)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure the checkpoint that training goes on from when that was cut off; report what is known of it."""
        ledger = self.ledger
        if self._resume is not None and ledger.owed == self._resume.step:
            ledger.owed = None
            if args.eval_strategy != "no":
                self._trainer.evaluate()
            self._before_save()
        if self._resume is not None and ledger.awaited == self._resume.step:
            self._take(self._leader.find(self._between))
            self._begin(self._resume.step, self._resume.path)
        elif ledger.awaited is not None:
            self._begin_before(ledger.awaited)
        if self.ledger.best:
            self._report()

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Raise NothingLeftError when there is no step left: the Trainer would do one nevertheless."""
        if self.ledger.stopped or state.global_step >= state.max_steps:
            raise NothingLeftError

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Look from time to time whether a checkpoint has been measured, and stop when that says so."""
        if not self._underway or state.global_step % max(1, self._config.checkpoints.every_steps // LOOKS):
            return
        self._take(self._leader.find(lambda: self._collected(wait=False)))
        if self.ledger.stopped:
            control.should_training_stop = True

    def completed(self, step: int) -> None:
        """Begin to measure the checkpoint that has just been completed, if that is to be."""
        self._begin(step, self._store.folder_of(step))

    @property
    def awaits(self) -> bool:
        """Whether the checkpoint that is being saved will be measured once it is complete."""
        return self.ledger.awaited == self._trainer.state.global_step

    def finish(self) -> None:
        """Wait for what is being measured; with early stopping, bring the best weights back and say why it ended.

        Raises RunError when they are no longer there.
        """
        if not self._hurries():
            self._wait()
        ledger, step = self.ledger, self._trainer.state.global_step
        if ledger.rule is None:
            return
        if ledger.best is not None and ledger.best.step != step:
            self._bring_back(ledger.best.step)
        if self._trainer.is_world_process_zero():
            self._reporter.update(ending=sentence(ledger.standing, ledger.rule, step))

    def close(self) -> None:
        """End what is being measured."""
        if self._process is not None:
            self._process.close()

    def _put_off(self) -> None:
        """Leave what is to be measured to the attempt that goes on from this checkpoint."""
        state = self._trainer.state
        due = state.global_step % self._config.checkpoints.every_steps == 0 or state.global_step >= state.max_steps
        if due and not self.ledger.stopped:
            self.ledger.owed = state.global_step

    def _before_save(self) -> None:
        ledger, state = self.ledger, self._trainer.state
        self._wait()
        if not ledger.stopped:
            loss = _eval_loss(self._trainer)
            if loss is not None:
                ledger.note(state.global_step, {EVAL_LOSS: loss})
            if self._wanted:
                ledger.awaited = state.global_step
                self._take(self._leader.find(self._between))
            self._report()
        if ledger.stopped:
            self._trainer.control.should_training_stop = True

    def _between(self) -> list[Found]:
        """Measure the live model as the awaited checkpoint, unless a process is to do it."""
        if self._in_process():
            return []
        step = self._trainer.state.global_step
        self._suites = self._suites or read_suites(self._config)
        batch_size = self._config.training.per_device_eval_batch_size
        return [
            (step, measure_live(self._trainer, self._tokenizer, self._suites, self._precision, batch_size=batch_size))
        ]

    def _begin(self, step: int, checkpoint: Path) -> None:
        self._underway = self.ledger.awaited == step
        if self._underway and self._trainer.is_world_process_zero():
            self._process = self._process or CheckpointProcess(self._config, self._precision)
            self._process.start(step, checkpoint)

    def _begin_before(self, step: int) -> None:
        """Begin again to measure a checkpoint before the one that training goes on from, if it is still there."""
        there = self._leader.find(lambda: [(step, {})] if self._store.fetch(step) is not None else [])
        if there:
            self._begin(step, self._store.folder_of(step))
        else:
            self.ledger.awaited = None

    def _wait(self) -> None:
        if self._underway:
            with life.working():
                self._take(self._leader.find(lambda: self._collected(wait=True)))

    def _collected(self, *, wait: bool) -> list[Found]:
        found = self._process.collect(wait=wait) if self._process is not None else None
        return [found] if found is not None else []

    def _take(self, news: list[Found]) -> None:
        for step, metrics in news:
            self._underway = False
            self.ledger.awaited = None
            self.ledger.note(step, metrics)
            known = {each.metric: each.value for each in self.ledger.of(step) if each.metric in metrics}
            self._trainer.state.log_history.append({"step": step, MEASURED: known})
            if self._trainer.is_world_process_zero():
                self._history.append({"step": step, MEASURED: known}, always=True)
                print(f"checkpoint {step}: {_line(metrics)}", flush=True)  # noqa: T201 - the run's log
        if news:
            self._report()

    def _report(self) -> None:
        if not self._trainer.is_world_process_zero():
            return
        ledger, document = self.ledger, self._reporter.read()
        changes: dict[str, Any] = {}
        if document.training is not None:
            changes["training"] = document.training.model_copy(update={"metrics": ledger.metrics()})
        if document.checkpoint is not None and (known := ledger.of(document.checkpoint.step - self._before)):
            changes["checkpoint"] = document.checkpoint.model_copy(update={"metrics": known})
        if ledger.best is not None:
            changes["best"] = self._record(ledger.best.step)
        if changes:
            self._reporter.update(**changes)

    def _record(self, step: int) -> CheckpointRecord:
        uri = join(self._config.checkpoints.uri, f"checkpoint-{step}")
        return CheckpointRecord(step=self._before + step, uri=uri, metrics=self.ledger.of(step))

    def _bring_back(self, step: int) -> None:
        self._leader.find(lambda: self._fetched(step))
        spread = zero.spreads_weights(self._config.deepspeed)
        load_weights(self._trainer, self._store.folder_of(step), spread=spread)

    def _fetched(self, step: int) -> list[Found]:
        if self._store.fetch(step) is None:
            raise RunError(
                f"{join(self._config.checkpoints.uri, f'checkpoint-{step}')}, the best checkpoint, is damaged or gone, "
                "so that its weights cannot be published"
            )
        return []

    def _in_process(self) -> bool:
        if self._beside is None:
            wanted = self._config.evaluation.parallel if self._config.evaluation else None
            if wanted is None:
                wanted = zero.spreads_weights(self._config.deepspeed) or has_room(
                    _weight_bytes(self._trainer), workers=int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
                )
            self._beside = wanted
        return self._beside

    @property
    def _precision(self) -> Precision:
        args = self._trainer.args
        return "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"


def _eval_loss(trainer: Trainer) -> float | None:
    """Return the evaluation loss of the current step; on several sets of records, the mean of their losses."""
    sets = trainer.eval_dataset if isinstance(trainer.eval_dataset, dict) else None
    names = [f"eval_{name}_loss" for name in sets] if sets else ["eval_loss"]
    logged: dict[str, float] = {}
    for entry in trainer.state.log_history:
        if entry.get("step") == trainer.state.global_step:
            logged.update({name: entry[name] for name in names if name in entry})
    return sum(logged.values()) / len(logged) if logged else None


def _weight_bytes(trainer: Trainer) -> int:
    return sum(4 * int(getattr(weight, "ds_numel", weight.numel())) for weight in trainer.model.parameters())


def _line(metrics: Mapping[str, float]) -> str:
    return " ".join(f"{name}={value:.6g}" for name, value in metrics.items())
