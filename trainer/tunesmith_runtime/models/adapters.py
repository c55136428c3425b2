"""Which weights are trained: an adapter is checked, and put onto its model."""

import inspect
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from peft import (
    IA3Config,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptTuningConfig,
    prepare_model_for_kbit_training,
)
from peft.utils.constants import (
    TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING,
    TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING,
)
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tunesmith_api.training import Adapter, Task
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.models import continuing, wrapping
from tunesmith_runtime.models.heads import head_names
from tunesmith_runtime.models.loading import skeleton
from tunesmith_runtime.models.positions import learnt_positions
from tunesmith_runtime.models.support import refusal
from tunesmith_runtime.models.tasks import PEFT_TASKS, kind_of, read_config

ALL_LINEAR = "all-linear"
_FIELD = "spec.method.adapter"


def check_adapter(
    model: Path | PretrainedConfig,
    adapter: Adapter,
    task: Task,
    *,
    reward: bool = False,
    max_length: int | None = None,
) -> None:
    """Raise ConfigError when the adapter cannot train the model; of the model only config.json is read.

    `reward` says that a model of task causal-lm gets a head of one output, `max_length` how many tokens its longest
    input has. An adapter to go on from is compared, too.
    """
    if adapter.type == "full":
        return
    config = model if isinstance(model, PretrainedConfig) else read_config(model)
    empty = skeleton(config, task, reward=reward)
    if max_length is not None:
        _check_positions(adapter, empty, max_length)
    if adapter.continue_from is not None:
        _check_fits(adapter, empty, task)
        continuing.check(adapter, empty, peft_task(empty, task))
        return
    wanted = peft_config(adapter, empty, task)
    try:
        wrapping.wrap(empty, wanted)
    except ValueError as error:  # what PEFT alone knows of a model
        sentence = " ".join(str(error).split())[:500]
        raise ConfigError(f"{_FIELD}: PEFT cannot put it onto {type(empty).__name__}: {sentence}") from error


def apply_adapter(model: PreTrainedModel, adapter: Adapter, task: Task) -> PreTrainedModel | PeftModel:
    """Return the model with its adapter, whose weights alone will learn, in fp32; with all weights for type full.

    The adapter is a new one, or that of `continueFrom` as it stands. Raises ConfigError.
    """
    if adapter.type == "full":
        return model
    adapted = _adapted(model, adapter, task)
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return adapted


def _adapted(model: PreTrainedModel, adapter: Adapter, task: Task) -> PeftModel:
    if getattr(model, "is_quantized", False):
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if adapter.continue_from is not None:
        _check_fits(adapter, model, task)
        return continuing.resume(adapter, model, peft_task(model, task))
    return wrapping.wrap(model, peft_config(adapter, model, task))


def peft_config(adapter: Adapter, model: PreTrainedModel, task: Task) -> PeftConfig | None:
    """Return PEFT's configuration of a new adapter, or None for full fine-tuning; a head is trained whole beside it.

    The model's weights are not looked at. Raises ConfigError when the adapter's type does not fit the model, or when
    `targetModules`, `rankPattern` or `alphaPattern` names what the model does not have.
    """
    if adapter.type == "full":
        return None
    _check_fits(adapter, model, task)
    common: dict[str, Any] = {
        "task_type": peft_task(model, task),
        "modules_to_save": head_names(model) or None,
        "base_model_name_or_path": model.name_or_path or None,
    }
    if adapter.type == "lora":
        return _lora(adapter, model, common)
    if adapter.type == "ia3":
        return _ia3(adapter, model, common)
    if adapter.type == "prefix-tuning":
        return PrefixTuningConfig(num_virtual_tokens=adapter.num_virtual_tokens, **common)
    return PromptTuningConfig(
        num_virtual_tokens=adapter.num_virtual_tokens,
        # Vectors of words of the vocabulary are a better start than random ones (Lester et al. 2021).
        prompt_tuning_init="SAMPLE_VOCAB",
        # Said here because PEFT does not know every model's names for them; only the first means anything.
        token_dim=model.get_input_embeddings().embedding_dim,
        num_layers=1,
        num_attention_heads=1,
        **common,
    )


def peft_task(model: PreTrainedModel, task: Task) -> str | None:
    """Return PEFT's name of the task; a causal-lm with a head of its own is a reward model."""
    return PEFT_TASKS["sequence-classification" if _is_reward(model, task) else task]


def _lora(adapter: Adapter, model: PreTrainedModel, common: dict[str, Any]) -> LoraConfig:
    wanted = list(adapter.target_modules)
    targeted = _targeted(wanted, model, (nn.Linear, Conv1D, nn.Embedding))
    for field, pattern in (("rankPattern", adapter.rank_pattern), ("alphaPattern", adapter.alpha_pattern)):
        for name in pattern:
            if not any(_ends(module, name) for module in targeted):
                here = _near(name, targeted)
                raise ConfigError(f"{_FIELD}.{field}: {name} is none of the modules that get an adapter{here}")
    return LoraConfig(
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        use_rslora=adapter.use_rslora,
        use_dora=adapter.use_dora,
        rank_pattern={re.escape(name): rank for name, rank in adapter.rank_pattern.items()},
        alpha_pattern={re.escape(name): alpha for name, alpha in adapter.alpha_pattern.items()},
        target_modules=ALL_LINEAR if wanted == [ALL_LINEAR] else wanted,
        fan_in_fan_out=_transposed(model, targeted),
        **common,
    )


def _ia3(adapter: Adapter, model: PreTrainedModel, common: dict[str, Any]) -> IA3Config:
    """Return the configuration of IA3 (Liu et al. 2022).

    all-linear means keys, values and feed-forward layers where PEFT knows what they are called, as in the paper.
    """
    wanted, model_type = list(adapter.target_modules), model.config.model_type
    if wanted == [ALL_LINEAR]:
        known = TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING.get(model_type, [])
        linear = _targeted(wanted, model, (nn.Linear, Conv1D))
        if known and all(any(_ends(module, name) for module in linear) for name in known):
            wanted = list(known)
    targeted = _targeted(wanted, model, (nn.Linear, Conv1D))
    feedforward = TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING.get(model_type, [])
    return IA3Config(
        target_modules=ALL_LINEAR if wanted == [ALL_LINEAR] else wanted,
        feedforward_modules=[name for name in wanted if name in feedforward],
        fan_in_fan_out=_transposed(model, targeted),
        **common,
    )


def _targeted(wanted: list[str], model: PreTrainedModel, kinds: tuple[type[nn.Module], ...]) -> dict[str, nn.Module]:
    """Return the modules that `wanted` means by the ends of their names. Raises ConfigError."""
    field, heads, tied = f"{_FIELD}.targetModules", head_names(model), set(_tied(model))
    found = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
    free = {name: module for name, module in found.items() if not any(_inside(name, head) for head in heads)}
    if wanted == [ALL_LINEAR]:
        output = model.get_output_embeddings()
        return {name: each for name, each in free.items() if not isinstance(each, nn.Embedding) and each is not output}
    targeted: dict[str, nn.Module] = {}
    for name in wanted:
        own = {module: each for module, each in free.items() if _ends(module, name)}
        if not own and any(_ends(module, name) for module in found):
            raise ConfigError(f"{field}: {name} is part of the head, which is trained whole anyway; leave it out")
        if not own:
            raise ConfigError(
                f"{field}: the model has no module named {name} that an adapter fits{_near(name, free)}; {ALL_LINEAR} "
                "stands alone"
            )
        if shared := sorted(tied & own.keys()):
            raise ConfigError(
                f"{field}: {shared[0]} shares its weights with another layer, which an adapter of one of them would "
                f"not reach; leave {name} out"
            )
        targeted |= own
    return targeted


def _check_fits(adapter: Adapter, model: PreTrainedModel, task: Task) -> None:
    found = refusal(adapter, task, model.config, reward=_is_reward(model, task))
    if found is None and adapter.type == "prefix-tuning" and not _takes_keys(model):
        found = f"{type(model).__name__} takes no keys and values to put in front of its own; use lora, ia3 or full"
    if found is not None:
        raise ConfigError(f"{_FIELD}.type: {found}")


def _check_positions(adapter: Adapter, model: PreTrainedModel, max_length: int) -> None:
    """Raise ConfigError when the learnt vectors and the longest input exceed the positions that the model has learnt.

    Models with computed positions, or with those of an encoder and a decoder, are left alone.
    """
    if adapter.type not in ("prefix-tuning", "prompt-tuning") or kind_of(model.config) == "encoder-decoder":
        return
    positions = learnt_positions(model)
    if positions is not None and max_length + adapter.num_virtual_tokens > positions:
        raise ConfigError(
            f"{_FIELD}.numVirtualTokens: {adapter.num_virtual_tokens} vectors and texts of data.maxLength "
            f"{max_length} tokens exceed the {positions} positions of {type(model).__name__}; lower one of them"
        )


def _takes_keys(model: PreTrainedModel) -> bool:
    """Return whether the model, or the part of it below its head, takes keys and values from outside."""
    return any(
        "past_key_values" in inspect.signature(type(each).forward).parameters for each in (model, model.base_model)
    )


def _is_reward(model: PreTrainedModel, task: Task) -> bool:
    return task == "causal-lm" and bool(head_names(model))


def _transposed(model: PreTrainedModel, targeted: dict[str, nn.Module]) -> bool:
    return any(isinstance(module, Conv1D) for module in targeted.values())


def _tied(model: PreTrainedModel) -> Iterator[str]:
    """Yield the names of modules that share their weights with another."""
    for target, source in (getattr(model, "all_tied_weights_keys", None) or {}).items():
        yield target.rpartition(".")[0]
        yield source.rpartition(".")[0]


def _ends(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")


def _inside(module: str, head: str) -> bool:
    return module == head or module.startswith(f"{head}.")


def _near(name: str, modules: Iterable[str]) -> str:
    """Return what a user may have meant, and all that there is."""
    present = sorted({module.rpartition(".")[2] for module in modules})
    near = get_close_matches(name.rpartition(".")[2], present, n=3)
    meant = f" (did you mean {' or '.join(near)}?)" if near else ""
    return f"{meant}; it has {', '.join(present)}"
