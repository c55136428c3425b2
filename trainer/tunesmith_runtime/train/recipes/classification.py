"""Models with one label for a text or a pair of texts: a class, several classes, or a number."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional
from transformers import DataCollatorWithPadding

from tunesmith_runtime.data.labels import find_labels, number_of
from tunesmith_runtime.data.records import LabelledText, Record
from tunesmith_runtime.data.tokenizing import IGNORED
from tunesmith_runtime.errors import DataError
from tunesmith_runtime.train.recipes.heads import Collate, HeadTrainer, TargetLosses, check_unsmoothed, cross_entropy
from tunesmith_runtime.train.recipes.recipe import Encoder, Labels, Recipe, Row, Setup


def encode(record: Record, encoder: Encoder) -> Iterator[Row]:
    """Yield the tokens of the text, or of both, and `labels`.

    `labels` is the class's number, a 0.0 or 1.0 for each class, or the number to predict. Raises DataError for a
    label that the training records do not have.
    """
    assert isinstance(record, LabelledText) and encoder.labels is not None  # noqa: S101, PT018 - as the recipe says
    encoded = encoder.tokenizer(record.text, record.text_pair, return_attention_mask=False, verbose=False)
    yield {**encoded, "labels": _target(record.label, encoder.labels)}


def _target(label: str | float | tuple[str, ...], labels: Labels) -> int | float | list[float]:
    match labels.kind, label:
        case "single", str():
            return number_of(label, labels)
        case "multi", tuple():
            applying = {number_of(name, labels) for name in label}
            return [float(number in applying) for number in range(len(labels.names))]
        case "regression", int() | float():
            return float(label)
    wanted = {"single": "one class", "multi": "a list of classes", "regression": "a number"}[labels.kind]
    raise DataError(f"the label {label!r} is of another kind than those of the training records, which are {wanted}")


def make_trainer(setup: Setup) -> HeadTrainer:
    """Return a Trainer on the mean over records: cross entropy, binary cross entropy, or the squared error.

    Raises ConfigError for label smoothing, unless each record has one class.
    """
    assert setup.labels is not None  # noqa: S101 - the recipe finds them
    if setup.labels.kind != "single":
        check_unsmoothed(setup, "labels that are no single class cannot be smoothed")
    collate: Collate = DataCollatorWithPadding(setup.tokenizer)
    if setup.labels.kind == "regression":
        collate = _Numbers(collate)
    return HeadTrainer(setup, collate, _losses(setup.labels, setup.config.training.label_smoothing_factor))


class _Numbers:
    """Batches rows whose labels are numbers, of which -100.0 must not be taken for no label at all."""

    def __init__(self, collate: Collate) -> None:
        self._collate = collate

    def __call__(self, rows: list[Row]) -> dict[str, Any]:
        batch = dict(self._collate(rows))
        labels = batch["labels"].float()
        batch["labels"] = torch.where(labels == IGNORED, torch.nextafter(labels, torch.zeros_like(labels)), labels)
        return batch


def _losses(labels: Labels, smoothing: float) -> TargetLosses:
    def losses(outputs: Any, targets: torch.Tensor, _: int) -> torch.Tensor:
        logits = outputs.logits.float()
        match labels.kind:
            case "single":
                return cross_entropy(logits, targets, smoothing)
            case "multi":
                return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            case "regression":
                return functional.mse_loss(logits.squeeze(-1), targets, reduction="none")

    return losses


SFT = Recipe(
    task="sequence-classification",
    method="sft",
    accepts=(LabelledText,),
    encode=encode,
    trainer=make_trainer,
    labels=find_labels,
)
