"""What the batches of a run hold: records, tokens, padding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import add, sub
from typing import Any, NamedTuple

import torch

INPUT_IDS = "input_ids"
# What KTO makes up of mismatched prompts and answers, to estimate a divergence: nothing is learnt from it.
_NOT_TRAINED = ("KL_",)


class Counts(NamedTuple):
    """Sums over batches. Of an encoder-decoder, `targets` is the part of `real` that its decoder sees."""

    samples: int = 0
    real: int = 0
    computed: int = 0
    # Sum of the squares of the lengths of what attends to itself, from which the work of attention follows.
    squares: int = 0
    targets: int = 0
    target_squares: int = 0
    # Sum of the products of source and target lengths.
    crossed: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Return the sums of both."""
        return Counts(*map(add, self, other))

    def minus(self, other: "Counts") -> "Counts":
        """Return what came after `other`."""
        return Counts(*map(sub, self, other))


@dataclass
class TokenCounter:
    """Wraps a data collator and counts what is in the batches that it makes.

    Lengths are those of packed records (`seq_lengths`), else those that attention masks show, else those of the rows'
    `input_ids`; `tokens` says them otherwise. Every tensor whose name ends in input_ids counts: of DPO and reward
    models a prompt counts once with each of its answers, as it is computed. It must run in the training process.
    """

    collate: Callable[[list[dict[str, Any]]], dict[str, Any]]
    tokens: Callable[[dict[str, Any]], int] | None = None
    encoder_decoder: bool = False
    # False while an evaluation draws its batches.
    counting: bool = True
    counts: Counts = field(default_factory=Counts)

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch, having counted its tokens with and without padding."""
        batch = self.collate(examples)
        if self.counting:
            self.counts = self.counts.plus(self._count(examples, batch))
        return batch

    def note(self, batch: dict[str, Any]) -> None:
        """Count a batch that no collator made: answers that the model has just written, with their prompts."""
        if self.counting:
            self.counts = self.counts.plus(self._count([{}] * len(batch[INPUT_IDS]), batch))

    @property
    def real(self) -> int:
        """Tokens without padding so far."""
        return self.counts.real

    @property
    def computed(self) -> int:
        """Tokens with padding so far."""
        return self.counts.computed

    @property
    def real_ratio(self) -> float:
        """Real tokens over computed tokens so far, in (0, 1]."""
        return self.real / self.computed if self.computed else 1.0

    def _count(self, examples: list[dict[str, Any]], batch: dict[str, Any]) -> Counts:
        names = [name for name in batch if name.endswith(INPUT_IDS) and not name.startswith(_NOT_TRAINED)]
        computed = sum(batch[name].numel() for name in names)
        lengths = self._lengths(examples, batch, names)
        targets: list[int] = []
        if self.encoder_decoder:
            labels = batch["labels"]
            targets = (labels != -100).sum(-1).tolist()
            if f"decoder_{INPUT_IDS}" not in names:
                computed += labels.numel()
        return Counts(
            samples=sum(len(example.get("seq_lengths", (0,))) for example in examples),
            real=sum(lengths) + sum(targets),
            computed=computed,
            squares=_squares(lengths),
            targets=sum(targets),
            target_squares=_squares(targets),
            # Rows of several records say no lengths of single ones, but those of an encoder-decoder are never packed.
            crossed=sum(source * target for source, target in zip(lengths, targets, strict=False)),
        )

    def _lengths(self, examples: list[dict[str, Any]], batch: dict[str, Any], names: list[str]) -> list[int]:
        if self.tokens is not None:
            return [self.tokens(example) for example in examples]
        if "seq_lengths" in examples[0]:
            return [length for example in examples for length in example["seq_lengths"]]
        return [
            length
            for name in names
            if not name.startswith("decoder_")
            for length in _row_lengths(name, examples, batch)
        ]


def _row_lengths(name: str, examples: list[dict[str, Any]], batch: dict[str, Any]) -> list[int]:
    mask = batch.get(f"{name.removesuffix(INPUT_IDS)}attention_mask")
    if isinstance(mask, torch.Tensor) and mask.ndim == batch[name].ndim:
        lengths: list[int] = mask.sum(-1).tolist()
        return lengths
    if name in examples[0]:
        return [len(example[name]) for example in examples]
    rows, longest = batch[name].shape
    return [longest] * rows


def _squares(lengths: Sequence[int]) -> int:
    return sum(length * length for length in lengths)
