"""Plots as SVG that stands inside a page and takes its colours."""

import io
from typing import Any

from matplotlib.figure import Figure

# Matplotlib writes fixed colours; these stand for the page's own until the SVG is finished.
INK, TARGET, BASELINE = "#010101", "#020202", "#030303"
SERIES = tuple(f"#0{number}0{number}f0" for number in range(1, 9))
_PAGE_COLOURS = {
    INK: "currentColor",
    TARGET: "var(--target)",
    BASELINE: "var(--baseline)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)},
}
# To be set with matplotlib's rc_context around the making of a figure.
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tunesmith",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def svg(figure: Figure) -> str:
    """Return a figure as an svg element."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for placeholder, colour in _PAGE_COLOURS.items():
        text = text.replace(placeholder, colour)
    return text
