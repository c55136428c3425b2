"""A folder in Hugging Face layout becomes a tokenizer and a model."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tunesmith_runtime.errors import ModelError
from tunesmith_runtime.models.templates import ensure_chat_template

# One of these is where every kind of tokenizer keeps its words.
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "merges.txt")


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of the folder, with a chat template and a padding token.

    Raises ModelError when there is none, or when it has no end-of-sequence token.
    """
    if not any((path / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(f"{path} has no tokenizer: none of {', '.join(_TOKENIZER_FILES)} is there")
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the loaders raise whatever the broken file leads them to
        raise ModelError(f"{path}: its tokenizer cannot be loaded: {_shortened(error)}") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{path}: its tokenizer has no end-of-sequence token; set eos_token in tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    ensure_chat_template(tokenizer)
    return tokenizer


def load_causal_lm(path: Path, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Return the causal language model of the folder, on the CPU, in eval mode.

    Its weights are of `dtype`; by default fp32, or bf16 where a CUDA device is to hold them. Raises ModelError when
    the folder is broken, lacks weights, or holds another kind of model.
    """
    dtype = dtype or (torch.bfloat16 if torch.cuda.is_available() else torch.float32)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the loaders raise whatever the broken file leads them to
        raise ModelError(f"{path} cannot be loaded as a causal language model: {_shortened(error)}") from error
    if missing := sorted(info["missing_keys"]):
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ModelError(
            f"{path} is not a whole {type(model).__name__}: its files lack the weights {', '.join(missing[:3])}{more}"
        )
    return model


def _shortened(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
