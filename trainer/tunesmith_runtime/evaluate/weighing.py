"""What a suite's results say of each metric: of how many samples, how sure it is, and how it compares."""

import math
from dataclasses import dataclass

from tunesmith_runtime.evaluate.samples import SuiteResult
from tunesmith_runtime.evaluate.statistics import Comparison, Estimate, compare, estimate


@dataclass(frozen=True)
class Weighed:
    """One metric of the target: its samples, how sure it is, and the comparison with the baseline's."""

    n: int
    estimate: Estimate | None = None
    comparison: Comparison | None = None


def weigh(target: SuiteResult, baseline: SuiteResult | None) -> dict[str, Weighed]:
    """Return what the results tell of each metric that the target has a finite value of."""
    found = {}
    for metric, value in target.metrics.items():
        if not math.isfinite(value):
            continue
        ours = target.summands.get(metric)
        if ours is None:
            found[metric] = Weighed(target.counts.get(metric, len(target.samples)))
            continue
        known = baseline is not None and math.isfinite(baseline.metrics.get(metric, math.nan))
        theirs = baseline.summands.get(metric) if baseline and known else None
        found[metric] = Weighed(ours.samples, estimate(ours), compare(ours, theirs) if theirs else None)
    return found
