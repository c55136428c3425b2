"""Whether the paired tests of an evaluation keep what they promise: `make bench-eval`.

Compares two models that do not differ, $BENCH_COMPARISONS times, and prints how often the test says that they do; then
two that differ by a known effect, and prints how often it finds that, beside what theory gives for the t-test and for
McNemar's test on as many samples.
"""

import os
import sys
from collections.abc import Callable, Iterator
from math import sqrt

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import binom, binomtest, nct, t

from tunesmith_runtime.evaluate import statistics
from tunesmith_runtime.evaluate.statistics import LEVEL, compare, mean_of

COMPARISONS = int(os.environ.get("BENCH_COMPARISONS", "2000"))
SAMPLES = 80
# The spread of a sample's difference, and the shift that is to be found.
SPREAD, EFFECT = 0.2, 0.05
# How often the better model alone is right, and the worse one alone.
ONLY_TARGET, ONLY_BASELINE = 0.25, 0.08
Pair = tuple[list[float], list[float]]


def main() -> None:
    """Print the table; exit with 1 when a rate of false alarms is beyond the level by more than chance."""
    statistics.DRAWS = 999  # as many as a level of 5% needs
    rng = np.random.default_rng(0)
    table = Table(title=f"{COMPARISONS} comparisons of {SAMPLES} samples, level {LEVEL:.0%}")
    for column in ("metric", "no difference: alarms", "known effect: found", "computed power"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    alarms = 0
    kinds: tuple[tuple[str, Callable[[np.random.Generator, bool], Pair], float], ...] = (
        ("mean of scores", _scores, _power_of_scores()),
        ("share (McNemar)", _shares, _power_of_shares()),
    )
    for name, draw, power in kinds:
        false = sum(_found(draw, rng, differs=False))
        true = sum(_found(draw, rng, differs=True))
        alarms = max(alarms, false)
        table.add_row(name, f"{false / COMPARISONS:.2%}", f"{true / COMPARISONS:.1%}", f"{power:.1%}")
    Console(width=100).print(table)
    sys.exit(int(binomtest(alarms, COMPARISONS, LEVEL, alternative="greater").pvalue < 0.001))


def _found(
    draw: Callable[[np.random.Generator, bool], Pair], rng: np.random.Generator, *, differs: bool
) -> Iterator[bool]:
    for _ in range(COMPARISONS):
        target, baseline = draw(rng, differs)
        found = compare(mean_of(target), mean_of(baseline))
        yield found is not None and found.p_value <= LEVEL


def _scores(rng: np.random.Generator, differs: bool) -> Pair:
    baseline = rng.beta(2, 2, SAMPLES)
    target = baseline + rng.normal(EFFECT if differs else 0.0, SPREAD, SAMPLES)
    return target.tolist(), baseline.tolist()


def _shares(rng: np.random.Generator, differs: bool) -> Pair:
    alone = (ONLY_TARGET, ONLY_BASELINE) if differs else ((ONLY_TARGET + ONLY_BASELINE) / 2,) * 2
    drawn = rng.random(SAMPLES)
    ours, theirs = drawn < alone[0], (drawn >= alone[0]) & (drawn < sum(alone))
    both = drawn > 1 - (1 - sum(alone)) / 2
    return (ours | both).astype(float).tolist(), (theirs | both).astype(float).tolist()


def _power_of_scores() -> float:
    """Return the power of the paired t-test, two-sided."""
    shift, freedom = EFFECT / SPREAD * sqrt(SAMPLES), SAMPLES - 1
    bound = t.ppf(1 - LEVEL / 2, freedom)
    return float(nct.sf(bound, freedom, shift) + nct.cdf(-bound, freedom, shift))


def _power_of_shares() -> float:
    """Return the power of McNemar's exact test: over all numbers of samples on which the models disagree."""
    disagree = ONLY_TARGET + ONLY_BASELINE
    power = 0.0
    for number in range(1, SAMPLES + 1):
        rejected = [gains for gains in range(number + 1) if binomtest(gains, number).pvalue <= LEVEL]
        power += binom.pmf(number, SAMPLES, disagree) * binom.pmf(rejected, number, ONLY_TARGET / disagree).sum()
    return float(power)


if __name__ == "__main__":
    main()
