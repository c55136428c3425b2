"""How sure a measured number is, and whether two models differ: intervals, paired tests and their correction.

Every metric here is a function of sums over samples: a mean of scores, the exponent of a mean, BLEU from counts of
n-grams. So samples are drawn anew, or change sides, by adding up their rows in another way; nothing is scored twice.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

Rows = NDArray[np.float64]

LEVEL = 0.05
POWER = 0.8
# Resamples and exchanges: the smallest p-value that can come out is one over these and one.
DRAWS = 4999
# Of these at a time, so that a suite of many samples needs no gigabytes.
_AT_ONCE = 256
_SEED = 0
# Bounds of the bins that percentiles are counted in.
_EDGES = np.geomspace(1e-4, 1e6, 1164)


@dataclass(frozen=True)
class Summands:
    """A metric as a function of sums: `rows` are of shape (samples, k), `of_sums` maps sums (m, k) to values (m,).

    Of a percentile, `percent` says which, and rows have a 1 in the column of the value's bin.
    """

    rows: Rows
    of_sums: Callable[[Rows], Rows]
    percent: float | None = None

    @property
    def shares(self) -> bool:
        """Whether the metric is the share of samples that have something."""
        return self.of_sums is _mean and bool(
            np.isin(self.rows[:, 0], (0.0, 1.0)).all() and (self.rows[:, 1] == 1.0).all()
        )

    @property
    def samples(self) -> int:
        """How many samples it is computed from: those without a value have rows of zeros."""
        return int(self.rows.any(axis=1).sum())

    @property
    def value(self) -> float:
        """The metric of all samples; infinite when it is too large for a float, NaN where it is not defined."""
        with np.errstate(all="ignore"):
            return float(self.of_sums(self.rows.sum(axis=0, keepdims=True))[0])


@dataclass(frozen=True)
class Estimate:
    """The standard error of a metric, and the bounds of its 95% interval."""

    stderr: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """A paired comparison: the p-value of "there is no difference", and the least difference that it would find.

    That one is found in four of five evaluations on as many samples, at a level of 5% without correction.
    """

    p_value: float
    detectable: float | None


def mean_of(scores: Sequence[float | None]) -> Summands:
    """Return a metric that is the mean of its samples' scores; those that are None do not count."""
    return Summands(np.array([(0.0, 0.0) if score is None else (score, 1.0) for score in scores]), _mean)


def binned(values: Sequence[float | None]) -> Rows:
    """Return samples' values as rows that percentiles are computed from: a 1 in the bin of each, none for None.

    Values from 1e-4 to 1e6 are counted in bins of which each is 2% wider than the one before, so that their numbers add
    up (as HdrHistogram has it).
    """
    rows = np.zeros((len(values), len(_EDGES) + 1))
    for row, value in zip(rows, values, strict=True):
        if value is not None:
            row[np.searchsorted(_EDGES, value)] = 1.0
    return rows


def percentile_of(rows: Rows, percent: float) -> Summands:
    """Return a metric that is a percentile of `binned` values, to within 1%."""
    middles = np.concatenate([_EDGES[:1], np.sqrt(_EDGES[1:] * _EDGES[:-1]), _EDGES[-1:]])

    def of_sums(sums: Rows) -> Rows:
        upto = sums.cumsum(axis=1)
        found = middles[(upto >= percent / 100 * upto[:, -1:]).argmax(axis=1)]
        return np.where(upto[:, -1] > 0, found, np.nan)

    return Summands(rows, of_sums, percent)


def exp_of_mean(sums: Sequence[float], counts: Sequence[int]) -> Summands:
    """Return a metric that is exp of all samples' sums over all their counts."""
    return Summands(np.array([*zip(sums, counts, strict=True)], dtype=float), _exp_of_mean)


def estimate(metric: Summands) -> Estimate | None:
    """Return how sure a metric is; None of fewer than two samples, or where it is not finite.

    A share has Wilson's interval (Wilson 1927), which has a width when all samples agree. All others have the
    percentiles of the bootstrap over samples (Efron 1979).
    """
    samples = len(metric.rows)
    if metric.samples < 2:  # one says nothing of others
        return None
    if metric.shares:
        hits = int(metric.rows[:, 0].sum())
        bounds = binomtest(hits, samples).proportion_ci(1 - LEVEL, method="wilson")
        share = hits / samples
        return Estimate(math.sqrt(share * (1 - share) / samples), float(bounds.low), float(bounds.high))
    rng = np.random.default_rng(_SEED)
    with np.errstate(all="ignore"):
        drawn = np.concatenate(
            [
                metric.of_sums(rng.multinomial(samples, np.full(samples, 1 / samples), size) @ metric.rows)
                for size in _batches(DRAWS)
            ]
        )
    if not np.isfinite(drawn).all():
        return None
    low, high = np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2])
    return Estimate(float(drawn.std(ddof=1)), float(low), float(high))


def compare(target: Summands, baseline: Summands) -> Comparison | None:
    """Return the paired comparison of one metric on two models over the same samples; None where it is not finite.

    Shares are compared by McNemar's exact test (McNemar 1947), percentiles by the same test on the share of samples
    beyond the percentile of both models' samples together (as Mood's median test does it, Mood 1954), all others by
    approximate randomisation: did the two models not differ, a sample's results could as well change sides (Noreen
    1989; for BLEU Riezler and Maxwell 2005). Unlike a bootstrap these tests never alarm more often than their level.
    """
    if len(target.rows) < 2:  # one says nothing of others
        return None
    detectable = _detectable(target, baseline)
    if target.shares and baseline.shares:
        return Comparison(_mcnemar(target.rows[:, 0] - baseline.rows[:, 0]), detectable)
    if target.percent is not None:
        # Exchanged, percentiles that lie far apart would stay far apart: their own difference tells nothing.
        return Comparison(_mcnemar(_beyond(target.rows, baseline.rows, target.percent)), detectable)
    ours, theirs = target.rows.sum(axis=0), baseline.rows.sum(axis=0)
    exchange = target.rows - baseline.rows
    rng = np.random.default_rng(_SEED)
    with np.errstate(all="ignore"):
        seen = abs(float(target.of_sums(ours[None])[0] - target.of_sums(theirs[None])[0]))
        if not math.isfinite(seen):
            return None
        as_large = 0
        for size in _batches(DRAWS):
            moved = rng.integers(0, 2, (size, len(exchange))) @ exchange
            found = np.abs(target.of_sums(ours - moved) - target.of_sums(theirs + moved))
            # Sums of the same numbers in another order differ in their last bits.
            as_large += int((found >= seen * (1 - 1e-9)).sum())
    return Comparison((as_large + 1) / (DRAWS + 1), detectable)


def corrected(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values of several tests that may be compared with one level, by Holm's method (Holm 1979)."""
    found: dict[str, float] = {}
    most = 0.0
    for rank, (name, p_value) in enumerate(sorted(p_values.items(), key=lambda each: each[1])):
        most = max(most, min(1.0, p_value * (len(p_values) - rank)))
        found[name] = most
    return found


def _mcnemar(change: Rows) -> float:
    gains, losses = int((change > 0).sum()), int((change < 0).sum())
    return float(binomtest(gains, gains + losses).pvalue) if gains + losses else 1.0


def _beyond(target: Rows, baseline: Rows, percent: float) -> Rows:
    """Return, for samples with a value on both sides, who alone is beyond the percentile of all: 1, -1 or 0."""
    both = target.any(axis=1) & baseline.any(axis=1)
    ours, theirs = target[both], baseline[both]
    upto = (ours + theirs).sum(axis=0).cumsum()
    bound = int((upto >= percent / 100 * upto[-1]).argmax())
    return np.asarray(ours[:, bound + 1 :].sum(axis=1) - theirs[:, bound + 1 :].sum(axis=1))


def _detectable(target: Summands, baseline: Summands) -> float | None:
    """Return the least difference that is found with the usual power, from the spread of the paired bootstrap."""
    samples = len(target.rows)
    rng = np.random.default_rng(_SEED)
    differences = []
    with np.errstate(all="ignore"):
        for size in _batches(DRAWS // 5):
            weights = rng.multinomial(samples, np.full(samples, 1 / samples), size)
            differences.append(target.of_sums(weights @ target.rows) - baseline.of_sums(weights @ baseline.rows))
        spread = float(np.concatenate(differences).std(ddof=1))
    if not math.isfinite(spread) or spread == 0:  # of samples that are all alike nothing can be foretold
        return None
    return float((norm.ppf(1 - LEVEL / 2) + norm.ppf(POWER)) * spread)


def _batches(count: int) -> list[int]:
    return [_AT_ONCE] * (count // _AT_ONCE) + ([count % _AT_ONCE] if count % _AT_ONCE else [])


def _mean(sums: Rows) -> Rows:
    return sums[:, 0] / sums[:, 1]


def _exp_of_mean(sums: Rows) -> Rows:
    return np.exp(_mean(sums))
