"""Heads: the last layers of a model, which turn what it understood into classes, tags, answers or a reward."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from tunesmith_api.training import Task

if TYPE_CHECKING:
    from tunesmith_runtime.train.recipes.recipe import Labels

# What an adapter's folder says of its head: PEFT keeps the weights, and the base model knows nothing of the classes.
LABELS = "labels.json"

# Tasks whose heads a checkpoint of a language model lacks; they begin at random.
HEADED: frozenset[Task] = frozenset({"sequence-classification", "token-classification", "question-answering"})

_PROBLEMS = {"single": "single_label_classification", "multi": "multi_label_classification", "regression": "regression"}


def head_settings(task: Task, labels: "Labels | None", *, reward: bool) -> dict[str, Any]:
    """Return what the model's configuration says of its head: how many outputs it has, and what they are called."""
    if reward:
        return {"num_labels": 1, "id2label": {0: "reward"}, "label2id": {"reward": 0}}
    if labels is None or task not in HEADED - {"question-answering"}:
        return {}
    problem = {"problem_type": _PROBLEMS[labels.kind]} if task == "sequence-classification" else {}
    if labels.kind == "regression":
        return {"num_labels": 1, **problem}
    return {
        "num_labels": len(labels.names),
        "id2label": dict(enumerate(labels.names)),
        "label2id": {name: number for number, name in enumerate(labels.names)},
        **problem,
    }


def head_names(model: PreTrainedModel) -> list[str]:
    """Return the names of the modules that make up the head, none for a language model.

    A pooler counts: only classifiers have one, and checkpoints of language models lack it.
    """
    if model.get_output_embeddings() is not None:
        return []
    names = [
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix and next(module.parameters(), None) is not None
    ]
    # Encoders of T5 and the like are children of their own beside the head.
    names = [name for name in names if not isinstance(model.get_submodule(name), PreTrainedModel | nn.Embedding)]
    if isinstance(getattr(model.base_model, "pooler", None), nn.Module):
        names.append(f"{model.base_model_prefix}.pooler")
    return names


def in_head(model: PreTrainedModel, parameter: str) -> bool:
    """Return whether the weight of this name belongs to the head."""
    return any(parameter.startswith(f"{name}.") for name in head_names(model))


def save_labels(config: PretrainedConfig, folder: Path) -> None:
    """Write what the configuration says of the head beside an adapter."""
    found = {
        "num_labels": config.num_labels,
        "id2label": {str(number): name for number, name in config.id2label.items()},
        "problem_type": config.problem_type,
    }
    (folder / LABELS).write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_labels(folder: Path) -> dict[str, Any]:
    """Return what `save_labels` wrote as settings of a configuration; none when it is not there."""
    try:
        found = json.loads((folder / LABELS).read_text(encoding="utf-8"))
    except OSError:
        return {}
    names = {int(number): name for number, name in found["id2label"].items()}
    return {**found, "id2label": names, "label2id": {name: number for number, name in names.items()}}
