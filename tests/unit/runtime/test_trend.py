"""The report of a run among others shows how it has gone."""

from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from tests.unit.runtime.test_evaluating import run, suites
from tunesmith_api.evaljob import EvaluationRun, MetricResult
from tunesmith_api.finetunejob import MetricValue
from tunesmith_runtime.evaluate.trend import SHOWN, trend_chart

THEN = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def earlier(*values: float, metric: str = "qa/f1", checkpoints: bool = False) -> tuple[EvaluationRun, ...]:
    return tuple(
        EvaluationRun(
            number=number,
            started_at=THEN,
            checkpoint=10 * number if checkpoints else None,
            metrics=(MetricValue(metric=metric, value=value),),
        )
        for number, value in enumerate(values, 1)
    )


def results(*names: str) -> list[MetricResult]:
    return [MetricResult(metric=name, value=0.5, n=9) for name in names]


def words(svg: str) -> set[str]:
    """Return the texts of a drawing."""
    return {text.strip() for text in ElementTree.fromstring(svg).itertext() if text.strip()}


def test_it_shows_the_metrics_that_earlier_runs_have_too() -> None:
    chart = trend_chart(earlier(0.1, 0.2, 0.4), results("qa/f1", "qa/exactMatch"), None)

    assert chart is not None
    assert "qa/f1" in words(chart)
    assert "qa/exactMatch" not in words(chart)


def test_it_shows_so_many_and_nothing_without_earlier_runs() -> None:
    names = [f"qa/m{number}" for number in range(SHOWN + 3)]
    measured = tuple(MetricValue(metric=name, value=1.0) for name in names)
    chart = trend_chart((EvaluationRun(number=1, started_at=THEN, metrics=measured),), results(*names), None)

    assert chart is not None
    assert [name for name in names if name in words(chart)] == names[:SHOWN]
    assert trend_chart((), results("qa/f1"), None) is None
    assert trend_chart(earlier(0.1, metric="gone/f1"), results("qa/f1"), None) is None


def test_the_report_has_it(tmp_path: Path, tiny_path: Path) -> None:
    runs = [each.to_json() for each in earlier(0.1, 0.2)]
    run(tmp_path, tiny_path, suites=suites(tmp_path)[1:], earlier=runs)

    page = (tmp_path / "out" / "report" / "report.html").read_text()
    assert "<h2>Trend</h2>" in page
    assert "From run to run, by number" in page
