"""Gates on metrics become a verdict. Pure: the planner and the report both call it."""

from collections.abc import Iterable, Sequence

from tunesmith_api.evaljob import Gate, GateResult, MetricResult, Verdict
from tunesmith_api.metrics import improvement


def judge(gates: Sequence[Gate], results: Iterable[MetricResult]) -> tuple[Verdict, tuple[GateResult, ...]]:
    """Return the verdict and each gate's outcome, in the gates' order.

    A gate fails when any of its bounds is missed; a gate whose metric, or whose baseline, has no value makes the
    verdict Inconclusive unless another gate fails. Bounds are compared exactly, without rounding.
    """
    by_metric = {result.metric: result for result in results}
    outcomes = tuple(_judge_one(gate, by_metric.get(gate.metric)) for gate in gates)
    unknown = any(_lacks_value(gate, by_metric.get(gate.metric)) for gate in gates)
    missed = any(
        not outcome.passed and not _lacks_value(gate, by_metric.get(gate.metric))
        for gate, outcome in zip(gates, outcomes, strict=True)
    )
    if missed:
        return "Failed", outcomes
    return ("Inconclusive" if unknown else "Passed"), outcomes


def _lacks_value(gate: Gate, result: MetricResult | None) -> bool:
    return result is None or (gate.min_improvement is not None and result.baseline is None)


def _judge_one(gate: Gate, result: MetricResult | None) -> GateResult:
    if result is None:
        return GateResult(metric=gate.metric, passed=False, message=f"{gate.metric} was not measured")
    misses: list[str] = []
    holds: list[str] = []

    def check(ok: bool, asked: str, short: float) -> None:
        (holds if ok else misses).append(asked if ok else f"{asked}, short by {number(short)}")

    value = result.value
    if gate.min is not None:
        check(value >= gate.min, f"min {number(gate.min)}", gate.min - value)
    if gate.max is not None:
        check(value <= gate.max, f"max {number(gate.max)}", value - gate.max)
    if gate.min_improvement is not None:
        if result.baseline is None:
            misses.append(f"minImprovement {number(gate.min_improvement)}, but the baseline was not measured")
        else:
            gain = improvement(gate.metric, value, result.baseline)
            check(
                gain >= gate.min_improvement,
                f"minImprovement {number(gate.min_improvement)} over the baseline's {number(result.baseline)}",
                gate.min_improvement - gain,
            )
    asked = "; ".join(misses or holds)
    verb = "misses" if misses else "meets"
    return GateResult(
        metric=gate.metric, passed=not misses, message=f"{gate.metric} is {number(value)} and {verb} {asked}"
    )


def number(value: float) -> str:
    """Return a metric's value as people read it: four significant digits, no exponent below a million."""
    return f"{value:.4g}" if abs(value) < 1e6 else f"{value:.3e}"
