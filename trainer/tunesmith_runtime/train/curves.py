"""The plots of a training run: what changes from step to step."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tunesmith_runtime.pages.svg import SERIES, STYLE, svg

# A curve has at most so many points: each is the mean of those that it stands for.
POINTS = 400
_SIZE = (5.4, 2.3)

Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A name and its points, step and value; `marked` shows each point, for curves of few."""

    name: str
    points: Sequence[Point]
    marked: bool = False


def lines(curves: Sequence[Curve], *, from_zero: bool = False) -> str:
    """Return curves over steps as an svg element; the first eight have colours of their own."""
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        for number, curve in enumerate(curves):
            points = thinned(curve.points)
            marker = "o" if curve.marked or len(points) == 1 else None
            axes.plot(
                [step for step, _ in points],
                [value for _, value in points],
                color=SERIES[number % len(SERIES)],
                linewidth=1.4,
                marker=marker,
                markersize=3,
            )
        _dress(axes, from_zero=from_zero)
        return svg(figure)


def layers(curves: Sequence[Curve]) -> str:
    """Return curves that have the same steps on top of each other as an svg element."""
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        thin = [thinned(curve.points) for curve in curves]
        steps = [step for step, _ in thin[0]]
        values = [[value for _, value in points] for points in thin]
        axes.stackplot(steps, *values, colors=[SERIES[number % len(SERIES)] for number in range(len(curves))])
        _dress(axes, from_zero=True)
        return svg(figure)


def thinned(points: Sequence[Point]) -> list[Point]:
    """Return at most POINTS points, each the mean of as many that follow one another."""
    size = max(1, -(-len(points) // POINTS))
    parts = (points[at : at + size] for at in range(0, len(points), size))
    return [(part[-1][0], fmean(value for _, value in part)) for part in parts]


def _dress(axes: Axes, *, from_zero: bool) -> None:
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(axis="y", alpha=0.15)
    axes.margins(x=0.01)
    if from_zero:
        axes.set_ylim(bottom=0)
