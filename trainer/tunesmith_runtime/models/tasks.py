"""What a model is trained to do: found from its architecture, the data's formats and the method."""

import json
from collections.abc import Set
from pathlib import Path
from typing import Any, Literal

from transformers import AutoConfig, PretrainedConfig
from transformers.models.auto import modeling_auto as auto

from tunesmith_api.combinations import FORMATS, TASK_FORMATS, TASK_METHODS
from tunesmith_api.data import DataFormat
from tunesmith_api.training import MethodType, Task
from tunesmith_runtime.errors import ConfigError, ModelError

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"

# decoder: writes from left to right. encoder: reads a text from both sides. encoder-decoder: reads one, writes another.
Kind = Literal["decoder", "encoder", "encoder-decoder"]

# transformers' tables of which class does what for which model type.
CLASSES: dict[Task, dict[str, str | tuple[str, ...]]] = {
    "causal-lm": auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "seq2seq-lm": auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    "masked-lm": auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    "sequence-classification": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "token-classification": auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    "question-answering": auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
}
# PEFT's names of the tasks; it has none for masked language modelling.
PEFT_TASKS: dict[Task, str | None] = {
    "causal-lm": "CAUSAL_LM",
    "masked-lm": None,
    "seq2seq-lm": "SEQ_2_SEQ_LM",
    "sequence-classification": "SEQ_CLS",
    "token-classification": "TOKEN_CLS",
    "question-answering": "QUESTION_ANS",
}
# What each kind is trained to do when nobody says more: for each set of formats and method at most one of them fits.
_TASKS: dict[Kind, tuple[Task, ...]] = {
    "decoder": ("causal-lm", "sequence-classification", "token-classification"),
    "encoder": ("masked-lm", "question-answering", "sequence-classification", "token-classification"),
    "encoder-decoder": ("seq2seq-lm", "sequence-classification", "token-classification"),
}
_LANGUAGE_MODELLING: dict[Task, Kind] = {
    "causal-lm": "decoder",
    "seq2seq-lm": "encoder-decoder",
    "masked-lm": "encoder",
}
_WORDS: dict[Kind, str] = {
    "decoder": "a decoder, which writes from left to right",
    "encoder": "an encoder, which reads and does not write",
    "encoder-decoder": "an encoder and a decoder, which answer a text with another",
}
_LEARNS: dict[MethodType, str] = {
    "pt": "texts",
    "sft": "texts, answers or labels",
    "rm": "preference data",
    "dpo": "preference data",
    "orpo": "preference data",
    "kto": "rated answers (kto)",
    "grpo": "prompts",
    "ppo": "prompts",
    "distill": "prompts",
}
_TEACHES: dict[str, str] = {
    "textClassification": "trains a classifier",
    "tokenClassification": "trains a tagger",
    "preference": "compares answers",
    "pairs": "compares answers",
    "kto": "rates answers",
    "feedback": "holds what people said of answers",
}


def infer_task(
    model: Path | PretrainedConfig, formats: Set[DataFormat], method: MethodType, asked: Task | None
) -> Task:
    """Return what the model is trained to do; only its config.json is read.

    | the data's formats            | decoder (Llama)         | encoder (BERT)          | encoder-decoder (T5)    |
    |-------------------------------|-------------------------|-------------------------|-------------------------|
    | text                          | causal-lm               | masked-lm               | -                       |
    | messages, alpaca and the like | causal-lm               | -                       | seq2seq-lm              |
    | squad                         | causal-lm               | question-answering      | seq2seq-lm              |
    | textClassification            | sequence-classification | sequence-classification | sequence-classification |
    | tokenClassification           | token-classification    | token-classification    | token-classification    |
    | preference, pairs, kto        | causal-lm               | -                       | -                       |
    | feedback                      | causal-lm               | -                       | -                       |

    Encoders learn from text by method pt alone. A reward model (method rm) is of task causal-lm here: it is a decoder
    that gets a head of one output. What is `asked` for need not be the usual task of the kind; the architecture must
    have it.
    Raises ConfigError with what does not fit, and ModelError when config.json cannot be read.
    """
    config = model if isinstance(model, PretrainedConfig) else read_config(model)
    _check_formats(formats, method)
    name, kind = _name(config), kind_of(config)
    if asked is not None:
        _check_asked(asked, config, formats, method)
        task = asked
    else:
        fitting = [each for each in _TASKS[kind] if _learns(each, formats, method)]
        if not fitting:
            raise ConfigError(_nothing_fits(name, kind, formats, method))
        task = fitting[0]
    if not _has(config, "sequence-classification" if method == "rm" else task):
        what = "a reward model" if method == "rm" else f"task {task}"
        raise ConfigError(f"spec.model: transformers has no class of {config.model_type} for {what}; use another model")
    return task


def read_config(folder: Path) -> PretrainedConfig:
    """Return the configuration of the model in the folder. Raises ModelError, ConfigError when it is an adapter."""
    if is_adapter_folder(folder):
        raise ConfigError(
            f"spec.model.uri: {folder} is an adapter; name its base model in spec.model.uri and the adapter in "
            "spec.method.adapter.continueFrom, or publish it merged (output.merge)"
        )
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the loaders raise whatever the broken file leads them to
        raise ModelError(f"{folder}: its {CONFIG} cannot be used: {' '.join(str(error).split())[:300]}") from error


def is_adapter_folder(folder: Path) -> bool:
    """Return whether the folder holds an adapter alone."""
    return (folder / ADAPTER_CONFIG).is_file() and not (folder / CONFIG).is_file()


def kind_of(config: PretrainedConfig) -> Kind:
    """Return how a model of this configuration reads and writes."""
    if config.is_encoder_decoder:
        return "encoder-decoder"
    names = set(config.architectures or ())
    masked, causal = CLASSES["masked-lm"].get(config.model_type), CLASSES["causal-lm"].get(config.model_type)
    if masked is None:
        return "decoder" if causal is not None else "encoder"
    # Such as BERT, which may also be built to write: then it says so.
    return (
        "decoder" if getattr(config, "is_decoder", False) or (names & _all(causal) and causal != masked) else "encoder"
    )


def task_of_folder(folder: Path) -> Task | None:
    """Return what the model or adapter that was saved in the folder does, None when it does not say."""
    if is_adapter_folder(folder):
        saved = _json(folder / ADAPTER_CONFIG)
        by_peft = {name: task for task, name in PEFT_TASKS.items() if name}
        return by_peft.get(saved.get("task_type") or "", "masked-lm")
    names = set(_json(folder / CONFIG).get("architectures") or ())
    found = [task for task, classes in CLASSES.items() if any(names & _all(each) for each in classes.values())]
    return found[0] if found else None


def _check_formats(formats: Set[DataFormat], method: MethodType) -> None:
    for each in sorted(formats - FORMATS[method]):
        teaches = _TEACHES.get(each, "holds texts or answers")
        raise ConfigError(
            f"spec.data: format {each} {teaches}, but spec.method.type is {method}, which learns from "
            f"{_LEARNS[method]}; use one of {', '.join(sorted(FORMATS[method]))}"
        )


def _check_asked(asked: Task, config: PretrainedConfig, formats: Set[DataFormat], method: MethodType) -> None:
    name, kind = _name(config), kind_of(config)
    can = [each for each in CLASSES if _has(config, each) and _LANGUAGE_MODELLING.get(each, kind) == kind]
    if asked not in can:
        raise ConfigError(
            f"spec.model.task: {name} cannot be of task {asked}: it is {_WORDS[kind]}; it can be of "
            f"{', '.join(can) or 'none'}"
        )
    if method not in TASK_METHODS[asked]:
        methods = ", ".join(sorted(TASK_METHODS[asked]))
        raise ConfigError(f"spec.model.task: a model of task {asked} cannot learn by {method}; set method to {methods}")
    for each in sorted(formats - TASK_FORMATS[asked]):
        takes = ", ".join(sorted(TASK_FORMATS[asked]))
        raise ConfigError(f"spec.data: a model of task {asked} cannot learn from format {each}; it takes {takes}")


def _nothing_fits(name: str, kind: Kind, formats: Set[DataFormat], method: MethodType) -> str:
    tasks = _TASKS[kind]
    methods = sorted(set[MethodType]().union(*(TASK_METHODS[each] for each in tasks)))
    if method not in methods:
        return (
            f"spec.method.type: {method} trains models that write from left to right, and {name} is {_WORDS[kind]}; "
            f"set it to one of {', '.join(methods)}, or use a model of task causal-lm"
        )
    wanted = ", ".join(sorted(formats))
    takes = {each: sorted(TASK_FORMATS[each] & FORMATS[method]) for each in tasks if method in TASK_METHODS[each]}
    can = "; ".join(f"{', '.join(found)} ({task})" for task, found in takes.items() if found)
    others = [other for other in FORMATS if any(_learns(each, formats, other) for each in tasks)]
    instead = f"; it learns from {wanted} by {', '.join(others)}" if others else ""
    return f"spec.data: {name} is {_WORDS[kind]}; by {method} it learns from {can}, not from {wanted}{instead}"


def _learns(task: Task, formats: Set[DataFormat], method: MethodType) -> bool:
    return method in TASK_METHODS[task] and formats <= TASK_FORMATS[task]


def _has(config: PretrainedConfig, task: Task) -> bool:
    return config.model_type in CLASSES[task]


def _name(config: PretrainedConfig) -> str:
    return next(iter(config.architectures or ()), config.model_type)


def _all(names: str | tuple[str, ...] | None) -> set[str]:
    return {names} if isinstance(names, str) else set(names or ())


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
