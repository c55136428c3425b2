"""Batches of records of like length: none is lost, and every worker has as much to do."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard, SkipBatchSampler
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

from tests.numbered import training
from tunesmith_api.training import Training
from tunesmith_runtime.train.buckets import BucketBatches, BucketCallback, use_buckets

BUCKETS = (16, 64, 128)


def lengths(count: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(1, 129, count)


def bucket(length: int) -> int:
    return next(each for each in BUCKETS if length <= each)


def rounds(batches: list[list[int]], workers: int) -> Iterator[list[list[int]]]:
    iterator = iter(batches)
    while each := list(islice(iterator, workers)):
        yield each


def test_short_records_come_in_large_batches() -> None:
    lens = np.repeat([10, 50, 100], [320, 80, 40])
    batches = list(BucketBatches(lens, BUCKETS, batch_size=4))
    assert Counter((len(batch), *{bucket(lens[row]) for row in batch}) for batch in batches) == {
        (32, 16): 10,
        (8, 64): 10,
        (4, 128): 10,
    }


def test_no_batch_is_left_with_the_last_few_records() -> None:
    assert sorted(len(batch) for batch in BucketBatches([10] * 65, BUCKETS, batch_size=4)) == [21, 22, 22]


def test_a_batch_has_one_record_at_least() -> None:
    assert [len(batch) for batch in BucketBatches([128, 100], (96, 128), batch_size=1)] == [1, 1]


def test_padding_is_less_than_of_random_batches() -> None:
    lens = lengths(1000)

    def computed(batches: list[list[int]]) -> int:
        return sum(len(batch) * int(lens[batch].max()) for batch in batches)

    shuffled = np.random.default_rng(0).permutation(1000).reshape(-1, 4).tolist()
    in_buckets = list(BucketBatches(lens, (32, 64, 96, 128), batch_size=4))
    assert lens.sum() / computed(in_buckets) > 0.8 > 0.7 > lens.sum() / computed(shuffled)


@given(
    lens=st.lists(st.integers(1, 128), min_size=1, max_size=80),
    batch_size=st.integers(1, 5),
    workers=st.integers(1, 5),
    accumulation=st.integers(1, 3),
    epoch=st.integers(0, 2),
)
def test_every_record_is_seen_once_and_every_worker_has_as_many_batches(
    lens: list[int], batch_size: int, workers: int, accumulation: int, epoch: int
) -> None:
    batches = BucketBatches(lens, BUCKETS, batch_size, workers=workers, accumulation=accumulation)
    batches.set_epoch(epoch)
    found = list(batches)
    assert len(found) == len(batches)
    assert len(found) % workers == 0
    assert all(found)
    seen = Counter(row for batch in found for row in batch)
    assert set(seen) == set(range(len(lens)))
    repeated = sum(seen.values()) - len(lens)
    assert repeated < workers
    if repeated:
        assert all(len(batch) == 1 for batch in found)
    for batch in found:
        assert len(batch) <= batch_size * 128 // bucket(max(lens[row] for row in batch))
    for of_all in rounds(found, workers):
        assert max(map(len, of_all)) - min(map(len, of_all)) <= 1


def test_the_batches_of_a_step_are_of_one_bucket() -> None:
    lens = lengths(3000)
    steps = list(rounds(list(BucketBatches(lens, BUCKETS, batch_size=2, workers=2, accumulation=3)), 6))
    mixed = [step for step in steps if len({bucket(max(lens[row] for row in batch)) for batch in step}) > 1]
    assert len(mixed) <= 2
    buckets = [bucket(max(lens[row] for row in step[0])) for step in steps]
    changes = sum(before != after for before, after in pairwise(buckets))
    assert changes > 20, "one bucket after the other"


def test_order_follows_from_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = BucketBatches(lengths(100), BUCKETS, 2, seed=seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    assert len(order(1, 0)) == len(order(1, 1))


@pytest.mark.parametrize("count", [1, 3, 50, 301])
def test_two_workers_see_different_records_in_as_many_batches(count: int) -> None:
    batches = BucketBatches(lengths(count), BUCKETS, batch_size=2, workers=2, accumulation=2)
    each = [list(BatchSamplerShard(batches, num_processes=2, process_index=rank)) for rank in range(2)]
    assert [len(its) for its in each] == [len(BatchSamplerShard(batches, num_processes=2))] * 2
    rows = [{row for batch in its for row in batch} for its in each]
    if count > 1:
        assert not rows[0] & rows[1]
    assert rows[0] | rows[1] == set(range(count))


def test_a_worker_that_goes_on_inside_a_later_epoch_sees_what_is_left_of_it() -> None:
    batches = BucketBatches(lengths(100), BUCKETS, batch_size=2, workers=2, accumulation=2)
    shard = BatchSamplerShard(batches, num_processes=2, process_index=1)
    batches.set_epoch(2)
    whole = list(shard)
    again = BucketBatches(lengths(100), BUCKETS, batch_size=2, workers=2, accumulation=2)
    left = SkipBatchSampler(BatchSamplerShard(again, num_processes=2, process_index=1), skip_batches=6)
    state = TrainerState(global_step=2 * again.steps + 3)
    BucketCallback(again).on_epoch_begin(TrainingArguments(use_cpu=True), state, TrainerControl())
    assert list(left) == whole[6:]


class Tiny(torch.nn.Module):
    """Learns nothing much."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, rows: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Return a loss."""
        return {"loss": (self.weight * rows.float()).mean() ** 2}


def train(
    folder: Path, *, accumulation: int = 1, epochs: float = 2, steps: int = -1, resume: int | None = None
) -> tuple[list[list[int]], int]:
    """Train on 30 rows with a checkpoint at each step; return the batches that were made and the number of steps."""
    lens = lengths(30)
    rows = Dataset.from_dict({"rows": list(range(30)), "length": lens.tolist()})
    made: list[list[int]] = []

    def collate(examples: list[dict[str, int]]) -> dict[str, torch.Tensor]:
        assert examples[0].keys() == {"rows"}
        made.append([each["rows"] for each in examples])
        return {"rows": torch.tensor(made[-1])}

    trainer = Trainer(
        model=Tiny(),
        args=TrainingArguments(
            output_dir=str(folder),
            use_cpu=True,
            num_train_epochs=epochs,
            max_steps=steps,
            gradient_accumulation_steps=accumulation,
            save_strategy="steps",
            save_steps=1,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=rows,
        data_collator=collate,
    )
    use_buckets(
        trainer,
        rows["length"],
        training("a", maxLength=128, lengthBuckets=list(BUCKETS)),
        Training(per_device_train_batch_size=2),
    )
    trainer.train(resume_from_checkpoint=None if resume is None else str(folder / f"checkpoint-{resume}"))
    return made, int(trainer.state.global_step)


def test_a_trainer_sees_every_record_once_in_an_epoch(tmp_path: Path) -> None:
    made, steps = train(tmp_path, epochs=2)
    assert steps == len(made)
    half = len(made) // 2
    assert sorted(row for batch in made[:half] for row in batch) == list(range(30))
    assert sorted(row for batch in made[half:] for row in batch) == list(range(30))
    assert made[:half] != made[half:]


def test_a_trainer_that_resumes_sees_the_batches_that_are_left(tmp_path: Path) -> None:
    made, steps = train(tmp_path, accumulation=2)
    in_epoch = len(made) // 2
    per_epoch = -(-in_epoch // 2)
    assert steps == 2 * per_epoch
    for step, seen in ((2, 4), (per_epoch, in_epoch), (per_epoch + 1, in_epoch + 2)):
        resumed, done = train(tmp_path, accumulation=2, resume=step)
        assert done == steps
        assert resumed == made[seen:]


def test_a_number_of_steps_ends_inside_an_epoch(tmp_path: Path) -> None:
    made, steps = train(tmp_path, steps=5)
    assert steps == 5
    assert len({tuple(batch) for batch in made[:5]}) == 5
