"""Plots: figures to SVG elements of a page, in the page's colours, each with a description in words.

Drawn by hand: three kinds of plot over axes that start at zero need no plotting library.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from rowmill.tasks.report.figures import Histogram

WIDTH, HEIGHT, TALL = 520.0, 230.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 14.0, 18.0, 42.0
BAR, GAP = 20.0, 10.0
# Room for the names of lying bars, a character each about this wide.
CHARACTER = 6.6
# Room for the name of the upward axis, and for what stands between it and the numbers.
NAME_ROOM = 30.0
TICKS = 6
# Marks closer than this share of the width are written as one.
CLOSE = 0.06
AXIS = 'stroke="currentColor" fill="none"'
DOTTED = f'{AXIS} stroke-dasharray="2 3"'


def curve(
    x: Sequence[float], y: Sequence[float], *, across: str, up: str, words: str, limit: Sequence[float] = ()
) -> str:
    """A step line over time, and its limit as a dotted one. `x` rises; no value is negative."""
    frame = _Frame(max(x), 1.05 * max([*y, *limit]))
    line = _steps(frame, x, y)
    drawn = [
        f'<path d="{line} V{frame.y(0):.1f} H{frame.x(x[0]):.1f} Z" fill="var(--line)" opacity="0.25"/>',
        f'<path d="{line}" fill="none" stroke="var(--line)" stroke-width="1.5"/>',
    ]
    if limit:
        drawn.append(f'<path d="{_steps(frame, x, limit)}" {DOTTED}/>')
    return _svg([*drawn, *frame.axes(across, up)], words)


def bars(histogram: Histogram, *, across: str, words: str) -> str:
    """A histogram with its median and its 95th percentile marked."""
    frame = _Frame(histogram.edges[-1], 1.05 * max(histogram.counts))
    drawn = []
    for left, right, count in zip(histogram.edges, histogram.edges[1:], histogram.counts, strict=False):
        if count:
            box = _box(frame.x(left), frame.y(count), frame.x(right), bottom=frame.y(0))
            drawn.append(f'<path d="{box}" fill="var(--line)" opacity="0.8"/>')
    marks = [("p50", histogram.middle), ("p95", histogram.p95)]
    if histogram.p95 - histogram.middle < CLOSE * histogram.edges[-1]:
        marks = [("p50, p95", histogram.p95)]
    for name, at in marks:
        drawn.append(f'<path d="M{frame.x(at):.1f} {frame.y(0):.1f} V{TOP:.1f}" {DOTTED}/>')
        drawn.append(_text(frame.x(at), TOP - 5, name, anchor="middle"))
    return _svg([*drawn, *frame.axes(across, "rows", whole=True)], words)


def lying_bars(counts: Sequence[tuple[str, int]], *, across: str, words: str) -> str:
    """Named counts as horizontal bars, in their order from the top."""
    left = 16 + CHARACTER * max(len(name) for name, _ in counts)
    height = TOP + BOTTOM + len(counts) * (BAR + GAP)
    frame = _Frame(1.25 * max(count for _, count in counts), 1, left=left, height=height)
    drawn = []
    for number, (name, count) in enumerate(counts):
        top = TOP + number * (BAR + GAP)
        box = _box(left, top, frame.x(count), bottom=top + BAR)
        drawn.append(f'<path d="{box}" fill="var(--line)" opacity="0.8"/>')
        drawn.append(_text(left - 6, top + BAR - 6, name, anchor="end"))
        drawn.append(_text(frame.x(count) + 5, top + BAR - 6, f"{count:,}", anchor="start"))
    return _svg([*drawn, *frame.across(across, whole=True)], words, height)


@dataclass(frozen=True, slots=True)
class Point:
    """A value of two kinds with its intervals. One without a name stays in the background; `strong` is filled."""

    name: str
    x: float
    y: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    strong: bool = False


def scatter(
    points: Sequence[Point], front: Sequence[tuple[float, float]], *, across: str, up: str, words: str, line: float
) -> str:
    """Points with their intervals, a step line through the best of them, and a dotted level. Nothing is negative."""
    reach = 1.05 * max([line, *(point.y_range[1] for point in points)])
    frame = _Frame(1.05 * max(point.x_range[1] for point in points), reach, height=TALL)
    level = frame.y(line)
    drawn = [f'<path d="M{LEFT:.1f} {level:.1f} H{WIDTH - RIGHT:.1f}" {DOTTED}/>']
    if len(front) > 1:
        steps = _steps(frame, [x for x, _ in front], [y for _, y in front])
        drawn.append(f'<path d="{steps}" fill="none" stroke="var(--line)" stroke-width="1.5" opacity="0.6"/>')
    for point in points:
        x, y = frame.x(point.x), frame.y(point.y)
        low, high = (frame.x(end) for end in point.x_range)
        top, bottom = (frame.y(end) for end in reversed(point.y_range))
        ranges = f"M{low:.1f} {y:.1f} H{high:.1f} M{x:.1f} {top:.1f} V{bottom:.1f}"
        drawn.append(f'<path d="{ranges}" {AXIS} opacity="{0.7 if point.name else 0.15}"/>')
        fill = "var(--line)" if point.strong else "var(--paper)"
        drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="var(--line)"/>')
        fits = x + 8 + CHARACTER * len(point.name) < WIDTH
        drawn.append(_text(x + (8 if fits else -8), y - 6, point.name, anchor="start" if fits else "end"))
    return _svg([*drawn, *frame.axes(across, up)], words, TALL)


class _Frame:
    """Axes from zero to the largest values, and where a value lies in the picture."""

    def __init__(self, most_x: float, most_y: float, *, left: float | None = None, height: float = HEIGHT) -> None:
        """`left` is where the upward axis stands; without one, where its numbers have room."""
        self._most_x, self._most_y = most_x or 1.0, most_y or 1.0
        longest = max(len(_number(value)) for value in ticks(self._most_y))
        self._left = max(LEFT, NAME_ROOM + CHARACTER * longest) if left is None else left
        self._bottom = height - BOTTOM

    def x(self, value: float) -> float:
        return self._left + (WIDTH - RIGHT - self._left) * value / self._most_x

    def y(self, value: float) -> float:
        return self._bottom - (self._bottom - TOP) * value / self._most_y

    def axes(self, across: str, up: str, *, whole: bool = False) -> Iterator[str]:
        """Both axes; the upward one in whole numbers where `whole` is set."""
        yield from self.across(across)
        yield f'<path d="M{self._left:.1f} {TOP:.1f} V{self._bottom:.1f}" {AXIS}/>'
        for value in ticks(self._most_y, whole=whole):
            at = self.y(value)
            yield f'<path d="M{self._left - 4:.1f} {at:.1f} h4" {AXIS}/>'
            yield _text(self._left - 7, at + 4, _number(value), anchor="end")
        middle = (self._bottom + TOP) / 2
        yield _text(12, middle, up, anchor="middle", more=f' transform="rotate(-90 12 {middle:.1f})"')

    def across(self, name: str, *, whole: bool = False) -> Iterator[str]:
        yield f'<path d="M{self._left:.1f} {self._bottom:.1f} H{WIDTH - RIGHT:.1f}" {AXIS}/>'
        for value in ticks(self._most_x, whole=whole):
            at = self.x(value)
            yield f'<path d="M{at:.1f} {self._bottom:.1f} v4" {AXIS}/>'
            yield _text(at, self._bottom + 16, _number(value), anchor="middle")
        yield _text((self._left + WIDTH - RIGHT) / 2, self._bottom + 34, name, anchor="middle")


def ticks(most: float, *, whole: bool = False) -> list[float]:
    """Round values from 0 up to `most`, at most seven: steps of 1, 2 or 5 times a power of ten."""
    step = 10.0 ** math.floor(math.log10(most / TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if most / (step * factor) <= TICKS)
    if whole:
        step = max(1.0, step)
    return [number * step for number in range(int(most / step) + 1)]


def _number(value: float) -> str:
    """A tick's number, never with an exponent: with as many places as a round value has."""
    if value == int(value):
        return f"{value:,.0f}"
    # Money has no more than twelve.
    places = min(12, max(0, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:,.{places}f}".rstrip("0").rstrip(".")


def _steps(frame: _Frame, x: Sequence[float], y: Sequence[float]) -> str:
    """Each value holds until the next one."""
    path = f"M{frame.x(x[0]):.1f} {frame.y(y[0]):.1f}"
    return path + "".join(f" H{frame.x(at):.1f} V{frame.y(value):.1f}" for at, value in zip(x[1:], y[1:], strict=False))


def _box(left: float, top: float, right: float, *, bottom: float) -> str:
    return f"M{left:.1f} {bottom:.1f} V{top:.1f} H{right:.1f} V{bottom:.1f} Z"


def _text(x: float, y: float, text: str, *, anchor: str, more: str = "") -> str:
    """A text, moved so far that it stands within the picture."""
    if anchor == "middle" and not more:
        half = CHARACTER * len(text) / 2
        x = min(max(x, half), WIDTH - half)
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _svg(elements: Sequence[str], words: str, height: float = HEIGHT) -> str:
    return (
        f'<svg role="img" aria-label="{escape(words)}" viewBox="0 0 {WIDTH:.0f} {height:.0f}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="currentColor">{"".join(elements)}</svg>'
    )
