"""Page facts: what a run's manifest tells, formatted for its page."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rowmill.flows.text.canary import canary_pairs, canary_tables
from rowmill.flows.text.fields import field_pairs, field_tables
from rowmill.flows.text.history import history_note, history_tables
from rowmill.flows.text.labelling import label_pairs, label_tables
from rowmill.flows.text.numbers import NOTHING
from rowmill.flows.text.quote import quote_pairs
from rowmill.schemas.display_text import Pairs, counted
from rowmill.schemas.forecast import ForecastAccuracy
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.price import usd
from rowmill.schemas.totals import Totals
from rowmill.tasks.report.page import PageFacts
from rowmill.tasks.report.run_history import Night

# Runs of the history that the page shows.
RUNS_SHOWN = 30


def page_facts(manifest: Manifest, nights: Sequence[Night] = ()) -> PageFacts:
    """What a manifest tells, formatted for the page."""
    rows, totals, end = manifest.ledger, manifest.totals, manifest.termination
    good = manifest.is_complete and rows.ok == rows.rows
    outcome = manifest.kind.replace("_", " ")
    if manifest.is_complete and not good:
        outcome = f"complete, {counted(rows.rows - rows.ok, 'row')} not ok"
    evidence = manifest.evidence.by_name() if manifest.evidence else {}
    forecast = manifest.forecast
    return PageFacts(
        name=manifest.name,
        sandbox=manifest.is_sandbox,
        outcome=outcome,
        good=good,
        model=manifest.model,
        run_id=manifest.run_id,
        version=manifest.rowmill,
        started=_time(manifest.started_at),
        updated=_time(manifest.updated_at),
        message="the run has not ended" if end is None else end.message,
        next="" if end is None else end.next,
        ledger=[(name.replace("_", " "), f"{count:,}") for name, count in rows.by_name().items()],
        bill=_bill(rows.settled, totals),
        retries=sorted(totals.retries.items(), key=lambda one: -one[1]),
        timeline=manifest.course,
        forecast=_forecast(forecast) if forecast else [],
        deciles=_deciles(forecast) if forecast else [],
        label=label_pairs(manifest.label) if manifest.label else [],
        label_tables=label_tables(manifest.label) if manifest.label else [],
        evidence_pairs=[(name, f"{count:,}") for name, count in evidence.items()],
        canary_pairs=canary_pairs(manifest.canary),
        canary_tables=canary_tables(manifest.canary),
        quote_pairs=quote_pairs(manifest.quote or None),
        history_tables=history_tables(nights, last=RUNS_SHOWN) if len(nights) > 1 else [],
        history_note=history_note(nights),
        field_pairs=field_pairs(manifest),
        field_tables=field_tables(manifest),
    )


def _bill(settled: int, totals: Totals) -> list[tuple[str, str]]:
    if totals.cost_usd is not None:
        cost, wasted = Decimal(totals.cost_usd), Decimal(totals.wasted_cost_usd or "0")
        pairs = [
            ("cost", usd(float(cost))),
            ("credits", f"{Decimal(totals.cost_credits or '0').normalize():f}"),
            ("useful", usd(float(cost - wasted))),
            ("for rejected answers", usd(float(wasted))),
            ("per 1,000 rows", usd(float(cost) / settled * 1_000) if settled else NOTHING),
        ]
    else:
        pairs = [("cost", "unknown (no price)")]
    if totals.rows_cost_unknown:
        pairs.append(("unknown, at most", usd(float(totals.unknown_cost_bound_usd))))
    return [
        *pairs,
        ("calls", f"{totals.calls:,}"),
        ("rows that reused an answer", f"{totals.rows_reused:,}"),
        ("input tokens", f"{totals.input_tokens:,}"),
        ("output tokens", f"{totals.output_tokens:,}"),
        ("thought tokens", f"{totals.thought_tokens:,}"),
    ]


def _forecast(forecast: ForecastAccuracy) -> Pairs:
    off = NOTHING if forecast.off_by is None else f"{forecast.off_by:+.1%}"
    return [
        ("rows forecast", f"{forecast.rows:,}"), ("forecast", usd(forecast.estimate_usd)),
        ("95 % interval", f"{usd(forecast.low_usd)} to {usd(forecast.high_usd)}"),
        ("actual", usd(forecast.actual_usd)), ("off by", off), ("learned from", forecast.basis),
    ]  # fmt: skip


def _deciles(forecast: ForecastAccuracy) -> list[tuple[str, ...]]:
    return [
        (f"{one.rows:,}", f"{one.mean_input_tokens:,.0f}", usd(one.expected_usd), usd(one.actual_usd))
        for one in forecast.deciles
    ]


def _time(iso: str) -> str:
    return iso.replace("T", " ")[:19] + " UTC"
