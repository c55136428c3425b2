"""What the results of target and baseline tell only together."""

from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith_runtime.evaluate.measuring import NOT_MEASURED, Observer, Problem
from tunesmith_runtime.evaluate.rating.people import People
from tunesmith_runtime.evaluate.respondent import Answers
from tunesmith_runtime.evaluate.samples import LoadedSuite, SuiteResult
from tunesmith_runtime.evaluate.suites import compare_of


@dataclass(frozen=True)
class Results:
    """What one suite gave on both models; without a baseline that is None."""

    target: SuiteResult | Problem
    baseline: SuiteResult | Problem | None


def compare_results(
    suites: Sequence[LoadedSuite], results: Sequence[Results], known: Answers, observer: Observer, people: People
) -> list[Results]:
    """Return the results, with those of the suites that compare. Raises RunError."""
    return [_compared(*each, known, observer, people) for each in zip(suites, results, strict=True)]


def _compared(loaded: LoadedSuite, results: Results, known: Answers, observer: Observer, people: People) -> Results:
    compare = compare_of(loaded.suite)
    target, baseline = results.target, results.baseline
    if compare is None or isinstance(target, Problem) or isinstance(baseline, Problem):
        return results
    observer.stage(loaded.suite.name)
    try:
        return Results(*compare(loaded, target, baseline, known, observer.samples, people))
    except NOT_MEASURED as error:
        return Results(Problem(error.message), baseline)
