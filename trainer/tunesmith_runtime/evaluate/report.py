"""The report: one HTML file that opens from disk, in light and in dark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from markupsafe import Markup

from tunesmith_api.contract import RunIdentity
from tunesmith_api.evaljob import EvaluationRun, GateResult, MetricResult, Subject, Verdict
from tunesmith_api.gates import number
from tunesmith_api.metrics import Metric, described, improvement
from tunesmith_api.spending import Spent
from tunesmith_api.suites import Suite
from tunesmith_runtime.evaluate.charts import Bar, Distribution, bar_chart, histograms
from tunesmith_runtime.evaluate.samples import (
    FIRST_TOKEN,
    LATENCY,
    MEAN_NLL,
    AnswerSample,
    ConfusionMatrix,
    Sample,
    SuiteResult,
)
from tunesmith_runtime.evaluate.trend import trend_chart
from tunesmith_runtime.evaluate.weighing import Weighed
from tunesmith_runtime.pages import templates

# Rows of a suite's two short tables, and of its long one; samples/*.jsonl hold them all.
HIGHLIGHTS = 5
SHOWN = 200
# Bars of a suite's chart; its table of metrics has them all.
BARS = 16

# Scores of single samples that are no metrics.
_SCORES = {
    MEAN_NLL: Metric("Mean negative log-likelihood per token, in nats.", higher_is_better=False, scale=None),
    FIRST_TOKEN: Metric("Time to the first token, in seconds.", higher_is_better=False, scale=None),
    LATENCY: Metric("Time to the end of the answer, in seconds.", higher_is_better=False, scale=None),
}


@dataclass(frozen=True)
class MeasuredSuite:
    """A suite with what it gave on each model, and what that says; samples of both are in one order."""

    suite: Suite
    target: SuiteResult
    baseline: SuiteResult | None
    weighed: Mapping[str, Weighed] = field(default_factory=dict)

    def by_role(self) -> dict[str, SuiteResult]:
        """Return what there is, by whose it is."""
        return {"target": self.target} | ({"baseline": self.baseline} if self.baseline else {})


@dataclass(frozen=True)
class Evaluation:
    """All that the report says.

    `detectable` is, by metric, the least difference from the baseline that so many samples would show in four of five
    evaluations. `notes` are sentences on what is missing and why. `earlier` are the runs before this one of an EvalJob
    that repeats, and `checkpoint` is the step of the checkpoint that is evaluated. `spent` is what
    was asked of endpoints.
    """

    run: RunIdentity
    target: Subject
    baseline: Subject | None
    suites: tuple[MeasuredSuite, ...]
    results: tuple[MetricResult, ...]
    verdict: Verdict
    gates: tuple[GateResult, ...]
    problems: tuple[str, ...]
    detectable: Mapping[str, float]
    notes: tuple[str, ...]
    earlier: tuple[EvaluationRun, ...] = ()
    checkpoint: int | None = None
    spent: Spent = field(default_factory=Spent)


@dataclass(frozen=True)
class _MetricRow:
    name: str
    description: str
    value: str
    interval: str
    baseline: str
    delta: str
    direction: str
    p_value: str
    detectable: str
    n: int


@dataclass(frozen=True)
class _ScoreCell:
    name: str
    target: str
    baseline: str
    direction: str


@dataclass(frozen=True)
class _SampleRow:
    index: int
    prompt: str
    references: tuple[str, ...]
    answer: str
    baseline_answer: str
    scores: tuple[_ScoreCell, ...]
    quality: float
    gain: float


@dataclass(frozen=True)
class _Table:
    title: str
    rows: tuple[_SampleRow, ...]
    open: bool


@dataclass(frozen=True)
class _SuiteView:
    name: str
    uri: str
    samples: int
    has_answers: bool
    bars: Markup | None
    histograms: Markup | None
    confusions: Mapping[str, ConfusionMatrix]
    tables: tuple[_Table, ...]


def render(evaluation: Evaluation) -> str:
    """Return the report as one HTML document that loads nothing else; text of models and data is escaped."""
    trend = trend_chart(evaluation.earlier, evaluation.results, evaluation.checkpoint)
    return (
        templates(Path(__file__).with_name("templates"))
        .get_template("report.html.j2")
        .render(
            evaluation=evaluation,
            metrics=[_metric_row(result, evaluation.detectable) for result in evaluation.results],
            trend=Markup(trend) if trend else None,  # noqa: S704 - our own SVG
            suites=[_suite_view(measured, evaluation.results) for measured in evaluation.suites],
        )
    )


def _metric_row(result: MetricResult, detectable: Mapping[str, float]) -> _MetricRow:
    base, least = result.baseline, detectable.get(result.metric)
    return _MetricRow(
        name=result.metric,
        description=described(result.metric).description,
        value=number(result.value),
        interval=f"{number(result.ci95[0])} – {number(result.ci95[1])}" if result.ci95 else "",
        baseline="" if base is None else number(base),
        delta="" if result.delta is None else _signed(result.delta),
        p_value="" if result.p_value is None else _chance(result.p_value),
        detectable="" if least is None else number(least),
        direction=_direction(
            0.0 if base is None else improvement(result.metric, result.value, base, result.higher_is_better)
        ),
        n=result.n,
    )


def _suite_view(measured: MeasuredSuite, results: Sequence[MetricResult]) -> _SuiteView:
    suite = measured.suite
    own = [result for result in results if result.metric.startswith(f"{suite.name}/")]
    bars = [_bar(result) for result in sorted(own, key=lambda result: result.metric.count("/"))[:BARS]]
    rows = _sample_rows(measured)
    distributions = _distributions(measured)
    return _SuiteView(
        name=suite.name,
        uri=getattr(suite.kind, "uri", None) or "",
        samples=len(rows),
        has_answers=any(isinstance(each, AnswerSample) for each in measured.target.samples),
        # Our own SVG: what comes from outside in it, numbers and metric names, matplotlib has escaped.
        bars=Markup(bar_chart(bars)) if bars else None,  # noqa: S704
        histograms=Markup(histograms(distributions)) if distributions else None,  # noqa: S704
        confusions={role: each.confusion for role, each in measured.by_role().items() if each.confusion},
        tables=tuple(_tables(rows, compared=measured.baseline is not None)),
    )


def _bar(result: MetricResult) -> Bar:
    base = result.baseline
    return Bar(
        label=result.metric.partition("/")[2],
        scale=described(result.metric).scale or max(result.value, base or 0.0) or 1.0,
        target=result.value,
        baseline=base,
        target_text=number(result.value),
        baseline_text="" if base is None else number(base),
    )


def _distributions(measured: MeasuredSuite) -> list[Distribution]:
    target = [sample.scores for sample in measured.target.samples]
    baseline = [sample.scores for sample in measured.baseline.samples] if measured.baseline else []
    return [
        Distribution(
            label=name,
            scale=_described(name).scale,
            target=[scores[name] for scores in target if name in scores],
            baseline=[scores[name] for scores in baseline if name in scores],
        )
        for name in dict.fromkeys(name for scores in target for name in scores)
    ]


def _sample_rows(measured: MeasuredSuite) -> list[_SampleRow]:
    others: Sequence[Sample | None] = (
        measured.baseline.samples if measured.baseline else [None] * len(measured.target.samples)
    )
    return [_sample_row(sample, other) for sample, other in zip(measured.target.samples, others, strict=True)]


def _sample_row(sample: Sample, other: Sample | None) -> _SampleRow:
    asked = isinstance(sample, AnswerSample)
    before = other.scores if other else {}
    quality = _quality(sample)
    return _SampleRow(
        index=sample.index + 1,
        prompt=sample.prompt if isinstance(sample, AnswerSample) else sample.text,
        references=sample.references if isinstance(sample, AnswerSample) else (),
        answer=sample.answer if isinstance(sample, AnswerSample) else "",
        baseline_answer=other.answer if isinstance(other, AnswerSample) and asked else "",
        scores=tuple(
            _ScoreCell(
                name=name,
                target=number(value),
                baseline=number(before[name]) if name in before else "",
                direction=_direction(_gain(name, value, before[name])) if name in before else "same",
            )
            for name, value in sample.scores.items()
        ),
        quality=quality,
        gain=quality - _quality(other) if other else 0.0,
    )


def _quality(sample: Sample) -> float:
    """Return one number to order samples by, larger is better: the mean of the scores as shares of their scales."""
    shares = [
        value / (metric.scale or 1.0) * (1 if metric.higher_is_better else -1)
        for metric, value in ((_described(name), value) for name, value in sample.scores.items())
    ]
    return fmean(shares) if shares else 0.0


def _tables(rows: Sequence[_SampleRow], *, compared: bool) -> list[_Table]:
    worst = sorted(rows, key=lambda row: (row.quality, row.gain))[:HIGHLIGHTS]
    tables = [_Table("Worst", tuple(worst), open=True)]
    if compared:
        improved = sorted((row for row in rows if row.gain > 0), key=lambda row: -row.gain)[:HIGHLIGHTS]
        worsened = sorted((row for row in rows if row.gain < 0), key=lambda row: row.gain)[:HIGHLIGHTS]
        tables += [
            _Table("Most improved", tuple(improved), open=True),
            _Table("Most worsened", tuple(worsened), open=True),
        ]
    title = "All samples" if len(rows) <= SHOWN else f"The first {SHOWN} of {len(rows)} samples"
    return [table for table in (*tables, _Table(title, tuple(rows[:SHOWN]), open=False)) if table.rows]


def _gain(name: str, value: float, before: float) -> float:
    return value - before if _described(name).higher_is_better else before - value


def _direction(gain: float) -> str:
    if gain == 0:
        return "same"
    return "better" if gain > 0 else "worse"


def _described(name: str) -> Metric:
    return _SCORES.get(name) or described(name)


def _chance(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else '−' if value < 0 else '±'}{number(abs(value))}"
