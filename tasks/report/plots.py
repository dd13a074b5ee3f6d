"""Plots: figures → SVG that stands in a page, takes the page's colours and tells in words what it shows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rowmill.tasks.report.figures import Histogram

# Colours that the page replaces by its own, light or dark.
INK, LINE = "#123456", "#654321"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "rowmill", "font.family": "sans-serif", "font.size": 9,
    "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "text.color": INK,
    "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip
SIZE = (5.2, 2.3)
# Marks nearer than this share of the width are written as one.
CLOSE = 0.06


def curve(
    x: Sequence[float], y: Sequence[float], *, across: str, up: str, told: str, limit: Sequence[float] = ()
) -> str:
    """A line over time, and what limits it as a dotted one."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        axes.fill_between(x, y, color=LINE, alpha=0.25, linewidth=0, step="post")
        axes.step(x, y, color=LINE, where="post")
        if limit:
            axes.step(x, limit, color=INK, where="post", linestyle=":", linewidth=1.2)
        axes.set(xlabel=across, ylabel=up, ylim=(0, None), xlim=(0, None))
        return _svg(figure, told)


def bars(histogram: Histogram, *, across: str, told: str) -> str:
    """A histogram with its middle and its 95th percentile marked."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        axes.stairs(histogram.counts, histogram.edges, fill=True, color=LINE, alpha=0.8)
        marks = [("p50", histogram.middle), ("p95", histogram.p95)]
        if histogram.p95 - histogram.middle < CLOSE * histogram.edges[-1]:
            marks = [("p50, p95", histogram.p95)]
        for name, at in marks:
            axes.axvline(at, color=INK, linestyle=":", linewidth=1)
            axes.annotate(name, (at, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel=across, ylabel="rows", xlim=(0, None))
        return _svg(figure, told)


def lying_bars(counts: Sequence[tuple[str, int]], *, across: str, told: str) -> str:
    """Named counts, the largest on top."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(SIZE[0], 0.7 + 0.3 * len(counts)), layout="constrained")
        axes = figure.add_subplot()
        names, values = [name for name, _ in reversed(counts)], [count for _, count in reversed(counts)]
        drawn = axes.barh(names, values, color=LINE, alpha=0.8)
        axes.bar_label(drawn, labels=[f"{value:,}" for value in values], padding=3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel=across)
        axes.margins(x=0.15)
        return _svg(figure, told)


def _svg(figure: Figure, told: str) -> str:
    """The figure as an element of a page, its colours taken from the page, its words for those who cannot see it."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor").replace(LINE, "var(--line)")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(told)}"', 1)
