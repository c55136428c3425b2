"""A trained model becomes a folder that anyone can load."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tunesmith_runtime.models import wrapping
from tunesmith_runtime.models.heads import save_labels
from tunesmith_runtime.models.lineage import ADAPTER
from tunesmith_runtime.models.loading import check_whole


@dataclass(frozen=True)
class Saved:
    """What a folder came to hold: whether an adapter was trained, and whether the model is whole with it merged in."""

    is_adapter: bool
    merged: bool


def save_model(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    staged: Path,
    base: str,
    weights: Mapping[str, torch.Tensor] | None = None,
    merge: bool | None = None,
) -> Saved:
    """Write the model in safetensors with its tokenizer into `staged`; return what that is.

    An adapter is merged, and kept in adapter/ as well, if `merge` says so, and by default where its type can be and the
    weights are not quantised. Else the folder holds the adapter alone, which PEFT loads onto the base model.
    `base` is the base model's folder, which the adapter's configuration names and which stays as it is. `weights` are
    those of a model that has only a part of its own.
    """
    given = None if weights is None else dict(weights)
    tokenizer.save_pretrained(staged)
    if not isinstance(model, PeftModel):
        model.save_pretrained(staged, state_dict=given)
        return Saved(is_adapter=False, merged=False)
    merges = wrapping.merges(model) if merge is None else merge and wrapping.mergeable(model)
    _save_adapter(model, staged / ADAPTER if merges else staged, base, given)
    if merges:
        # A model that is spread over workers cannot be merged where it is, nor can one whose weights were rounded.
        elsewhere = given is not None or getattr(model, "is_quantized", False)
        whole = _on_base(model, staged / ADAPTER, Path(base)) if elsewhere else model
        wrapping.merged(whole).save_pretrained(staged)
    return Saved(is_adapter=True, merged=merges)


def _save_adapter(model: PeftModel, folder: Path, base: str, given: dict[str, torch.Tensor] | None) -> None:
    config = model.peft_config[wrapping.NAME]
    config.base_model_name_or_path = base
    if config.modules_to_save:
        config.modules_to_save = sorted(set(config.modules_to_save))  # PEFT adds to them each time
    model.save_pretrained(folder, state_dict=given)
    if config.modules_to_save:
        save_labels(model.get_base_model().config, folder)


def _on_base(model: PeftModel, adapter: Path, base: Path) -> PeftModel:
    """Return the saved adapter on a copy of its base model that is whole and not quantised."""
    trained = model.get_base_model()
    config = deepcopy(trained.config)
    dtype = torch.float32 if getattr(model, "is_quantized", False) else trained.dtype
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    whole, info = type(trained).from_pretrained(
        base,
        config=config,
        dtype=dtype,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=bool(model.peft_config[wrapping.NAME].modules_to_save),
    )
    check_whole(base, whole, info)
    return wrapping.load(whole, adapter)
