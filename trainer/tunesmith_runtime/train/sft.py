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
from tunesmith_runtime import storage
from tunesmith_runtime.errors import RunError, StorageFullError
from tunesmith_runtime.models.adapters import lora_config
from tunesmith_runtime.models.loading import load_causal_lm, load_tokenizer
from tunesmith_runtime.models.publishing import save_model
from tunesmith_runtime.progress import ProgressReporter
from tunesmith_runtime.train import checkpoints
from tunesmith_runtime.train.inputs import TokenisedData
from tunesmith_runtime.train.packing import PackedCollator, check_packed_apart
from tunesmith_runtime.train.telemetry import ProgressCallback, TokenCounter

# Peak learning rates when the spec names none: what is usual for each.
DEFAULT_LEARNING_RATE = {"lora": 2e-4, "full": 2e-5}


@dataclass
class CheckpointCallback(TrainerCallback):
    """Makes each checkpoint complete as soon as the Trainer has written it."""

    config: TrainRun
    folder: Path
    fingerprint: str
    reporter: ProgressReporter

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Rename the staged checkpoint into place once every worker has written its part, and report it."""
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        if not state.is_world_process_zero:
            return
        wanted = self.config.checkpoints
        done = checkpoints.complete(self.folder, state.global_step, self.fingerprint, wanted.keep)
        record = CheckpointRecord(step=done.step, uri=join(wanted.uri, done.path.name))
        self.reporter.update(checkpoint=record)


def train(config: TrainRun, data: TokenisedData, staged: Path, reporter: ProgressReporter) -> None:
    """Train on this worker, from the last complete checkpoint if there is one; rank 0 saves the model to `staged`.

    Raises RunError with what a user can do about it.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    path = storage.model_path(config.model)
    tokenizer = load_tokenizer(path)
    model = load_causal_lm(path, torch.float32)  # bf16 comes by autocast: the weights that learn stay exact
    packed = config.data.packing == "bfd"
    if packed:
        check_packed_apart(model)
    folder = storage.local_path(config.checkpoints.uri)
    resume = checkpoints.latest(folder, data.fingerprint)
    trainer = SFTTrainer(
        model=model,
        args=_arguments(config, checkpoints.staging_folder(folder), validates=data.validation is not None),
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
    trainer.add_callback(CheckpointCallback(config, folder, data.fingerprint, reporter))
    _run(trainer, resume, folder)
    if trainer.is_world_process_zero():
        reporter.update(stage="saving the model")
        save_model(trainer.accelerator.unwrap_model(trainer.model), tokenizer, staged, str(path))


def _run(trainer: SFTTrainer, resume: checkpoints.Checkpoint | None, folder: Path) -> None:
    try:
        trainer.train(resume_from_checkpoint=str(resume.path) if resume else None)
    except RunError:
        raise
    except Exception as error:
        full = StorageFullError.caused_by(
            error, f"checkpoint {trainer.state.global_step} was written to {folder} (complete ones are kept)"
        )
        raise full or error from error
    finally:
        checkpoints.staging_folder(folder).rmdir()


def _arguments(config: TrainRun, output: Path, *, validates: bool) -> SFTConfig:
    wanted, on_gpu = config.training, torch.cuda.is_available()
    learning_rate = wanted.learning_rate
    if learning_rate is None:
        learning_rate = DEFAULT_LEARNING_RATE[config.method.adapter.type]
    return SFTConfig(
        output_dir=str(output),
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
        # Records come tokenised, labelled and none too long: nothing is left for TRL to prepare or to cut.
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
