"""Gates on metrics become a verdict. Pure: the planner and the report both call it."""

from collections.abc import Iterable, Sequence
from typing import Literal

from tunesmith_api.evaljob import Gate, GateResult, MetricResult, Verdict
from tunesmith_api.metrics import improvement

# How a bound does: open is one of which the samples do not tell.
_Outcome = Literal["holds", "missed", "open"]


def judge(
    gates: Sequence[Gate], results: Iterable[MetricResult], problems: Sequence[str] = ()
) -> tuple[Verdict, tuple[GateResult, ...]]:
    """Return the verdict and each gate's outcome, in the gates' order.

    A gate fails when any of its bounds is missed. What cannot be told (a metric or baseline that has no value, a
    difference that may be chance, a suite with one of the `problems`) makes the verdict Inconclusive unless another
    gate fails. Bounds are compared exactly, without rounding.
    """
    by_metric = {result.metric: result for result in results}
    judged = [_judge_one(gate, by_metric.get(gate.metric), problems) for gate in gates]
    outcomes = {outcome for outcome, _ in judged}
    if "missed" in outcomes:
        verdict: Verdict = "Failed"
    else:
        verdict = "Inconclusive" if "open" in outcomes or problems else "Passed"
    return verdict, tuple(result for _, result in judged)


def _judge_one(gate: Gate, result: MetricResult | None, problems: Sequence[str]) -> tuple[_Outcome, GateResult]:
    if result is None:
        suite = gate.metric.partition("/")[0]
        why = next((f": {each}" for each in problems if each.startswith(f"{suite}: ")), "")
        said = f"{gate.metric} was not measured{why}"
        return "open", GateResult(metric=gate.metric, passed=False, message=said[:1024])
    bounds = list(_bounds(gate, result))
    worst: _Outcome = next((each for each in ("missed", "open") if each in {outcome for outcome, _ in bounds}), "holds")
    told = "; ".join(said for outcome, said in bounds if outcome == worst)
    verb = {"holds": "meets", "missed": "misses", "open": "leaves open"}[worst]
    said = f"{gate.metric} is {number(result.value)} and {verb} {told}"
    return worst, GateResult(metric=gate.metric, passed=worst == "holds", message=said[:1024])


def _bounds(gate: Gate, result: MetricResult) -> Iterable[tuple[_Outcome, str]]:
    """Yield how each bound does, and what is to be said of it."""
    value = result.value
    if gate.min is not None:
        yield _plain(f"min {number(gate.min)}", gate.min - value)
    if gate.max is not None:
        yield _plain(f"max {number(gate.max)}", value - gate.max)
    if not gate.compares:
        return
    if result.baseline is None:
        for name, bound in (("minImprovement", gate.min_improvement), ("maxRegression", gate.max_regression)):
            if bound is not None:
                yield "open", f"{name} {number(bound)}, because the baseline was not measured"
        return
    gain = improvement(gate.metric, value, result.baseline, result.higher_is_better)
    over = f"the baseline's {number(result.baseline)}"
    if gate.min_improvement is not None:
        asked = f"minImprovement {number(gate.min_improvement)} over {over}"
        outcome, said = _plain(asked, gate.min_improvement - gain)
        if outcome == "holds" and gate.min_improvement > 0 and not _significant(gate, result):
            outcome, said = "open", f"{asked}: the gain of {number(gain)} {_by_chance(gate, result)}"
        yield outcome, said
    if gate.max_regression is not None:
        asked = f"maxRegression {number(gate.max_regression)} against {over}"
        outcome, said = _plain(asked, -gain - gate.max_regression)
        if outcome == "missed" and not _significant(gate, result):
            outcome, said = "open", f"{asked}: the loss of {number(-gain)} {_by_chance(gate, result)}"
        yield outcome, said


def _plain(asked: str, short: float) -> tuple[_Outcome, str]:
    return ("holds", asked) if short <= 0 else ("missed", f"{asked}, short by {number(short)}")


def _significant(gate: Gate, result: MetricResult) -> bool:
    return gate.alpha == 1 or (result.p_value is not None and result.p_value <= gate.alpha)


def _by_chance(gate: Gate, result: MetricResult) -> str:
    if result.p_value is None:
        return f"cannot be told from chance by {result.n} samples"
    return f"may be chance (p {number(result.p_value)}, alpha {number(gate.alpha)}, {result.n} samples)"


def number(value: float) -> str:
    """Return a metric's value as people read it: four significant digits, no exponent below a million."""
    return f"{value:.4g}" if abs(value) < 1e6 else f"{value:.3e}"
