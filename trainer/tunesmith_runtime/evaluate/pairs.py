"""Answers of target and baseline side by side: who wins how often."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from tunesmith_runtime.evaluate.samples import AnswerSample, JudgedSample, SuiteResult
from tunesmith_runtime.evaluate.statistics import mean_of

Columns = Mapping[str, Sequence[float | None]]


def answers_of(target: SuiteResult, baseline: SuiteResult) -> list[tuple[AnswerSample, AnswerSample]]:
    """Return both answers to each question."""
    return [*zip(_answers(target), _answers(baseline), strict=True)]


def result_of(columns: Columns, samples: Sequence[JudgedSample], notes: tuple[str, ...] = ()) -> SuiteResult:
    """Return a result whose metrics are the means of columns; values that are None do not count."""
    known = {name: [value for value in column if value is not None] for name, column in columns.items()}
    return SuiteResult(
        metrics={name: fmean(values) for name, values in known.items() if values},
        samples=tuple(samples),
        summands={name: mean_of(column) for name, column in columns.items() if known[name]},
        notes=notes,
    )


def against_itself(baseline: SuiteResult, won: Sequence[float | None]) -> SuiteResult:
    """Return the baseline's result beside the target's win rates of each pair.

    A model wins against itself in half of all cases: that is what the target's rate is tested against.
    """
    even = [None if each is None else 0.5 for each in won]
    return replace(
        baseline,
        metrics={"winRate": 0.5},
        summands={"winRate": mean_of(even)},
        samples=tuple(replace(each, scores={"winRate": 0.5}) for each in _answers(baseline)),
    )


def _answers(result: SuiteResult) -> Iterator[AnswerSample]:
    return (each for each in result.samples if isinstance(each, AnswerSample))
