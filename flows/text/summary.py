"""Summary: the result of a run in a few lines."""

from __future__ import annotations

from decimal import Decimal

from rowmill.flows.text.canary import canary_line
from rowmill.flows.text.fields import field_lines
from rowmill.flows.text.labelling import label_lines
from rowmill.flows.text.quote import quote_line
from rowmill.schemas.display_text import counted, one_line
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.price import parse_amount, short_usd, usd
from rowmill.schemas.totals import Sums, Totals
from rowmill.tasks.run.progress import Progress

SANDBOX = "sandbox: nothing was paid; answers and costs are made up"
MESSAGE_SHOWN = 160


def summary(manifest: Manifest, output: str, progress: Progress | None = None) -> str:
    """Ledger, cost, failures with examples, latency, where the results are and what to do next.

    `progress` is what this process saw of the run; None when the summary is made from files alone.
    """
    rows, totals, end = manifest.ledger, manifest.totals, manifest.termination
    counts = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in rows.by_name().items() if count and name != "rows"
    )
    lines = [f"{manifest.kind}: {counted(rows.rows, 'row')}: {counts or 'none'}", _bill(totals, rows.settled)]
    if manifest.is_sandbox:
        lines.insert(1, SANDBOX)
    if manifest.beside.calls:
        lines.append(_beside(manifest.beside))
    if totals.retries:
        lines.append("retries: " + ", ".join(f"{count:,} {kind}" for kind, count in totals.retries.items()))
    if progress is not None:
        lines += _seen(progress)
    if totals.rows_cost_unknown:
        bound = short_usd(parse_amount(totals.unknown_cost_bound_usd))
        lines.append(
            f"{counted(totals.rows_cost_unknown, 'row')} may have cost more than was reported, at most {bound} in total"
        )
    if (forecast := manifest.forecast) and manifest.is_complete:
        lines.append(
            f"forecast of the {counted(forecast.rows, 'row')} that remained ({forecast.basis}): "
            f"{usd(forecast.estimate_usd)}, "
            f"95 % interval {usd(forecast.low_usd)} to {usd(forecast.high_usd)}; actual {usd(forecast.actual_usd)}"
        )
    if canary := manifest.canary:
        lines.append(canary_line(canary))
    if manifest.label:
        lines += label_lines(manifest.label)
    if told := manifest.evidence:
        lines.append(
            f"evidence: {counted(told.fields, 'value')}: {told.exact:,} exact, {told.normalized:,} normalized, "
            f"{told.none:,} without support"
        )
    lines += field_lines(manifest)
    if quote := manifest.quote:
        lines.append(quote_line(quote))
    lines.append(f"results: {output}/results")
    if end is not None and not manifest.is_complete:
        lines.append(f"stopped: {end.message}")
        lines.append(f"next: {end.next}")
    elif end is not None and rows.ok < rows.rows == rows.ok + rows.unreadable:
        lines.append("next: correct the lines that cannot be read, which error_message names, and run again")
    elif end is not None and rows.ok < rows.rows - rows.not_attempted:
        lines.append(
            "next: see error_kind and error_message of the rows that are not ok; --retry-failed asks them again"
        )
    return "\n".join(map(one_line, lines))


def _beside(beside: Sums) -> str:
    """What was paid for and is in no row of the results."""
    calls, cost = beside.calls, beside.cost_usd
    known = "an unknown amount" if cost is None else short_usd(parse_amount(cost))
    bound = parse_amount(beside.unknown_cost_bound_usd)
    unknown = f" and at most {short_usd(bound)} that was not reported" if bound else ""
    return (
        f"in addition: {counted(calls, 'call')} for rows that are not settled or have left the input: {known}{unknown}"
    )


def _seen(progress: Progress) -> list[str]:
    """Each error kind with some of its rows, and how long answers took."""
    lines = []
    for kind, count in sorted(progress.failures.items(), key=lambda one: -one[1]):
        lines.append(f"{count:,} {kind}:")
        lines += [f"  {row}: {message[:MESSAGE_SHOWN]}" for row, message in progress.examples[kind]]
    middle, slow = progress.latency_s(0.5), progress.latency_s(0.95)
    if middle is not None and slow is not None:
        lines.append(f"latency: p50 {_span(middle)}, p95 {_span(slow)}")
    return lines


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1_000:.0f} ms"


def _bill(totals: Totals, settled: int) -> str:
    tokens = (
        f"{counted(totals.calls, 'call')}, {totals.input_tokens:,} input, {totals.output_tokens:,} output and "
        f"{totals.thought_tokens:,} thought tokens"
    )
    if totals.cost_usd is None:
        return f"cost: unknown (the catalogue has no price); {tokens}"
    wasted = parse_amount(totals.wasted_cost_usd or "0")
    waste = f", {short_usd(wasted)} of it for rejected answers" if wasted else ""
    credits = Decimal(totals.cost_credits or "0").normalize()
    cost = parse_amount(totals.cost_usd)
    each = f", {short_usd(cost * 1_000 // settled)} per 1,000 rows" if settled else ""
    return f"cost: {short_usd(cost)} ({credits:f} credits){waste}{each}; {tokens}"
