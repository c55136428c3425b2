"""Batches of records of like length: short ones in large batches, long ones in small ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunesmith_api.data import TrainingData
from tunesmith_api.training import Training

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class _Plan:
    """What becomes of each bucket in every epoch, which only its number of rows decides.

    `rounds` are how often all workers get a batch of it, `passed_on` how many of its rows go to the next bucket, and
    `lent` how many to the last one; `repeated` rows of the last one are seen twice.
    """

    rounds: tuple[int, ...]
    passed_on: tuple[int, ...]
    lent: tuple[int, ...]
    repeated: int


class BucketBatches(Sampler[list[int]]):
    """Row numbers of the batches of all workers, in turn: the first of each round is for the first worker, and so on.

    A row belongs to the smallest bucket that holds it. The rows of a bucket are shuffled and dealt evenly to as few
    rounds as its batch size allows: batches differ by one row at most. All batches of a round, and of an optimizer
    step as far as rows go round, are of one bucket, so that no worker waits for another. Every row is seen once in an
    epoch: of a bucket too small to give each worker one, rows go to the next bucket, and the last bucket borrows from
    those before it. Only when all batches are single rows are some seen twice to fill the last round, fewer than there
    are workers. Order and batches follow from the seed and the epoch; their number is the same in each.
    """

    def __init__(
        self,
        lengths: Sequence[int] | NDArray[Any],
        buckets: Sequence[int],
        batch_size: int,
        *,
        workers: int = 1,
        accumulation: int = 1,
        seed: int = 0,
    ) -> None:
        """Take the rows' lengths and the ascending lengths of buckets, the last of which holds `batch_size` rows.

        `accumulation` is the number of rounds in an optimizer step.
        """
        self._bucket_of = np.searchsorted(np.asarray(buckets), np.asarray(lengths), side="left")
        counts = np.bincount(self._bucket_of, minlength=len(buckets)).tolist()
        sizes = [batch_size * buckets[-1] // bucket for bucket in buckets]
        self._plan = _planned(counts, sizes, workers)
        self._workers = workers
        self._accumulation = accumulation
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        """Return the number of batches of all workers, a multiple of their number."""
        return self._workers * sum(self._plan.rounds)

    @property
    def steps(self) -> int:
        """Optimizer steps in an epoch."""
        return -(-sum(self._plan.rounds) // self._accumulation)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is iterated over next."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the row numbers of each batch."""
        rng = np.random.default_rng((self._seed, self._epoch))
        dealt = self._dealt(rng)
        for bucket, number in self._order(rng):
            rows, batches = dealt[bucket], self._plan.rounds[bucket] * self._workers
            for worker in range(self._workers):
                yield rows[number * self._workers + worker :: batches].tolist()

    def _dealt(self, rng: np.random.Generator) -> list[Rows]:
        """Return the rows of each bucket in the order in which they are dealt to its batches."""
        dealt: list[Rows] = []
        before, borrowed = np.arange(0), [np.arange(0)]
        for bucket, (passed_on, lent) in enumerate(zip(self._plan.passed_on, self._plan.lent, strict=True)):
            rows = np.concatenate([before, rng.permutation(np.flatnonzero(self._bucket_of == bucket))])
            kept = len(rows) - passed_on - lent
            dealt.append(rows[:kept])
            before = rows[kept : kept + passed_on]
            borrowed.append(rows[kept + passed_on :])
        last = np.concatenate([dealt[-1], *borrowed])
        dealt[-1] = np.resize(last, len(last) + self._plan.repeated)
        return dealt

    def _order(self, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
        """Yield bucket and number of each round: whole steps of one bucket, shuffled with the mixed ones."""
        whole, left = [], []
        for bucket, count in enumerate(self._plan.rounds):
            rounds = np.stack([np.full(count, bucket), np.arange(count)], axis=1)
            end = count - count % self._accumulation
            whole.append(rounds[:end])
            left.append(rounds[end:])
        rounds = np.concatenate([*whole, *left])
        steps = len(rounds) // self._accumulation
        starts = [*(rng.permutation(steps) * self._accumulation), steps * self._accumulation]
        for start in starts:
            for bucket, number in rounds[start : start + self._accumulation].tolist():
                yield bucket, number


@dataclass
class BucketCallback(TrainerCallback):
    """Tells the batches which epoch begins.

    The Trainer itself does not reach them when it goes on inside an epoch on several workers: they then lie below two
    wrappers of accelerate.
    """

    batches: BucketBatches

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the epoch as the Trainer counts it, by the steps that are done."""
        self.batches.set_epoch(state.global_step // self.batches.steps)


def use_buckets(
    trainer: Trainer, lengths: Sequence[int] | NDArray[Any], data: TrainingData, training: Training
) -> None:
    """Make the Trainer train on batches of one bucket each; `lengths` are those of its training rows.

    On several workers accelerate hands each one its batches, and a Trainer that resumes skips those already seen.
    """
    batches = BucketBatches(
        lengths[:],  # a column of a dataset is read at once, not row by row
        data.length_buckets,
        training.per_device_train_batch_size,
        workers=trainer.accelerator.num_processes,
        accumulation=trainer.args.gradient_accumulation_steps,
        seed=training.seed,
    )
    trainer.add_callback(BucketCallback(batches))
    # The Trainer's own way to another order is a sampler of single rows, from which it makes batches of one size.
    trainer.get_train_dataloader = partial(_dataloader, trainer, batches)


def _dataloader(trainer: Trainer, batches: BucketBatches) -> DataLoader[Any]:
    rows = trainer.train_dataset
    if isinstance(rows, datasets.Dataset):
        rows = trainer._remove_unused_columns(rows, description="Training")
    loader: DataLoader[Any] = DataLoader(
        rows,
        batch_sampler=batches,
        collate_fn=trainer.data_collator,
        num_workers=trainer.args.dataloader_num_workers,
        pin_memory=trainer.args.dataloader_pin_memory,
    )
    prepared: DataLoader[Any] = trainer.accelerator.prepare(loader)
    return prepared


def _planned(counts: Sequence[int], sizes: Sequence[int], workers: int) -> _Plan:
    last = len(counts) - 1
    rounds, kept, passed_on = [], [], []
    coming = 0
    for bucket, (count, size) in enumerate(zip(counts, sizes, strict=True)):
        held, coming = count + coming, 0
        needed = -(-held // (size * workers))
        if bucket < last and held < needed * workers:
            needed -= 1
            coming = held - needed * workers
        rounds.append(needed)
        kept.append(held - coming)
        passed_on.append(coming)
    missing = max(0, rounds[last] * workers - kept[last])
    lent = [0] * len(counts)
    for bucket in reversed(range(last)):
        lent[bucket] = min(missing, kept[bucket] - rounds[bucket] * workers)
        missing -= lent[bucket]
    return _Plan(tuple(rounds), tuple(passed_on), tuple(lent), repeated=missing)
