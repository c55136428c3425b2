"""A trained model becomes a folder that anyone can load."""

from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tunesmith_runtime.models.lineage import ADAPTER


def save_model(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, staged: Path, base: str) -> bool:
    """Write the model, merged, in safetensors with its tokenizer into `staged`; an adapter also into adapter/.

    `base` is what the adapter's configuration names as its base model. Returns whether there is an adapter.
    """
    is_adapter = isinstance(model, PeftModel)
    if is_adapter:
        model.peft_config["default"].base_model_name_or_path = base
        model.save_pretrained(staged / ADAPTER)
        model = model.merge_and_unload()
    model.save_pretrained(staged)
    tokenizer.save_pretrained(staged)
    return is_adapter
