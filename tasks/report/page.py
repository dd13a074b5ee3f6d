"""Page: figures → one HTML file. Everything a model or a row said is escaped; no script, no request, no font."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from rowmill.tasks.report import plots
from rowmill.tasks.report.figures import LONG_S, Figures, Histogram

TEMPLATE = "report.html.jinja"
ACROSS = {
    "input tokens": "input tokens a row", "output tokens": "visible output tokens a row",
    "seconds": "seconds an answer", "calls": "calls a row",
}  # fmt: skip


def page(told: Mapping[str, Any], found: Figures) -> str:
    """The whole page. `told` is the manifest in the page's words."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(TEMPLATE).render(
        **told, plots=_plots(told, found), failures=found.failures, fields=found.fields, samples=found.samples
    )


def _plots(told: Mapping[str, Any], found: Figures) -> list[tuple[str, Markup]]:
    drawn = []
    if found.times:
        words = f"{found.cost_usd[-1]:.4g} USD after {found.times[-1]:.3g} {found.time_unit}"
        svg = plots.curve(
            found.times, found.cost_usd, across=found.time_unit, up="USD", told=f"Cost over time: {words}"
        )
        drawn.append(("Cost over time", svg))
    drawn += _course(told["course"])
    drawn += [(name.capitalize(), _histogram(name, histogram)) for name, histogram in found.histograms.items()]
    if told["retries"]:
        words = ", ".join(f"{count:,} {kind}" for kind, count in told["retries"])
        drawn.append(("Failed attempts by kind", plots.lying_bars(told["retries"], across="attempts",
                      told=f"Failed attempts by kind: {words}")))  # fmt: skip
    # Drawn by a library from numbers and our own words, escaped there.
    return [(title, Markup(svg)) for title, svg in drawn]


def _course(course: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """How the calls went in the last session that made any, with the limits they were held to."""
    if course is None:
        return
    seconds = course["step_s"] * len(course["in_flight"])
    unit, size = ("minutes", 60) if seconds > LONG_S else ("seconds", 1)
    times = [at * course["step_s"] / size for at in range(len(course["in_flight"]))]
    most, allowed = max(course["in_flight"]), max(course["limit"])
    yield "Calls in flight, and how many were allowed (dotted)", plots.curve(
        times, course["in_flight"], across=unit, up="calls", limit=course["limit"],
        told=f"Calls in flight: {most:,} at the most, of {allowed:,} allowed at the most, over {times[-1]:.3g} {unit}",
    )  # fmt: skip
    rpm, fastest = course["rpm"], max(course["calls_a_minute"])
    if rpm is not None:
        yield "Calls a minute, and the limit (dotted)", plots.curve(
            times, course["calls_a_minute"], across=unit, up="calls a minute", limit=[rpm] * len(times),
            told=f"Calls a minute: {fastest:,.0f} at the most, {rpm:,.0f} allowed",
        )  # fmt: skip


def _histogram(name: str, histogram: Histogram) -> str:
    told = f"Rows by {name}: half at most {histogram.middle:.4g}, 95 in 100 at most {histogram.p95:.4g}"
    return plots.bars(histogram, across=ACROSS[name], told=told)
