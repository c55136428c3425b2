"""Gates: what passes, what does not, and by how much it missed."""

from typing import Any

import pytest

from tunesmith_api.evaljob import Gate, MetricResult
from tunesmith_api.gates import judge


def verdict(gate: dict[str, Any], value: float, baseline: float | None = None, metric: str = "facts/f1") -> Any:
    result = MetricResult(metric=metric, value=value, baseline=baseline, n=10)
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
