"""The plots of an evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tunesmith_runtime.pages.svg import BASELINE, STYLE, TARGET, svg

_BINS = 12
_ROW = 4


@dataclass(frozen=True)
class Bar:
    """A metric's two values, with what is written above each bar; `scale` is the value of a full bar."""

    label: str
    scale: float
    target: float
    baseline: float | None
    target_text: str
    baseline_text: str


@dataclass(frozen=True)
class Distribution:
    """The samples' scores of one metric; `scale` is the largest possible score, None when there is none."""

    label: str
    scale: float | None
    target: Sequence[float]
    baseline: Sequence[float]


def bar_chart(bars: Sequence[Bar]) -> str:
    """Return target and baseline side by side, each bar as its share of the metric's scale, as an svg element."""
    with rc_context(STYLE):
        figure = Figure(figsize=(1.3 + 1.25 * len(bars), 2.5), layout="constrained")
        axes = figure.subplots()
        paired = any(bar.baseline is not None for bar in bars)
        width = 0.36 if paired else 0.5
        for place, bar in enumerate(bars):
            left = place - width / 2 if paired else place
            _bar(axes, left, bar.target / bar.scale, width, TARGET, bar.target_text)
            if bar.baseline is not None:
                _bar(axes, left + width, bar.baseline / bar.scale, width, BASELINE, bar.baseline_text)
        axes.set_xticks(range(len(bars)), [bar.label for bar in bars])
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylim(0, 1.15)
        axes.set_xlim(-0.6, len(bars) - 0.4)
        return svg(figure)


def histograms(distributions: Sequence[Distribution]) -> str:
    """Return a histogram of each distribution, target over baseline, as an svg element."""
    rows = -(-len(distributions) // _ROW)
    columns = min(len(distributions), _ROW)
    with rc_context(STYLE):
        figure = Figure(figsize=(2.4 * columns, 1.9 * rows), layout="constrained")
        grid = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, distribution in zip(grid, distributions, strict=False):
            _histogram(axes, distribution)
        for axes in grid[len(distributions) :]:
            axes.set_axis_off()
        return svg(figure)


def _bar(axes: Axes, place: float, height: float, width: float, colour: str, text: str) -> None:
    axes.bar(place, height, width * 0.92, color=colour)
    axes.annotate(text, (place, height), xytext=(0, 2), textcoords="offset points", ha="center", va="bottom", size=8)


def _histogram(axes: Axes, distribution: Distribution) -> None:
    values = [*distribution.target, *distribution.baseline]
    low, high = (
        (0.0, distribution.scale) if distribution.scale else (min(values, default=0.0), max(values, default=1.0))
    )
    bounds = (low, high if high > low else low + 1.0)
    axes.hist(distribution.target, bins=_BINS, range=bounds, color=TARGET, alpha=0.75)
    if distribution.baseline:
        axes.hist(distribution.baseline, bins=_BINS, range=bounds, color=BASELINE, histtype="step", linewidth=1.6)
    axes.set_title(distribution.label, size=9)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
