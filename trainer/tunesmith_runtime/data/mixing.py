"""How datasets share an epoch: which of their rows it sees, and how often."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from tunesmith_api.data import TrainingData
from tunesmith_runtime.errors import ConfigError

Lengths = NDArray[np.int32]
Positions = NDArray[np.int64]

# An epoch that repeats the data more often than this is taken for a slip of the pen.
MOST_REPEATED = 1000


def mix(data: TrainingData, lengths: Sequence[Lengths]) -> list[Positions]:
    """Return which rows of each dataset an epoch sees, as positions in it; without weights or temperature, each once.

    `lengths` are those of each dataset's rows in tokens. Raises ConfigError for an epoch out of all proportion.
    """
    by_tokens = data.mixing.by == "tokens"
    sizes = [int(each.sum()) if by_tokens else len(each) for each in lengths]
    weights = _weights(data, sizes)
    if weights is None:
        return [np.arange(len(each)) for each in lengths]
    amounts = amounts_of(sizes, weights)
    if sum(amounts) > MOST_REPEATED * sum(sizes):
        raise ConfigError(
            f"data.train: an epoch that gives the datasets these shares has {sum(amounts):,} {data.mixing.by}, more "
            f"than {MOST_REPEATED:,} times the {sum(sizes):,} that there are; bring the weights closer together"
        )
    draw = draw_tokens if by_tokens else draw_records
    return [
        draw(each, amount, np.random.default_rng((data.seed, stream)))
        for stream, (each, amount) in enumerate(zip(lengths, amounts, strict=True))
    ]


def amounts_of(sizes: Sequence[int], weights: Sequence[float]) -> tuple[int, ...]:
    """Return how much of each dataset an epoch sees: in proportion to the weights, and at least all of it.

    The dataset that is the largest for its weight is seen exactly once.
    """
    exact = [Fraction(weight) for weight in weights]
    scale = max(size / weight for size, weight in zip(sizes, exact, strict=True))
    return tuple(round(scale * weight) for weight in exact)


def draw_records(lengths: Lengths, amount: int, rng: np.random.Generator) -> Positions:
    """Return `amount` positions: all of them as often as that goes, and a random sample for what is left."""
    passes, rest = divmod(amount, len(lengths))
    sample = np.sort(rng.permutation(len(lengths))[:rest])
    return _repeated(len(lengths), passes, sample)


def draw_tokens(lengths: Lengths, amount: int, rng: np.random.Generator) -> Positions:
    """Return positions of rows with `amount` tokens in all, or as close to it as half the shortest row left.

    All rows are there as often as that goes. What is left is filled at random, and its end with rows that still fit.
    """
    passes, rest = divmod(amount, int(lengths.sum()))
    order = rng.permutation(len(lengths))
    shuffled = lengths[order].astype(np.int64)
    taken = np.zeros(len(order), dtype=bool)
    while len(fitting := np.flatnonzero(~taken & (shuffled <= rest))):
        ends = np.cumsum(shuffled[fitting])
        count = int(np.searchsorted(ends, rest, side="right"))
        taken[fitting[:count]] = True
        rest -= int(ends[count - 1])
    left = np.flatnonzero(~taken)
    if len(left):
        shortest = left[np.argmin(shuffled[left])]
        if shuffled[shortest] - rest < rest:
            taken[shortest] = True
    return _repeated(len(lengths), passes, np.sort(order[taken]))


def _weights(data: TrainingData, sizes: Sequence[int]) -> tuple[float, ...] | None:
    if data.mixing.temperature is not None:
        return tuple(size ** (1 / data.mixing.temperature) for size in sizes)
    weights = tuple(dataset.weight for dataset in data.train if dataset.weight is not None)
    return weights or None


def _repeated(count: int, passes: int, sample: Positions) -> Positions:
    return np.concatenate([np.tile(np.arange(count, dtype=np.int64), passes), sample.astype(np.int64)])
