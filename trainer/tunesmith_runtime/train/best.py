"""Weights of an earlier checkpoint come back into a model: into one that has been trained on, and to resume with."""

import importlib
import types
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.utils import load_peft_weights, set_peft_model_state_dict
from transformers import Trainer
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from tunesmith_runtime.train.ppo.policy import PolicyWithValue


def resume_by_name(trainer: Trainer) -> None:
    """Make a Trainer without DeepSpeed resume a whole model by the model's own names.

    By itself it goes by the names in the file and leaves out what it does not find: the experts of a mixture, for one,
    which are saved one by one and are one tensor in the model, would begin again as the base model has them.
    """
    model = trainer.model
    if trainer.is_deepspeed_enabled or isinstance(model, PeftModel | PolicyWithValue):
        return

    def load(own: Trainer, checkpoint: str, model: Any = None) -> None:
        model = own.model if model is None else model
        model.load_state_dict(_saved(model, Path(checkpoint)))

    trainer._load_from_checkpoint = types.MethodType(load, trainer)


def load_weights(trainer: Trainer, checkpoint: Path, *, spread: bool) -> None:
    """Load a checkpoint's weights into the model of a Trainer that has finished training.

    Every worker must call it, and the first one alone reads the checkpoint: with `spread` weights it hands them on to
    the others. The optimizer is left as it is, or given up: it is of no use any more.
    """
    model, first = trainer.accelerator.unwrap_model(trainer.model), trainer.is_world_process_zero()
    if not trainer.is_deepspeed_enabled:
        _free(trainer, model)
    if isinstance(model, PeftModel):
        learning = [weight for weight in model.parameters() if weight.requires_grad]
        with _gathered(learning, spread=spread):
            if first:
                set_peft_model_state_dict(model, load_peft_weights(checkpoint, device="cpu"))
        return
    if isinstance(model, PolicyWithValue):
        if first:
            trainer._load_from_checkpoint(str(checkpoint))
        return
    saved = _saved(model, checkpoint) if first else {}
    for name, weight in [*model.named_parameters(), *([] if spread else model.named_buffers())]:
        with _gathered([weight], spread=spread), torch.no_grad():
            if name in saved:
                weight.copy_(saved[name])


def _saved(model: Any, checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return the checkpoint's weights by the model's own names, which are not always those that they are saved by."""
    unset_hf_deepspeed_config()  # it would spread this one as well
    weights: dict[str, torch.Tensor] = (
        type(model).from_pretrained(checkpoint, dtype=model.dtype, local_files_only=True).state_dict()
    )
    return weights


def _gathered(weights: Sequence[torch.Tensor], *, spread: bool) -> AbstractContextManager[Any]:
    """Return a context in which the first worker can change weights that ZeRO-3 has spread."""
    if not spread:
        return nullcontext()
    gathering: Any = importlib.import_module("deepspeed").zero.GatheredParameters
    context: AbstractContextManager[Any] = gathering(list(weights), modifier_rank=0)
    return context


def _free(trainer: Trainer, model: torch.nn.Module) -> None:
    """Give up what only training needs, because a second model must fit beside the first."""
    model.zero_grad(set_to_none=True)
    trainer.optimizer = trainer.lr_scheduler = None
    trainer.callback_handler.optimizer = trainer.callback_handler.lr_scheduler = None
    trainer.accelerator.free_memory()
