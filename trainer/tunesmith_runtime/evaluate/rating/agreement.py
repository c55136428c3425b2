"""How far people agree with each other."""

import numpy as np

from tunesmith_runtime.evaluate.statistics import Rows, Summands


def agreement(counts: Rows) -> Summands:
    """Return the share of pairs of votes on the same item that agree.

    `counts` has a row for each item and a column for each outcome: how many people have said it. Items with fewer than
    two votes do not count.
    """
    return Summands(_rows(counts), _observed)


def kappa(counts: Rows) -> Summands | None:
    """Return Fleiss' kappa: the agreement of votes beyond what is expected by chance, in shares of what is possible.

    As Fleiss (1971, Measuring nominal scale agreement among many raters) has it, where all items have the same number
    of votes; else an item weighs as much as it has pairs of votes. None when all votes are alike: chance alone would
    make them agree.
    """
    rows = _rows(counts)
    return Summands(rows, _kappa) if (rows[:, 2:].sum(axis=0) > 0).sum() > 1 else None


def _rows(counts: Rows) -> Rows:
    """Return, for each item, its pairs of votes that agree, all of them, and its votes by outcome."""
    counts = np.where(counts.sum(axis=1, keepdims=True) > 1, counts, 0.0)
    votes = counts.sum(axis=1)
    agreeing = (counts * (counts - 1)).sum(axis=1) / 2
    return np.column_stack([agreeing, votes * (votes - 1) / 2, counts])


def _observed(sums: Rows) -> Rows:
    return np.asarray(sums[:, 0] / sums[:, 1])


def _kappa(sums: Rows) -> Rows:
    votes = sums[:, 2:]
    by_chance = ((votes / votes.sum(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return np.asarray((_observed(sums) - by_chance) / (1 - by_chance))
