"""Samples of like length are worked on together, as many as memory allows."""

import pytest
import torch

from tunesmith_runtime.evaluate.batching import TOKENS_ON_CPU, Batching

CPU = torch.device("cpu")


def done(batching: Batching, lengths: list[int], room: int | None = None) -> list[list[int]]:
    """Return the batches that were worked on, by a device that has room for so many tokens at once."""
    seen: list[list[int]] = []

    def work(batch: list[int]) -> None:
        if room is not None and len(batch) * max(lengths[index] for index in batch) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        seen.append(list(batch))

    batching.run(lengths, work)
    return seen


def test_a_fixed_number_the_longest_first() -> None:
    assert done(Batching(2, CPU), [1, 5, 3, 4, 2]) == [[1, 3], [2, 4], [0]]


def test_by_tokens_there_are_more_of_the_short_ones() -> None:
    long, short = TOKENS_ON_CPU // 2, TOKENS_ON_CPU // 8
    batches = done(Batching(None, CPU), [long] * 2 + [short] * 10)

    assert [len(batch) for batch in batches] == [2, 8, 2]


def test_one_that_is_longer_than_all_tokens_goes_alone() -> None:
    assert done(Batching(None, CPU), [3 * TOKENS_ON_CPU, 1])[0] == [0]


@pytest.mark.parametrize("rows", [None, 8])
def test_without_room_it_goes_on_with_half_as_many_and_loses_none(rows: int | None) -> None:
    lengths = [TOKENS_ON_CPU // 8] * 20
    batching = Batching(rows, CPU)

    batches = done(batching, lengths, room=TOKENS_ON_CPU // 4)

    assert sorted(index for batch in batches for index in batch) == list(range(20))
    assert max(len(batch) for batch in batches) == 2
    # What was learnt is kept for the suites that follow.
    assert max(len(batch) for batch in done(batching, lengths)) == 2


def test_one_sample_without_room_is_told() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        done(Batching(4, CPU), [10, 10], room=5)


def test_other_errors_are_no_lack_of_room() -> None:
    def work(_: list[int]) -> None:
        raise ValueError("the tokenizer is broken")

    with pytest.raises(ValueError, match="broken"):
        Batching(4, CPU).run([1, 2], work)
