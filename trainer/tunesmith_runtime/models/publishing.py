"""A trained model becomes a folder that anyone can load."""

from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tunesmith_runtime.models.lineage import ADAPTER
from tunesmith_runtime.models.loading import load_causal_lm


def save_model(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    staged: Path,
    base: str,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> bool:
    """Write the model, merged, in safetensors with its tokenizer into `staged`; an adapter also into adapter/.

    `base` is the base model's folder, which the adapter's configuration names. `weights` are those of a model that has
    only a part of its own. Returns whether there is an adapter.
    """
    is_adapter = isinstance(model, PeftModel)
    given = None if weights is None else dict(weights)
    if is_adapter:
        model.peft_config["default"].base_model_name_or_path = base
        model.save_pretrained(staged / ADAPTER, state_dict=given)
        if given is None:
            model = model.merge_and_unload()
        else:
            # A model that is spread over workers cannot be merged where it is.
            model = PeftModel.from_pretrained(load_causal_lm(Path(base), model.dtype), staged / ADAPTER)
            model = model.merge_and_unload()
            given = None
    model.save_pretrained(staged, state_dict=given)
    tokenizer.save_pretrained(staged)
    return is_adapter
