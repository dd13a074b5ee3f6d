"""Page: figures → one HTML file. Everything a model or a row said is escaped; no script, no request, no font."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tasks import plots
from tasks.report import Figures, Histogram

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
        span = f"{found.times[-1]:.3g} {found.time_unit}"
        cost, most = found.cost_usd[-1], max(found.in_flight)
        for title, series, up, words in (
            ("Cost over time", found.cost_usd, "USD", f"{cost:.4g} USD after {span}"),
            ("Calls in flight", found.in_flight, "calls", f"{most:,.0f} at the most, over {span}"),
        ):
            drawn.append(
                (title, plots.curve(found.times, series, across=found.time_unit, up=up, told=f"{title}: {words}"))
            )
    drawn += [(name.capitalize(), _histogram(name, histogram)) for name, histogram in found.histograms.items()]
    if told["retries"]:
        words = ", ".join(f"{count:,} {kind}" for kind, count in told["retries"])
        drawn.append(("Failed attempts by kind", plots.lying_bars(told["retries"], across="attempts",
                      told=f"Failed attempts by kind: {words}")))  # fmt: skip
    # Drawn by a library from numbers and our own words, escaped there.
    return [(title, Markup(svg)) for title, svg in drawn]


def _histogram(name: str, histogram: Histogram) -> str:
    told = f"Rows by {name}: half at most {histogram.middle:.4g}, 95 in 100 at most {histogram.p95:.4g}"
    return plots.bars(histogram, across=ACROSS[name], told=told)
