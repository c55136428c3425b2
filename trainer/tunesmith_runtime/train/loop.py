"""What each worker of a training run does, whatever the method: load, train from the last checkpoint, save."""

import functools
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from tunesmith_api.contract import TrainRun
from tunesmith_runtime import process, storage
from tunesmith_runtime.errors import RunError, storage_error
from tunesmith_runtime.models.adapters import apply_adapter
from tunesmith_runtime.models.loading import load_model, load_tokenizer
from tunesmith_runtime.models.publishing import save_model
from tunesmith_runtime.models.tasks import read_config
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train import checkpoints, group, recipes, stages, universal, zero
from tunesmith_runtime.train.arguments import training_arguments
from tunesmith_runtime.train.best import resume_by_name
from tunesmith_runtime.train.buckets import use_buckets
from tunesmith_runtime.train.checkpoints import Checkpoint, CheckpointStore
from tunesmith_runtime.train.completing import Completion
from tunesmith_runtime.train.domain import training as domain
from tunesmith_runtime.train.history import history_file
from tunesmith_runtime.train.inputs import TokenisedData
from tunesmith_runtime.train.ledger import Ledger
from tunesmith_runtime.train.measuring import Measuring, NothingLeftError, open_ledger
from tunesmith_runtime.train.packing import check_packed_apart
from tunesmith_runtime.train.ppo.policy import PolicyWithValue
from tunesmith_runtime.train.recipes.recipe import Setup
from tunesmith_runtime.train.recovery import life, skipped
from tunesmith_runtime.train.recovery.attempt import Outcome
from tunesmith_runtime.train.recovery.ending import Bounds, Ending
from tunesmith_runtime.train.recovery.living import LivingCallback
from tunesmith_runtime.train.recovery.recovered import Recovered
from tunesmith_runtime.train.saving import CheckpointCallback
from tunesmith_runtime.train.stages import Stage
from tunesmith_runtime.train.timing import Timeline
from tunesmith_runtime.train.watching import watch

# How often a method passes each token through a model that does not learn.
_REFERENCE_PASSES = {"dpo": 1, "kto": 1}


@dataclass
class DeepSpeedCallback(TrainerCallback):
    """Looks at what training is about to begin with."""

    trainer: Trainer
    check_packed: bool

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Raise RunError when it is not DeepSpeed, or when a model whose weights are spread cannot be packed for."""
        zero.check_wrapped(self.trainer)
        if state.global_step == 0:
            zero.begin_with_no_step(self.trainer)
        if self.check_packed:
            check_packed_apart(self.trainer.accelerator.unwrap_model(self.trainer.model))


def train(
    config: TrainRun,
    data: TokenisedData,
    staged: Path | None,
    reporter: ProgressReporter,
    bounds: Bounds | None = None,
    lost_at: float | None = None,
) -> Outcome:
    """Train on this worker, from the last complete checkpoint if there is one; rank 0 saves the model to `staged`.

    Without `staged` the checkpoints are all that is left of it. `bounds` may end it early; `lost_at` is when workers
    were lost in whose place these are, by the monotonic clock.

    Raises RunError with what a user can do about it.
    """
    torch.set_num_threads(max(1, process.cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    if config.deepspeed is not None:
        zero.prepare(config.deepspeed)
    data = data.here()
    outcome = Outcome()
    fit = functools.partial(_train, bounds=bounds, lost_at=lost_at, outcome=outcome)
    if data.domain is None:
        trainer, setup = fit(config, data, reporter, stages.ONLY)
    else:
        trainer, setup = domain.train(config, data, reporter, fit, lambda: outcome.partial)
    if staged is None:
        return outcome
    weights = zero.whole_weights(trainer) if zero.spreads_weights(config.deepspeed) else None
    if trainer.is_world_process_zero():
        reporter.update(stage="saving the model")
        model = trainer.accelerator.unwrap_model(trainer.model)
        if isinstance(model, PolicyWithValue):
            model = model.policy
        base = storage.model_path(config.model)
        save_model(model, setup.tokenizer, staged, str(base), weights, merge=config.output.merge)
    return outcome


def _train(
    config: TrainRun,
    data: TokenisedData,
    reporter: ProgressReporter,
    stage: Stage,
    *,
    bounds: Bounds | None,
    lost_at: float | None,
    outcome: Outcome,
) -> tuple[Trainer, Setup]:
    """Train a stage to its end, from its last complete checkpoint if there is one; `outcome` takes up how it ended."""
    store = checkpoints.store(config.checkpoints.uri)
    store.prepare()
    group.wait_for_all()
    arguments = training_arguments(config, store, validates=bool(data.validation))
    # Before the model, and kept: with ZeRO-3 each worker then loads its part of the weights only.
    common = TrainingArguments(**arguments)
    resume = readable = store.latest(data.fingerprint)
    if group.is_first():
        skipped.report(store.skipped(), reporter)
    if resume is not None:
        zero.check_resumable(resume.path, config.deepspeed, common.world_size)
        if config.deepspeed is not None and zero.is_spread_otherwise(resume.path, common.world_size):
            readable = universal.converted(resume, store)
            arguments["deepspeed"] = zero.settings(config.deepspeed, universal=True)
    setup = _setup(config, data, arguments, stage)
    trainer = recipes.find(data.task, config.method.type).trainer(setup)
    ledger = open_ledger(config, resume, store)
    timeline = _equip(trainer, setup, data, reporter, stage, ledger)
    ending = Ending(bounds, has_weights=resume is not None or stage.start is not None) if bounds else None
    hurries = (lambda: ending.hurries) if ending else (lambda: False)
    measuring = Measuring(trainer, setup.tokenizer, config, ledger, store, reporter, resume, stage.before, hurries)
    measuring.attach(timeline)
    if ending is not None:
        trainer.add_callback(ending)
    trainer.add_callback(LivingCallback())
    saving = CheckpointCallback(
        config, store, data.fingerprint, reporter, measuring, stage.before, beside=bounds is not None
    )
    trainer.add_callback(saving)
    if trainer.is_world_process_zero():
        reporter.update(state="Running", stage=stage.title)
        if stage.resumes:
            reporter.update(resumed_from_step=stage.before + (resume.step if resume else 0))
            if lost_at is not None:
                trainer.add_callback(Recovered(reporter, lost_at, resume.step if resume else 0, stage.before))
    if readable is not None and readable is not resume:
        trainer.add_callback(universal.ForgettingCallback(readable))
    _run(trainer, readable, store, measuring, ending, saving.completion)
    step, total = trainer.state.global_step, trainer.state.max_steps
    left = stage.after > 0 or (step < total and not ledger.stopped)
    over = ending is not None and ending.over
    outcome.note(stage.before + step, stage.before + total + stage.after, partial=over and left)
    return trainer, setup


def _setup(config: TrainRun, data: TokenisedData, arguments: dict[str, Any], stage: Stage) -> Setup:
    path, adapter = storage.model_path(config.model), config.method.adapter
    start = path
    if stage.start is not None and adapter.type == "full":
        start = stage.start
    elif stage.start is not None:
        adapter = adapter.model_copy(update={"continue_from": f"file://{stage.start.resolve()}"})
    set_seed(config.training.seed)  # of a new head's and a new adapter's weights
    model = load_model(
        start,
        data.task,
        _held_in(path, frozen=adapter.type != "full", bf16=arguments["bf16"]),
        labels=data.labels,
        reward=config.method.type == "rm",
        load_in_4bit=adapter.load_in_4bit,
    )
    if config.data.packing == "bfd" and not zero.spreads_weights(config.deepspeed):
        check_packed_apart(model)
    return Setup(
        config=config,
        model=apply_adapter(model, adapter, data.task),
        tokenizer=load_tokenizer(path, data.task),
        arguments=arguments,
        train=data.train.dataset() if stage.kept is None else data.train.dataset().select(stage.kept),
        validation={name: rows.dataset() for name, rows in data.validation.items()},
        labels=data.labels,
    )


def _held_in(path: Path, *, frozen: bool, bf16: bool) -> torch.dtype:
    """Return what to hold a model's weights in.

    They are multiplied in what autocast says, and those that learn stay exact, in fp32. Frozen ones take half the
    memory where nothing is lost by it: where bf16 is what their files hold and what they are multiplied in.
    """
    return torch.bfloat16 if frozen and bf16 and read_config(path).dtype == torch.bfloat16 else torch.float32


def _equip(
    trainer: Trainer, setup: Setup, data: TokenisedData, reporter: ProgressReporter, stage: Stage, ledger: Ledger
) -> Timeline:
    """Give the Trainer what all methods have: buckets, a look at DeepSpeed, and what watches it."""
    config = setup.config
    trainer.remove_callback(PrinterCallback)
    resume_by_name(trainer)
    if isinstance(trainer.eval_dataset, dict) and len(trainer.eval_dataset) == 1:
        (trainer.eval_dataset,) = trainer.eval_dataset.values()  # its loss is eval_loss, without a name
    if config.data.length_buckets:
        use_buckets(trainer, setup.train["length"], config.data, config.training)
    if config.deepspeed is not None:
        packed = config.data.packing == "bfd"
        trainer.add_callback(DeepSpeedCallback(trainer, packed and zero.spreads_weights(config.deepspeed)))
    return watch(
        trainer,
        reporter,
        streams=data.streams,
        stream_losses=setup.stream_losses.take,
        history=stage.history or history_file(config.checkpoints.uri),
        forwards=_REFERENCE_PASSES.get(config.method.type, 0),
        stage=stage,
        metrics=ledger.metrics,
    )


def _run(
    trainer: Trainer,
    resume: Checkpoint | None,
    store: CheckpointStore,
    measuring: Measuring,
    ending: Ending | None,
    completion: Completion,
) -> None:
    try:
        with suppress(NothingLeftError), life.working():
            trainer.train(resume_from_checkpoint=str(resume.path) if resume else None)
        completion.wait()
        if ending is not None:
            ending.finish(trainer.state.global_step)
        measuring.finish()
    except RunError:
        raise
    except Exception as error:
        found = storage_error(
            error, f"checkpoint {trainer.state.global_step} was written to {store.uri} (complete ones are kept)"
        )
        if found is None:
            raise
        raise found from error
    finally:
        completion.settle()
        if ending is not None:
            ending.close()
        measuring.close()
        store.clear()
