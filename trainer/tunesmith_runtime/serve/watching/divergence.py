"""How far two samples of texts are apart, and whether that may be chance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

# Of hashed groups of three bytes, and of lengths by powers of two.
GROUPS, LENGTHS = 64, 16
# A chance smaller than one of so many splits is none.
_SPLITS = 999
_CHANCE = 0.001
_FACTORS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))
_SHIFT = np.uint64(58)  # leaves the upper six bits: a number below GROUPS


@dataclass(frozen=True)
class Difference:
    """How far two samples are apart; `chance` is how often samples of one distribution are as far apart."""

    value: float
    chance: float

    def counts(self, limit: float) -> bool:
        """Return whether it reaches the limit and is no chance."""
        return self.value >= limit and self.chance <= _CHANCE


def profile(text: str) -> Matrix:
    """Return the shares of hashed groups of characters in a text, and in which range its length is."""
    found: Matrix = np.zeros(GROUPS + LENGTHS)
    found[GROUPS + min(LENGTHS - 1, len(text).bit_length())] = 1.0
    octets = np.frombuffer(text.lower().encode("utf-8", "replace"), dtype=np.uint8).astype(np.uint64)
    if len(octets) >= 3:
        mixed = octets[:-2] * _FACTORS[0] ^ octets[1:-1] * _FACTORS[1] ^ octets[2:] * _FACTORS[2]
        hashed = (mixed * _FACTORS[0]) >> _SHIFT
        found[:GROUPS] = np.bincount(hashed.astype(np.int64), minlength=GROUPS) / len(hashed)
    return found


def psi(expected: Matrix, actual: Matrix) -> float:
    """Return the population stability index of two distributions, none of whose shares is 0."""
    return float(((actual - expected) * np.log(actual / expected)).sum())


def stability(reference: Sequence[Matrix], window: Sequence[Matrix], seed: int = 0) -> Difference:
    """Return the larger PSI of the groups of characters and of the lengths, of two samples of profiles."""
    pooled, size = np.stack([*reference, *window]), len(reference)

    def larger(masks: Matrix) -> Matrix:
        ones, others = masks @ pooled, (1 - masks) @ pooled
        parts = []
        for part in (slice(0, GROUPS), slice(GROUPS, GROUPS + LENGTHS)):
            first, second = _smoothed(ones[:, part]), _smoothed(others[:, part])
            parts.append(((second - first) * np.log(second / first)).sum(axis=1))
        return np.asarray(np.maximum(*parts))

    return _tested(larger, len(pooled), size, seed)


def discrepancy(reference: Matrix, window: Matrix, seed: int = 0) -> Difference:
    """Return the squared maximum mean discrepancy of two samples of vectors, without bias, 0 at least.

    The kernel is Gaussian, as wide as the median distance (Gretton et al. 2012).
    """
    pooled, size = np.concatenate([reference, window]), len(reference)
    squares = (pooled**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * pooled @ pooled.T, 0)
    apart = distances[np.triu_indices(len(pooled), 1)]
    width = float(np.median(apart)) or 1.0
    kernel = np.exp(-distances / width)
    np.fill_diagonal(kernel, 0)

    def squared(masks: Matrix) -> Matrix:
        others = 1 - masks
        one, other = masks.sum(axis=1), others.sum(axis=1)
        within = ((masks @ kernel) * masks).sum(axis=1) / (one * (one - 1))
        within += ((others @ kernel) * others).sum(axis=1) / (other * (other - 1))
        across = ((masks @ kernel) * others).sum(axis=1) / (one * other)
        return np.asarray(np.maximum(within - 2 * across, 0))

    return _tested(squared, len(pooled), size, seed)


def _smoothed(sums: Matrix) -> Matrix:
    """Return shares of which none is 0: half a text more in each bucket."""
    raised = sums + 0.5
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _tested(measure: Callable[[Any], Matrix], total: int, size: int, seed: int) -> Difference:
    """Return what is measured of the first `size` against the others, tested by splits of all at random."""
    first = np.zeros((_SPLITS + 1, total))
    first[0, :size] = 1
    first[1:] = np.random.default_rng(seed).permuted(np.broadcast_to(first[0], (_SPLITS, total)), axis=1)
    values = measure(first)
    return Difference(float(values[0]), float((values >= values[0]).sum()) / (_SPLITS + 1))
