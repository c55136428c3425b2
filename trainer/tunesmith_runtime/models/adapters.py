"""Which weights are trained."""

import torch
from peft import LoraConfig
from transformers import PreTrainedModel

from tunesmith_api.finetunejob import Adapter
from tunesmith_runtime.errors import ConfigError

ALL_LINEAR = "all-linear"


def lora_config(adapter: Adapter, model: PreTrainedModel) -> LoraConfig | None:
    """Return PEFT's configuration of the adapter, or None for full fine-tuning.

    Raises ConfigError when `targetModules` names a module that the model does not have.
    """
    if adapter.type == "full":
        return None
    wanted = list(adapter.target_modules)
    if wanted != [ALL_LINEAR]:
        _check_names(wanted, model)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=ALL_LINEAR if wanted == [ALL_LINEAR] else wanted,
    )


def _check_names(wanted: list[str], model: PreTrainedModel) -> None:
    present = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(weight := getattr(module, "weight", None), torch.Tensor) and weight.ndim >= 2
    }
    missing = [name for name in wanted if name.rpartition(".")[2] not in present]
    if missing:
        raise ConfigError(
            f"method.adapter.targetModules: the model has no module named {', '.join(missing)}; it has "
            f"{', '.join(sorted(present))}; {ALL_LINEAR} stands alone"
        )
