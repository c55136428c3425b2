"""Preferences to learn from, and all that a recipe needs for it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, Trainer

from tunesmith_api.contract import TrainRun
from tunesmith_api.training import Adapter, MethodType
from tunesmith_runtime.data.records import Answerable, Completion, Conversation, Message, Preference, Rated, Record
from tunesmith_runtime.models.adapters import apply_adapter
from tunesmith_runtime.models.loading import load_model
from tunesmith_runtime.train import recipes
from tunesmith_runtime.train.recipes.recipe import Encoder, Row, Setup

QUESTIONS = [
    "What colour is the sky?",
    "How many legs has a spider?",
    "What goes round the earth?",
    "Who?",
    "Why is it?",
]
GOOD = [
    "The sky is blue.",
    "A spider has eight legs.",
    "The moon goes round the earth.",
    "The sun.",
    "It is so, as ever.",
]
BAD = ["Green!", "Two, like a user.", "The assistant goes round and round the sun, what else.", "No system.", "No."]
TRIPLES = [(question, good, bad) for question in QUESTIONS for good, bad in zip(GOOD, BAD, strict=True)][:23]
METHODS: tuple[MethodType, ...] = ("rm", "dpo", "kto", "orpo")


def conversation(question: str, answer: str) -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer)))


def records(method: MethodType, kind: type[Answerable] = Conversation) -> list[Record]:
    """Return 23 records, the last of which are a smaller batch of their own."""

    def answer(question: str, text: str) -> Answerable:
        return conversation(question, text) if kind is Conversation else Completion(question, " " + text)

    if method == "kto":
        return [
            Rated(answer(question, good if index % 3 else bad), desirable=bool(index % 3))
            for index, (question, good, bad) in enumerate(TRIPLES)
        ]
    return [Preference(answer(question, good), answer(question, bad)) for question, good, bad in TRIPLES]


def encoded(method: MethodType, wanted: Iterable[Record], tokenizer: PreTrainedTokenizerBase) -> list[Row]:
    recipe, encoder = recipes.find("causal-lm", method), Encoder(tokenizer, max_length=512)
    return [row for record in wanted for row in recipe.encode(record, encoder)]


def dataset(method: MethodType, rows: list[Row]) -> Dataset:
    """Return the rows with the columns that every dataset of a run has."""
    length = recipes.find("causal-lm", method).length
    return Dataset.from_list([{**row, "stream": 0, "length": length(row)} for row in rows])


def adapted(method: MethodType, adapter: Mapping[str, Any], path: Path) -> Any:
    model = load_model(path, "causal-lm", torch.float32, reward=method == "rm", seed=42)
    return apply_adapter(model, Adapter.model_validate(adapter), "causal-lm")


def arguments(folder: Path, **changed: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": 9,
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "learning_rate": 5e-3,
        "seed": 42,
        "save_strategy": "no",
        "eval_strategy": "no",
        "prediction_loss_only": True,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "dataloader_pin_memory": False,
        **changed,
    }


def run(path: Path, method: Mapping[str, Any], **training: Any) -> TrainRun:
    return TrainRun.model_validate(
        {
            "run": {"kind": "FineTuneJob", "namespace": "default", "name": "bot", "uid": "u", "attempt": 1},
            "model": f"file://{path}",
            "data": {"train": ({"name": "a", "uri": "pvc://data/a.jsonl", "format": "preference"},)},
            "method": method,
            "training": training,
            "checkpoints": {"uri": "pvc://models/checkpoints", "everySteps": 2, "keep": 1},
            "output": {"uri": "pvc://models/bot"},
        }
    )


def trained(setup: Setup, resume: Path | None = None) -> Trainer:
    trainer = recipes.find("causal-lm", setup.config.method.type).trainer(setup)
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return trainer


def losses(trainer: Trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}
