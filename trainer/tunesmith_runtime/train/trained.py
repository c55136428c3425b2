"""A checkpoint of a causal language model becomes a model again, without a Trainer."""

from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import PreTrainedModel

from tunesmith_api.training import Adapter
from tunesmith_runtime.models import wrapping
from tunesmith_runtime.models.adapters import apply_adapter
from tunesmith_runtime.models.loading import load_model
from tunesmith_runtime.models.tasks import ADAPTER_CONFIG
from tunesmith_runtime.train.ppo.trainer import WEIGHTS as PPO_WEIGHTS

_POLICY = "policy."


def load_trained(checkpoint: Path, base: Path, adapter: Adapter) -> PreTrainedModel | PeftModel:
    """Return the model of a checkpoint's folder in fp32; an adapter is put onto the base model, and not merged.

    The base model's weights are held in 4 bits when the adapter was trained so and there is a GPU. Raises ModelError.
    """
    four_bits = adapter.load_in_4bit and torch.cuda.is_available()
    if (checkpoint / ADAPTER_CONFIG).is_file():
        return wrapping.load(load_model(base, "causal-lm", torch.float32, load_in_4bit=four_bits), checkpoint)
    if (checkpoint / PPO_WEIGHTS).is_file():
        model = apply_adapter(
            load_model(base, "causal-lm", torch.float32, load_in_4bit=four_bits), adapter, "causal-lm"
        )
        saved = load_file(checkpoint / PPO_WEIGHTS)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if _POLICY + name in saved:
                    weight.copy_(saved[_POLICY + name])
        return model
    return load_model(checkpoint, "causal-lm", torch.float32)
