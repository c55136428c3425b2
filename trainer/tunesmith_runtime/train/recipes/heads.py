"""A Trainer for models with a head of any kind, whose loss is the mean over all targets of an optimizer step.

The heads of transformers return the mean of the batch they see and pass over `num_items_in_batch`, while the Trainer
believes that they divide by it: with accumulated gradients or several workers the loss would be too large by their
number. Here the head gets no labels, and the loss is made of its logits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from tunesmith_runtime.data.tokenizing import IGNORED
from tunesmith_runtime.errors import ConfigError
from tunesmith_runtime.train.recipes.recipe import Row, Setup

# The columns of a row that go into a batch.
_READ = frozenset({"input_ids", "token_type_ids", "labels"})

# Takes what a model returned, the targets and how many tokens the batch's rows have; returns the loss of each target,
# in their shape, 0 where the target is -100.
TargetLosses = Callable[[Any, torch.Tensor, int], torch.Tensor]
Collate = Callable[[list[Row]], Mapping[str, Any]]


@dataclass
class RowCollator:
    """Batches rows by `collate`, without the columns that models do not know.

    With `streams`, the batch has `streams`, of shape (rows,): the number of the data stream of each row.
    """

    collate: Collate
    streams: bool

    def __call__(self, examples: list[Row]) -> dict[str, Any]:
        """Return the batch."""
        batch = dict(self.collate([{name: row[name] for name in row if name in _READ} for row in examples]))
        if self.streams and "stream" in examples[0]:
            batch["streams"] = torch.tensor([row["stream"] for row in examples])
        return batch


class HeadTrainer(Trainer):
    """Trains on the mean of `target_losses`, and notes them for each data stream."""

    def __init__(
        self,
        setup: Setup,
        collate: Collate,
        target_losses: TargetLosses,
        *,
        train: Dataset[Row] | None = None,
        validation: Mapping[str, Dataset[Row]] | None = None,
    ) -> None:
        """Take rows with a column `labels`: those of the setup, or `train` and `validation` in their place."""
        self._target_losses = target_losses
        self._stream_losses = setup.stream_losses
        self._streams: torch.Tensor | None = None
        self._length = 0
        super().__init__(
            model=setup.model,
            args=TrainingArguments(**setup.arguments, remove_unused_columns=False, label_names=["labels"]),
            data_collator=RowCollator(collate, streams=len(setup.config.data.train) > 1),
            train_dataset=setup.train if train is None else train,
            eval_dataset=dict(setup.validation if validation is None else validation) or None,
            processing_class=setup.tokenizer,
            compute_loss_func=self._mean_loss,
        )
        self.model_accepts_loss_kwargs = False  # the model has no part in the loss

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """Return the loss; `streams` stays out of the model's sight."""
        self._streams = inputs.pop("streams", None)
        self._length = inputs["input_ids"].shape[1]
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def _mean_loss(
        self, outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        losses = self._target_losses(outputs, labels, self._length)
        counted = labels != IGNORED
        if self._streams is not None and self.model.training:
            streams = self._streams.view(-1, *[1] * (labels.dim() - 1)).expand_as(labels)
            self._stream_losses.note(streams[counted], losses.detach()[counted])
        return losses.sum() / (counted.sum() if num_items_in_batch is None else num_items_in_batch)


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Return the loss of each label, in fp32; `logits` has the shape of `labels` and the classes behind it."""
    losses = functional.cross_entropy(
        logits.float().flatten(0, -2),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction="none",
        label_smoothing=smoothing,
    )
    return losses.view_as(labels)


def token_losses(setup: Setup) -> TargetLosses:
    """Return the losses of models with a target at each token."""
    smoothing = setup.config.training.label_smoothing_factor

    def losses(outputs: Any, labels: torch.Tensor, _: int) -> torch.Tensor:
        # Vectors that prompt tuning puts in front stand at the left and have no target.
        return cross_entropy(outputs.logits[:, -labels.shape[1] :], labels, smoothing)

    return losses


def check_unsmoothed(setup: Setup, why: str) -> None:
    """Raise ConfigError when targets are to be smoothed that cannot be."""
    factor = setup.config.training.label_smoothing_factor
    if factor:
        raise ConfigError(f"spec.training.labelSmoothingFactor is {factor}, and {why}; leave it out")
