"""What of an EvalJob does not go together, all of it at once and in sentences."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith_api.sandbox import beyond_the_sandbox
from tunesmith_api.suites import check_names
from tunesmith_api.targets import EACH

if TYPE_CHECKING:
    from tunesmith_api.evaljob import EvalJobSpec


def misfits(spec: "EvalJobSpec") -> Iterator[str]:
    """Yield a sentence for each thing that does not fit another."""
    yield from _repeats(spec)
    yield from _suites(spec)
    yield from _gates(spec)


def _repeats(spec: "EvalJobSpec") -> Iterator[str]:
    if spec.schedule is not None and spec.target.checkpoint == EACH:
        yield "schedule and checkpoint: each both say when to evaluate; drop one of them"
    if spec.baseline is not None and spec.baseline.checkpoint == EACH:
        yield "baseline.checkpoint: each is for the target; name best, last or a step"


def _suites(spec: "EvalJobSpec") -> Iterator[str]:
    try:
        check_names(spec.suites)
    except ValueError as error:
        yield str(error)
    for role, model in (("target", spec.target), ("baseline", spec.baseline)):
        for suite in spec.suites:
            if model and model.is_endpoint and suite.kind.needs_weights:
                yield (
                    f"suite {suite.name} needs a model's own probabilities, which an endpoint does not give; let "
                    f"{role} name a model, or put the suite into an EvalJob of its own"
                )
            if model and not model.is_endpoint and suite.kind.needs_endpoint:
                yield (
                    f"suite {suite.name} measures an endpoint under load; let {role} name a modelServe or an "
                    "endpoint, or put the suite into an EvalJob of its own"
                )
    for suite in spec.suites:
        if suite.judge and suite.judge.pairwise and spec.baseline is None:
            yield (
                f"suite {suite.name} compares the target's answers with the baseline's; set spec.baseline, or drop "
                "pairwise"
            )
        if suite.human and spec.baseline is None:
            yield (
                f"suite {suite.name} lets people compare the target's answers with the baseline's; set "
                "spec.baseline, or drop the suite"
            )
        if suite.runs_code:
            yield from beyond_the_sandbox(suite, spec.target, spec.baseline, spec.report.uri)


def _gates(spec: "EvalJobSpec") -> Iterator[str]:
    known = ", ".join(name for suite in spec.suites for name in suite.listed_metrics())
    for metric, count in Counter(gate.metric for gate in spec.gates).items():
        if count > 1:
            yield f"gates has more than one gate on {metric}; put its bounds into one"
        if not any(suite.may_give(metric) for suite in spec.suites):
            yield f"every gate must be on a metric that one of the suites gives; {metric} is not among {known}"
    compares = dict.fromkeys(gate.metric for gate in spec.gates if gate.compares)
    if compares and spec.baseline is None:
        yield (
            "minImprovement and maxRegression need a baseline; set spec.baseline, or drop them from "
            f"{'the gate' if len(compares) == 1 else 'the gates'} on {', '.join(compares)}"
        )
