"""Page: figures to one HTML file. Whatever a model or a row said is escaped; no script, no request, no font."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from rowmill.schemas.display_text import Pairs, Table, several_lines
from rowmill.schemas.price import usd
from rowmill.schemas.timeline import TimelineSamples
from rowmill.tasks.report import plots
from rowmill.tasks.report.figures import LONG_S, Figures, Histogram

TEMPLATE = "report.html.jinja"
ACROSS = {
    "input tokens": "input tokens per row", "output tokens": "visible output tokens per row",
    "seconds": "seconds per answer", "calls": "calls per row",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """What a run's manifest tells, formatted for people, under the names that the template has for it."""

    name: str
    sandbox: bool
    outcome: str
    good: bool
    model: str
    run_id: str
    version: str
    started: str
    updated: str
    message: str
    next: str
    ledger: Pairs
    bill: Pairs
    retries: list[tuple[str, int]]
    timeline: TimelineSamples | None
    forecast: Pairs
    deciles: list[tuple[str, ...]]
    label: Pairs
    label_tables: list[Table]
    evidence_pairs: Pairs
    canary_pairs: Pairs
    canary_tables: list[Table]
    quote_pairs: Pairs
    history_tables: list[Table]
    history_note: str
    field_pairs: Pairs
    field_tables: list[Table]


def page(facts: PageFacts, found: Figures) -> str:
    """The whole page."""
    return template(TEMPLATE).render(
        **{field.name: getattr(facts, field.name) for field in fields(facts)},
        plots=_plots(facts, found),
        failures=found.failures,
        fields=found.fields,
        samples=found.samples,
        evidence=found.evidence,
    )


def template(name: str) -> jinja2.Template:
    """A template of this folder, whose values are escaped and shown."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
    )
    return environment.get_template(name)


def _visible(value: Any) -> Any:
    """What is not seen, or turns a line around, is shown; HTML is escaped after this."""
    return several_lines(value) if type(value) is str else value


def _plots(facts: PageFacts, found: Figures) -> list[tuple[str, Markup]]:
    drawn = []
    if found.times:
        words = f"{usd(found.cost_usd[-1])} after {found.times[-1]:.3g} {found.time_unit}"
        svg = plots.curve(
            found.times, found.cost_usd, across=found.time_unit, up="USD", words=f"Cost over time: {words}"
        )
        drawn.append(("Cost over time", svg))
    drawn += _timeline(facts.timeline)
    drawn += [(name.capitalize(), _histogram(name, histogram)) for name, histogram in found.histograms.items()]
    if facts.retries:
        words = ", ".join(f"{count:,} {kind}" for kind, count in facts.retries)
        drawn.append(("Failed attempts by kind", plots.lying_bars(facts.retries, across="attempts",
                      words=f"Failed attempts by kind: {words}")))  # fmt: skip
    # Drawn from numbers and our own words, and escaped where they are drawn.
    return [(title, Markup(svg)) for title, svg in drawn]


def _timeline(timeline: TimelineSamples | None) -> Iterator[tuple[str, str]]:
    """Calls over time in the last run that made any, with their limits."""
    if timeline is None or not timeline.in_flight:
        return
    seconds = timeline.step_s * len(timeline.in_flight)
    unit, size = ("minutes", 60) if seconds > LONG_S else ("seconds", 1)
    times = [at * timeline.step_s / size for at in range(len(timeline.in_flight))]
    most, allowed = max(timeline.in_flight), max(timeline.limit)
    yield "Calls in flight, and how many were allowed (dotted)", plots.curve(
        times, timeline.in_flight, across=unit, up="calls", limit=timeline.limit,
        words=f"Calls in flight: at most {most:,}, of at most {allowed:,} allowed, over {times[-1]:.3g} {unit}",
    )  # fmt: skip
    rpm, fastest = timeline.rpm, max(timeline.calls_a_minute)
    if rpm is not None:
        yield "Calls a minute, and the limit (dotted)", plots.curve(
            times, timeline.calls_a_minute, across=unit, up="calls a minute", limit=[rpm] * len(times),
            words=f"Calls a minute: at most {fastest:,.0f}, {rpm:,.0f} allowed",
        )  # fmt: skip


def _histogram(name: str, histogram: Histogram) -> str:
    words = f"Rows by {name}: half at most {histogram.middle:.4g}, 95 % at most {histogram.p95:.4g}"
    return plots.bars(histogram, across=ACROSS[name], words=words)
