"""Adapters that stand alone in a folder: found, put onto their base model, merged into it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from transformers import PreTrainedModel

from tunesmith_api.training import Task
from tunesmith_runtime import storage
from tunesmith_runtime.errors import ModelError
from tunesmith_runtime.models import wrapping
from tunesmith_runtime.models.heads import read_labels
from tunesmith_runtime.models.kept import kept_folder
from tunesmith_runtime.models.lineage import ADAPTER, LINEAGE
from tunesmith_runtime.models.loading import load_configured, load_tokenizer
from tunesmith_runtime.models.tasks import ADAPTER_CONFIG, CONFIG, task_of_folder


def read_adapter_config(folder: Path) -> PeftConfig:
    """Return PEFT's configuration of the adapter in the folder. Raises ModelError."""
    try:
        return PeftConfig.from_pretrained(folder)
    except Exception as error:  # PEFT raises whatever the broken file leads it to
        raise ModelError(f"{folder}: its {ADAPTER_CONFIG} cannot be used: {error}") from error


def adapter_folder(uri: str) -> Path:
    """Return the folder of the adapter that a URI names: it holds the adapter alone, or has it in adapter/.

    Raises ModelError when there is none.
    """
    elsewhere = storage.in_bucket(uri) or uri.startswith("hf://")
    return adapter_in(kept_folder(uri) if elsewhere else storage.local_path(uri), uri)


def adapter_in(folder: Path, called: str) -> Path:
    """Return where the adapter of a folder lies: there, or in adapter/. Raises ModelError when there is none."""
    for each in (folder, folder / ADAPTER):
        if (each / ADAPTER_CONFIG).is_file():
            return each
    raise ModelError(f"{called} is no adapter: neither {folder} nor {ADAPTER}/ in it has an {ADAPTER_CONFIG}")


def base_of(folder: Path) -> Path:
    """Return the folder of the adapter's base model: the one that it names, or else the one in its lineage.

    Raises ModelError when neither is there.
    """
    named = Path(read_adapter_config(folder).base_model_name_or_path or "")
    if named.is_absolute() and (named / CONFIG).is_file():
        return named
    for lineage in (folder / LINEAGE, folder.parent / LINEAGE):
        if uri := _base_uri(lineage):
            return storage.model_path(uri)
    raise ModelError(
        f"{folder} is an adapter, and its base model is missing: {named} in its {ADAPTER_CONFIG} is no model, and it "
        f"has no {LINEAGE} that names another"
    )


def load_adapted(
    folder: Path,
    dtype: torch.dtype | None = None,
    *,
    base: Path | None = None,
    task: Task | None = None,
    merge: bool = True,
) -> PreTrainedModel:
    """Return the base model with the folder's adapter in eval mode, merged where that is possible and wanted.

    `base` is the base model's folder, by default the one that the adapter came from; `task` what the model is to do, by
    default what the adapter was trained for. What cannot be merged is a PeftModel. Raises ModelError.
    """
    own = task_of_folder(folder)
    if own is None or (task is not None and task != own):
        raise ModelError(f"{folder} is an adapter for task {own}, not for {task}")
    base = base or base_of(folder)
    loaded = load_configured(base, own, read_labels(folder), dtype)
    try:
        model = wrapping.load(loaded, folder)
    except (RuntimeError, ValueError, OSError) as error:
        sentence = " ".join(str(error).split())[:300]
        raise ModelError(f"{folder}: its adapter does not fit the base model {base}: {sentence}") from error
    if merge and wrapping.merges(model):
        return wrapping.merged(model)
    if wrapping.peft_type(model.peft_config[wrapping.NAME]) == "PROMPT_TUNING":
        model.register_forward_hook(_cut_prompt, with_kwargs=True)
    return model


def merge_folder(folder: Path, into: Path, base: Path | None = None) -> None:
    """Write the model that the folder's adapter makes of its base model into `into`, with its tokenizer.

    `base` is the base model's folder, by default the one that the adapter came from. Raises ModelError when the
    adapter's type cannot be merged.
    """
    kind = wrapping.peft_type(read_adapter_config(folder))
    if kind not in wrapping.MERGEABLE:
        raise ModelError(f"{folder}: an adapter of type {kind} cannot be merged into its model; load it with PEFT")
    base = base or base_of(folder)
    load_adapted(folder, torch.float32, base=base).save_pretrained(into)
    task = task_of_folder(folder) or "causal-lm"
    source = folder if (folder / "tokenizer_config.json").is_file() else base
    load_tokenizer(source, task).save_pretrained(into)


@contextmanager
def without_prompt(model: PreTrainedModel | PeftModel) -> Iterator[None]:
    """Have a model with prompt tuning give logits as long as the input, as `load_adapted` does for good."""
    config = model.peft_config[wrapping.NAME] if isinstance(model, PeftModel) else None
    if config is None or wrapping.peft_type(config) != "PROMPT_TUNING":
        yield
        return
    hook = model.register_forward_hook(_cut_prompt, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def _cut_prompt(model: Any, arguments: tuple[Any, ...], options: dict[str, Any], output: Any) -> Any:
    """Cut what prompt tuning puts in front off the logits, so that they are as long as the input."""
    tokens = options.get("input_ids", arguments[0] if arguments else None)
    if tokens is None or model.config.is_encoder_decoder:
        return output
    for name, dimensions in (("logits", 3), ("start_logits", 2), ("end_logits", 2)):
        logits = getattr(output, name, None)
        if logits is not None and logits.ndim == dimensions:
            setattr(output, name, logits[:, -tokens.shape[1] :])
    return output


def _base_uri(lineage: Path) -> str | None:
    try:
        uri = json.loads(lineage.read_text(encoding="utf-8"))["baseModel"]["uri"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return uri if isinstance(uri, str) else None
