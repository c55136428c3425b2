"""A folder in Hugging Face layout becomes a tokenizer and a model."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tunesmith_api.training import Task
from tunesmith_runtime.errors import ConfigError, ModelError
from tunesmith_runtime.models.heads import HEADED, head_names, head_settings, in_head
from tunesmith_runtime.models.tasks import is_adapter_folder
from tunesmith_runtime.models.templates import ensure_chat_template

if TYPE_CHECKING:
    from tunesmith_runtime.train.recipes.recipe import Labels

# One of these is where every kind of tokenizer keeps its words.
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "merges.txt")
_WRITERS: frozenset[Task] = frozenset({"causal-lm", "seq2seq-lm"})

_AUTO: dict[Task, Any] = {
    "causal-lm": AutoModelForCausalLM,
    "masked-lm": AutoModelForMaskedLM,
    "seq2seq-lm": AutoModelForSeq2SeqLM,
    "sequence-classification": AutoModelForSequenceClassification,
    "token-classification": AutoModelForTokenClassification,
    "question-answering": AutoModelForQuestionAnswering,
}
_WORDS: dict[Task, str] = {
    "causal-lm": "causal language model",
    "masked-lm": "masked language model",
    "seq2seq-lm": "sequence-to-sequence model",
    "sequence-classification": "sequence classifier",
    "token-classification": "token classifier",
    "question-answering": "question answering model",
}


def load_tokenizer(path: Path, task: Task = "causal-lm") -> PreTrainedTokenizerBase:
    """Return the tokenizer of the folder with a padding token; for a causal-lm, also with a chat template.

    Raises ModelError when there is none, or when it lacks a token that the task needs: the end of a sequence to write,
    a mask to guess what is behind it.
    """
    if not any((path / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(f"{path} has no tokenizer: none of {', '.join(_TOKENIZER_FILES)} is there")
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the loaders raise whatever the broken file leads them to
        raise ModelError(f"{path}: its tokenizer cannot be loaded: {_shortened(error)}") from error
    if tokenizer.eos_token_id is None and task in _WRITERS:
        raise ModelError(f"{path}: its tokenizer has no end-of-sequence token; set eos_token in tokenizer_config.json")
    if tokenizer.mask_token_id is None and task == "masked-lm":
        raise ModelError(f"{path}: its tokenizer has no mask token; set mask_token in tokenizer_config.json")
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise ModelError(f"{path}: its tokenizer has no padding token; set pad_token in tokenizer_config.json")
        tokenizer.pad_token = tokenizer.eos_token
    if task == "causal-lm":
        ensure_chat_template(tokenizer)
    return tokenizer


def load_model(
    path: Path,
    task: Task,
    dtype: torch.dtype | None = None,
    *,
    labels: "Labels | None" = None,
    reward: bool = False,
    load_in_4bit: bool = False,
    seed: int | None = None,
) -> PreTrainedModel:
    """Return the folder's model for the task in eval mode; on the CPU, unless its weights are held in 4 bits.

    Weights are of `dtype`; by default fp32, or bf16 where a CUDA device is to hold them. `labels` name the classes of a
    classifier. With `reward`, a causal-lm becomes a reward model: it gets a head of one output. A head that the folder
    does not hold, or holds for other classes, begins at random, the same for the same `seed` (by default with torch's
    state). Raises ModelError when the folder is broken, lacks other weights or holds another kind of model, and
    ConfigError when 4 bits cannot be had here.
    """
    quantisation = _four_bits() if load_in_4bit else None
    if seed is not None:
        torch.manual_seed(seed)
    return load_configured(path, task, head_settings(task, labels, reward=reward), dtype, reward, quantisation)


def load_causal_lm(path: Path, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Return the causal language model of the folder as `load_model` does, to be asked.

    A folder that holds an adapter alone is loaded with its base model, and merged where that is possible; else what is
    returned is a PeftModel, which behaves like the model, its logits as long as the input.
    """
    if is_adapter_folder(path):
        from tunesmith_runtime.models.adapted import load_adapted  # brings PEFT, which takes seconds

        return load_adapted(path, dtype, task="causal-lm")
    return load_model(path, "causal-lm", dtype)


def load_configured(
    path: Path,
    task: Task,
    settings: Mapping[str, Any],
    dtype: torch.dtype | None = None,
    reward: bool = False,
    quantisation: BitsAndBytesConfig | None = None,
) -> PreTrainedModel:
    """Return the folder's model as `load_model` does, with these settings in its configuration."""
    headed: Task = "sequence-classification" if reward else task
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the loaders raise whatever the broken file leads them to
        raise ModelError(f"{path} cannot be loaded as a {_WORDS[headed]}: {_shortened(error)}") from error
    for name, value in settings.items():
        setattr(config, name, value)
    text = config.get_text_config()
    if headed == "sequence-classification" and getattr(text, "pad_token_id", None) is None:
        text.pad_token_id = load_tokenizer(path, headed).pad_token_id  # tells where a text ends that is to be judged
    return _loaded(path, config, headed, dtype or usual_dtype(), quantisation)


def usual_dtype() -> torch.dtype:
    """Return what weights are held in to be used: fp32, or bf16 where a CUDA device is to hold them."""
    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


def skeleton(config: PretrainedConfig, task: Task, *, reward: bool = False) -> PreTrainedModel:
    """Return the model of the configuration without its weights: modules, names and shapes, at no cost in memory."""
    with torch.device("meta"):
        return _AUTO["sequence-classification" if reward else task].from_config(config)


def _loaded(
    path: Path, config: PretrainedConfig, task: Task, dtype: torch.dtype, quantisation: BitsAndBytesConfig | None
) -> PreTrainedModel:
    options: dict[str, Any] = {}
    if quantisation is not None:
        # A head that is to learn must stay as it is.
        quantisation.llm_int8_skip_modules = head_names(skeleton(config, task)) or None
        options = {"quantization_config": quantisation, "device_map": {"": torch.cuda.current_device()}}
    try:
        model, info = _AUTO[task].from_pretrained(
            path,
            config=config,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=task in HEADED,
            **options,
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the loaders raise whatever the broken file leads them to
        raise ModelError(f"{path} cannot be loaded as a {_WORDS[task]}: {_shortened(error)}") from error
    check_whole(path, model, info)
    return model


def check_whole(path: Path, model: PreTrainedModel, info: Mapping[str, Any]) -> None:
    """Raise ModelError when weights other than the head's were missing from the folder, or of another shape.

    `info` is what from_pretrained says of loading.
    """
    wrong = {key for key in info["missing_keys"] if not in_head(model, key)}
    wrong |= {key for key, *_ in info["mismatched_keys"] if not in_head(model, key)}
    if names := sorted(wrong):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ModelError(
            f"{path} is not a whole {type(model).__name__}: its files lack the weights {', '.join(names[:3])}{more}"
        )


def _four_bits() -> BitsAndBytesConfig:
    if not torch.cuda.is_available():
        raise ConfigError(
            "spec.method.adapter.loadIn4bit: needs a CUDA GPU, and there is none; set resources.gpu, or leave it out"
        )
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            "spec.method.adapter.loadIn4bit: needs the package bitsandbytes, and the image lacks it; install it there, "
            "or leave loadIn4bit out"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _shortened(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
