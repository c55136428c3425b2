"""The spec's hyperparameters become transformers' TrainingArguments."""

from typing import Any

import torch

from tunesmith_api.contract import TrainRun
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train import zero
from tunesmith_runtime.train.checkpoints import CheckpointStore

# Peak learning rates when the spec names none: what is usual for all weights, and for an adapter.
FULL_LEARNING_RATE = 2e-5
ADAPTER_LEARNING_RATE = 2e-4
# Methods that move a model a little from where it is need a twentieth of that.
_CAREFUL = {"dpo", "kto", "orpo", "grpo", "ppo"}


def training_arguments(config: TrainRun, store: CheckpointStore, *, validates: bool) -> dict[str, Any]:
    """Return keyword arguments of TrainingArguments. Raises ConfigError for a precision that the machine lacks."""
    wanted, on_gpu = config.training, torch.cuda.is_available()
    precision = _precision(wanted.precision)
    return {
        "output_dir": str(store.staging),
        "save_on_each_node": store.own_staging,
        "num_train_epochs": wanted.num_train_epochs,
        "max_steps": wanted.max_steps or -1,
        "per_device_train_batch_size": wanted.per_device_train_batch_size,
        "per_device_eval_batch_size": wanted.per_device_eval_batch_size,
        "gradient_accumulation_steps": wanted.gradient_accumulation_steps,
        "learning_rate": learning_rate(config),
        "lr_scheduler_type": wanted.lr_scheduler_type,
        "warmup_steps": wanted.warmup_steps,
        "weight_decay": wanted.weight_decay,
        "max_grad_norm": wanted.max_grad_norm,
        "label_smoothing_factor": wanted.label_smoothing_factor,
        "seed": wanted.seed,
        "save_strategy": "steps",
        "save_steps": config.checkpoints.every_steps,
        "eval_strategy": "steps" if validates else "no",
        "eval_steps": config.checkpoints.every_steps if validates else None,
        "prediction_loss_only": True,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not on_gpu,
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "dataloader_pin_memory": on_gpu,
        "activation_checkpointing": wanted.activation_checkpointing,
        "torch_compile": wanted.torch_compile,
        "ddp_find_unused_parameters": False,
        # Nothing that these models keep in buffers changes, and each forward pass would wait for rank 0.
        "ddp_broadcast_buffers": False,
        # One more worker with half the batch learns the same: the loss is the mean over all workers' tokens.
        "average_tokens_across_devices": True,
        "deepspeed": zero.settings(config.deepspeed) if config.deepspeed is not None else None,
    }


def learning_rate(config: TrainRun) -> float:
    """Return the peak learning rate: the spec's, or what is usual for its adapter."""
    if config.training.learning_rate is not None:
        return config.training.learning_rate
    usual = FULL_LEARNING_RATE if config.method.adapter.type == "full" else ADAPTER_LEARNING_RATE
    return usual / 20 if config.method.type in _CAREFUL else usual


def _precision(wanted: str) -> str:
    on_gpu = torch.cuda.is_available()
    if wanted == "auto":
        return "bf16" if on_gpu and torch.cuda.is_bf16_supported() else "fp32"
    if wanted == "fp16" and not on_gpu:
        raise ConfigError("spec.training.precision: fp16 needs a CUDA GPU; set it to auto, bf16 or fp32")
    if wanted == "bf16" and on_gpu and not torch.cuda.is_bf16_supported():
        name = torch.cuda.get_device_name()
        raise ConfigError(f"spec.training.precision: {name} cannot compute in bf16; set it to auto, fp16 or fp32")
    return wanted
