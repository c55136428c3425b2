"""What a method is made of: how a record becomes a row, and which Trainer learns from the rows."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import datasets
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

from tunesmith_api.contract import TrainRun
from tunesmith_api.training import MethodType, Task
from tunesmith_runtime.data.records import Record

# Columns of one training example, such as input_ids and labels: values that Arrow can hold.
Row = dict[str, Any]


@dataclass(frozen=True)
class Labels:
    """The classes of a classifier, in the order of their numbers; none for a regression."""

    kind: Literal["single", "multi", "regression"]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Encoder:
    """What encoding a record needs besides the record."""

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    labels: Labels | None = None


@dataclass
class StreamLosses:
    """The loss of each data stream since it was last asked for: sums over tokens, and their numbers."""

    sums: dict[int, float] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)

    def note(self, streams: torch.Tensor, losses: torch.Tensor) -> None:
        """Add the losses of some tokens; `streams`, of the same shape, holds the number of each token's stream."""
        for stream in streams.unique().tolist():
            own = losses[streams == stream]
            self.sums[stream] = self.sums.get(stream, 0.0) + float(own.sum())
            self.counts[stream] = self.counts.get(stream, 0) + own.numel()

    def take(self) -> dict[int, tuple[float, int]]:
        """Return the sum of losses and the number of tokens of each stream, and begin anew."""
        taken = {stream: (self.sums[stream], count) for stream, count in self.counts.items()}
        self.sums.clear()
        self.counts.clear()
        return taken


@dataclass(frozen=True)
class Setup:
    """All that a recipe makes its Trainer of.

    `arguments` are keyword arguments of transformers' TrainingArguments, which every method's own arguments extend.
    """

    config: TrainRun
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    arguments: Mapping[str, Any]
    train: datasets.Dataset
    validation: Mapping[str, datasets.Dataset] = field(default_factory=dict)
    labels: Labels | None = None
    stream_losses: StreamLosses = field(default_factory=StreamLosses)


@dataclass(frozen=True)
class Recipe:
    """How one method trains one family of models.

    `encode` yields the rows of a record: none when it has nothing to learn, one or, when a long text is cut into
    windows, several. `length` is how many tokens of `maxLength` a row takes. `labels` finds the classes in all training
    records, for methods that need to know them before the first one is encoded.
    """

    task: Task
    method: MethodType
    accepts: tuple[type[Record], ...]
    encode: Callable[[Record, Encoder], Iterator[Row]]
    trainer: Callable[[Setup], Trainer]
    length: Callable[[Row], int] = lambda row: len(row["input_ids"])
    labels: Callable[[Iterable[Record]], Labels] | None = None
    # Whether rows are input_ids and labels, and may be cut at any token and packed.
    is_plain: bool = False
