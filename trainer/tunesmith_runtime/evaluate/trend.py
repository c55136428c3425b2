"""How the metrics of an EvalJob that repeats have gone, from run to run."""

from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tunesmith_api.evaljob import EvaluationRun, MetricResult
from tunesmith_runtime.pages.svg import STYLE, TARGET, svg

_COLUMNS = 3
# Metrics with a gate come first; of the others there may be hundreds.
SHOWN = 9


def trend_chart(
    earlier: Sequence[EvaluationRun], results: Sequence[MetricResult], checkpoint: int | None
) -> str | None:
    """Return a line for each of the first metrics over the earlier runs and this one, as an svg element.

    Runs are placed by the step of their `checkpoint` where they have one, else by their number. None when no earlier
    run has any of the metrics.
    """
    place = checkpoint if checkpoint is not None else max((run.number for run in earlier), default=0) + 1
    lines = {result.metric: [*_points(earlier, result.metric), (place, result.value)] for result in results}
    shown = {metric: points for metric, points in lines.items() if len(points) > 1}
    names = list(shown)[:SHOWN]
    if not names:
        return None
    rows, columns = -(-len(names) // _COLUMNS), min(len(names), _COLUMNS)
    with rc_context(STYLE):
        figure = Figure(figsize=(3.1 * columns, 1.9 * rows), layout="constrained")
        grid = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, name in zip(grid, names, strict=False):
            places, values = zip(*shown[name], strict=True)
            axes.plot(places, values, color=TARGET, marker="o", markersize=3, linewidth=1.4)
            axes.plot(places[-1:], values[-1:], color=TARGET, marker="o", markersize=6)
            axes.set_title(name, size=9)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        for axes in grid[len(names) :]:
            axes.set_axis_off()
        return svg(figure)


def _points(earlier: Sequence[EvaluationRun], metric: str) -> list[tuple[int, float]]:
    return [
        (run.number if run.checkpoint is None else run.checkpoint, each.value)
        for run in earlier
        for each in run.metrics
        if each.metric == metric
    ]
