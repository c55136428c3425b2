"""Gates: what passes, what does not, and by how much it missed."""

from typing import Any

import pytest

from tunesmith_api.evaljob import Gate, MetricResult
from tunesmith_api.gates import judge


def verdict(
    gate: dict[str, Any],
    value: float,
    baseline: float | None = None,
    metric: str = "facts/f1",
    p_value: float | None = 0.001,
) -> Any:
    result = MetricResult(metric=metric, value=value, baseline=baseline, n=10, p_value=p_value)
    outcome, (told,) = judge([Gate(metric=metric, **gate)], [result])
    return outcome, told.message


def test_without_gates_a_completed_evaluation_passes() -> None:
    assert judge([], []) == ("Passed", ())


@pytest.mark.parametrize(
    ("gate", "value", "expected"),
    [
        ({"min": 0.5}, 0.5, "Passed"),
        ({"min": 0.5}, 0.4999999, "Failed"),
        ({"max": 0.5}, 0.5, "Passed"),
        ({"max": 0.5}, 0.5000001, "Failed"),
        ({"min": 0.2, "max": 0.5}, 0.6, "Failed"),
        ({"min": 0.2, "max": 0.5}, 0.3, "Passed"),
        ({"min_improvement": 0.3}, 0.5, "Passed"),
        ({"min_improvement": 0.31}, 0.5, "Failed"),
        ({"min_improvement": 0.0}, 0.1, "Failed"),
    ],
)
def test_bounds_are_exact(gate: dict[str, float], value: float, expected: str) -> None:
    assert verdict(gate, value, baseline=0.2)[0] == expected


def test_where_lower_is_better_the_improvement_is_the_decrease() -> None:
    assert verdict({"min_improvement": 5.0}, 20.0, baseline=30.0, metric="english/perplexity")[0] == "Passed"
    assert verdict({"min_improvement": 5.0}, 40.0, baseline=30.0, metric="english/perplexity") == (
        "Failed",
        "english/perplexity is 40 and misses minImprovement 5 over the baseline's 30, short by 15",
    )


def test_a_miss_says_by_how_much() -> None:
    assert verdict({"min": 0.9, "min_improvement": 0.5}, 0.25, baseline=0.125)[1] == (
        "facts/f1 is 0.25 and misses min 0.9, short by 0.65; "
        "minImprovement 0.5 over the baseline's 0.125, short by 0.375"
    )


def test_a_metric_that_was_not_measured_never_passes() -> None:
    outcome, (told,) = judge([Gate(metric="facts/f1", min=0.0)], [])
    assert outcome == "Inconclusive"
    assert (told.passed, told.message) == (False, "facts/f1 was not measured")


def test_a_baseline_that_was_not_measured_never_passes() -> None:
    assert verdict({"min_improvement": 0.0}, 0.5)[0] == "Inconclusive"


def test_a_miss_outweighs_a_missing_metric() -> None:
    gates = [Gate(metric="facts/f1", min=0.9), Gate(metric="gone/f1", min=0.9)]
    assert judge(gates, [MetricResult(metric="facts/f1", value=0.1, n=1)])[0] == "Failed"


@pytest.mark.parametrize(
    ("gate", "value", "p_value", "expected"),
    [
        ({"min_improvement": 0.25}, 0.75, 0.05, "Passed"),
        ({"min_improvement": 0.25}, 0.75, 0.051, "Inconclusive"),
        ({"min_improvement": 0.25}, 0.75, None, "Inconclusive"),
        ({"min_improvement": 0.25, "alpha": 0.2}, 0.75, 0.15, "Passed"),
        ({"min_improvement": 0.25, "alpha": 1.0}, 0.75, None, "Passed"),
        # What falls short is short, by chance or not; and to be as good as the baseline needs no proof.
        ({"min_improvement": 0.5}, 0.75, 0.9, "Failed"),
        ({"min_improvement": 0.0}, 0.5, 1.0, "Passed"),
        ({"max_regression": 0.125}, 0.375, 0.001, "Passed"),
        ({"max_regression": 0.125}, 0.25, 0.001, "Failed"),
        ({"max_regression": 0.125}, 0.25, 0.2, "Inconclusive"),
        ({"max_regression": 0.125}, 0.25, None, "Inconclusive"),
        ({"max_regression": 0.0}, 0.7, None, "Passed"),
        ({"max_regression": 0.125, "min": 0.35}, 0.25, 0.2, "Failed"),
    ],
)
def test_a_difference_counts_when_it_is_significant(
    gate: dict[str, float], value: float, p_value: float | None, expected: str
) -> None:
    assert verdict(gate, value, baseline=0.5, p_value=p_value)[0] == expected


def test_what_is_left_open_says_why() -> None:
    assert verdict({"max_regression": 0.1}, 0.25, baseline=0.5, p_value=0.2)[1] == (
        "facts/f1 is 0.25 and leaves open maxRegression 0.1 against the baseline's 0.5: the loss of 0.25 may be chance "
        "(p 0.2, alpha 0.05, 10 samples)"
    )
    assert verdict({"min_improvement": 0.1}, 0.75, baseline=0.5, p_value=None)[1].endswith(
        "the gain of 0.25 cannot be told from chance by 10 samples"
    )


def test_where_lower_is_better_a_regression_is_the_increase() -> None:
    assert verdict({"max_regression": 5.0}, 34.0, baseline=30.0, metric="english/perplexity")[0] == "Passed"
    assert verdict({"max_regression": 5.0}, 36.0, baseline=30.0, metric="english/perplexity")[0] == "Failed"


def test_a_suite_s_own_metric_brings_its_direction() -> None:
    result = MetricResult(
        metric="general/task/ter", value=0.3, baseline=0.5, n=10, p_value=0.01, higher_is_better=False
    )
    assert judge([Gate(metric="general/task/ter", min_improvement=0.1)], [result])[0] == "Passed"


def test_a_suite_that_could_not_be_measured_never_passes() -> None:
    problem = "tone: the judge cannot answer now (503): busy"
    assert judge([], [], [problem]) == ("Inconclusive", ())
    outcome, (told,) = judge([Gate(metric="tone/score", min=3.0)], [], [problem])
    assert outcome == "Inconclusive"
    assert told.message == f"tone/score was not measured: {problem}"
