"""Supervised fine-tuning of a causal language model: what each worker of a run does."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import load_from_disk
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from trl import SFTConfig, SFTTrainer

from tunesmith_api.contract import TrainRun
from tunesmith_api.finetunejob import CheckpointRecord
from tunesmith_api.uris import join
from tunesmith_runtime import process, storage
from tunesmith_runtime.errors import RunError, StorageFullError
from tunesmith_runtime.models.adapters import lora_config
from tunesmith_runtime.models.loading import load_causal_lm, load_tokenizer
from tunesmith_runtime.models.publishing import save_model
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train import checkpoints, group, zero
from tunesmith_runtime.train.checkpoints import Checkpoint, CheckpointStore
from tunesmith_runtime.train.inputs import TokenisedData
from tunesmith_runtime.train.packing import PackedCollator, check_packed_apart
from tunesmith_runtime.train.telemetry import ProgressCallback, TokenCounter

# Peak learning rates when the spec names none: what is usual for each.
DEFAULT_LEARNING_RATE = {"lora": 2e-4, "full": 2e-5}


@dataclass
class CheckpointCallback(TrainerCallback):
    """Makes each checkpoint complete as soon as the Trainer has written it."""

    config: TrainRun
    store: CheckpointStore
    fingerprint: str
    reporter: ProgressReporter

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Put the staged checkpoint in its place once every worker has written its part, and report it."""
        group.wait_for_all()
        wanted, step = self.config.checkpoints, state.global_step
        self.store.complete(step, self.fingerprint, wanted.keep)
        if state.is_world_process_zero:
            self.reporter.update(checkpoint=CheckpointRecord(step=step, uri=join(wanted.uri, f"checkpoint-{step}")))


@dataclass
class DeepSpeedCallback(TrainerCallback):
    """Looks at what training is about to begin with."""

    trainer: SFTTrainer
    check_packed: bool

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Raise RunError when it is not DeepSpeed, or when a model whose weights are spread cannot be packed for."""
        zero.check_wrapped(self.trainer)
        if self.check_packed:
            check_packed_apart(self.trainer.accelerator.unwrap_model(self.trainer.model))


def train(config: TrainRun, data: TokenisedData, staged: Path, reporter: ProgressReporter) -> None:
    """Train on this worker, from the last complete checkpoint if there is one; rank 0 saves the model to `staged`.

    Raises RunError with what a user can do about it.
    """
    torch.set_num_threads(max(1, process.cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    if config.deepspeed is not None:
        zero.prepare()
    data = data.here()
    store = checkpoints.store(config.checkpoints.uri)
    store.prepare()
    group.wait_for_all()
    # Before the model: with ZeRO-3 each worker then loads its part of the weights only.
    arguments = _arguments(config, store, validates=data.validation is not None)
    resume = store.latest(data.fingerprint)
    if resume is not None:
        zero.check_resumable(resume.path, config.deepspeed, arguments.world_size)
    path = storage.model_path(config.model)
    tokenizer = load_tokenizer(path)
    model = load_causal_lm(path, torch.float32)  # bf16 comes by autocast: the weights that learn stay exact
    packed = config.data.packing == "bfd"
    if packed and not zero.spreads_weights(config.deepspeed):
        check_packed_apart(model)
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=load_from_disk(str(data.train)),
        eval_dataset=load_from_disk(str(data.validation)) if data.validation else None,
        processing_class=tokenizer,
        data_collator=PackedCollator(tokenizer.pad_token_id) if packed else None,
        peft_config=lora_config(config.method.adapter, model),
    )
    counter = TokenCounter(trainer.data_collator)
    trainer.data_collator = counter
    trainer.remove_callback(PrinterCallback)
    if trainer.is_world_process_zero():
        trainer.add_callback(ProgressCallback(reporter, counter, workers=trainer.args.world_size))
        reporter.update(state="Running", stage="training", resumed_from_step=resume.step if resume else 0)
    if config.deepspeed is not None:
        trainer.add_callback(DeepSpeedCallback(trainer, packed and zero.spreads_weights(config.deepspeed)))
    trainer.add_callback(CheckpointCallback(config, store, data.fingerprint, reporter))
    _run(trainer, resume, store)
    weights = zero.whole_weights(trainer) if zero.spreads_weights(config.deepspeed) else None
    if trainer.is_world_process_zero():
        reporter.update(stage="saving the model")
        save_model(trainer.accelerator.unwrap_model(trainer.model), tokenizer, staged, str(path), weights)


def _run(trainer: SFTTrainer, resume: Checkpoint | None, store: CheckpointStore) -> None:
    try:
        trainer.train(resume_from_checkpoint=str(resume.path) if resume else None)
    except RunError:
        raise
    except Exception as error:
        full = StorageFullError.caused_by(
            error, f"checkpoint {trainer.state.global_step} was written to {store.uri} (complete ones are kept)"
        )
        raise full or error from error
    finally:
        store.clear()


def _arguments(config: TrainRun, store: CheckpointStore, *, validates: bool) -> SFTConfig:
    wanted, on_gpu = config.training, torch.cuda.is_available()
    learning_rate = wanted.learning_rate
    if learning_rate is None:
        learning_rate = DEFAULT_LEARNING_RATE[config.method.adapter.type]
    return SFTConfig(
        output_dir=str(store.staging),
        save_on_each_node=store.own_staging,
        num_train_epochs=wanted.num_train_epochs,
        max_steps=wanted.max_steps or -1,
        per_device_train_batch_size=wanted.per_device_train_batch_size,
        per_device_eval_batch_size=wanted.per_device_eval_batch_size,
        gradient_accumulation_steps=wanted.gradient_accumulation_steps,
        learning_rate=learning_rate,
        lr_scheduler_type=wanted.lr_scheduler_type,
        warmup_steps=wanted.warmup_steps,
        weight_decay=wanted.weight_decay,
        max_grad_norm=wanted.max_grad_norm,
        seed=wanted.seed,
        save_strategy="steps",
        save_steps=config.checkpoints.every_steps,
        eval_strategy="steps" if validates else "no",
        eval_steps=config.checkpoints.every_steps if validates else None,
        prediction_loss_only=True,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not on_gpu,
        bf16=on_gpu and torch.cuda.is_bf16_supported(),
        dataloader_pin_memory=on_gpu,
        activation_checkpointing=False,
        ddp_find_unused_parameters=False,
        # One more worker with half the batch learns the same: the loss is the mean over all workers' tokens.
        average_tokens_across_devices=True,
        deepspeed=zero.settings(config.deepspeed) if config.deepspeed is not None else None,
        # Records come tokenised, labelled and none too long: nothing is left for TRL to prepare or to cut.
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
