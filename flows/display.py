"""Display: what people see of a run, on stderr. A live bar on a terminal, a plain line every 5 % otherwise."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TextIO

from schemas.price import PICO, short_usd
from tasks.progress import Progress

if TYPE_CHECKING:
    from tasks.session import Session

REDRAW_S = 0.2
STEP_PERCENT = 5


async def watch_lines(session: Session, out: TextIO = sys.stderr) -> None:
    """A plain line at each 5 % of the rows."""
    shown = -1
    while True:
        await asyncio.sleep(REDRAW_S)
        progress = session.progress
        step = progress.done * 100 // progress.total // STEP_PERCENT if progress.total else 0
        if step > shown:
            shown = step
            print(line(progress, session.clock.now(), session.admission.waiting_for), file=out, flush=True)


async def watch_bar(session: Session) -> None:
    """A live bar, redrawn five times a second."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            told = line(session.progress, session.clock.now(), session.admission.waiting_for)
            live.update(Text(_bar(session.progress, console.width) + told), refresh=True)
            await asyncio.sleep(REDRAW_S)


def _bar(progress: Progress, width: int) -> str:
    cells = min(30, max(0, width - 110))
    if not cells or not progress.total:
        return ""
    full = cells * progress.done // progress.total
    return "█" * full + "░" * (cells - full) + " "


def line(progress: Progress, now: float, waiting_for: str | None) -> str:
    """rows/total, %, rows/s, elapsed, time left, USD so far of the cap, not ok, and why it waits."""
    elapsed = max(now - progress.started_at, 1e-9)
    rate = progress.settled / elapsed
    more = "" if progress.total_is_exact else "+"
    percent = progress.done * 100 // progress.total if progress.total else 100
    parts = [f"{progress.done:,}/{progress.total:,}{more} rows", f"{percent} %", f"{rate:,.1f} rows/s", _span(elapsed)]
    if rate and progress.done < progress.total:
        parts.append(f"{_span((progress.total - progress.done) / rate)} left")
    cap = f" of {short_usd(progress.cap_usd)}" if progress.cap_usd is not None else ""
    parts.append(f"{short_usd(progress.usd)}{cap}")
    if (whole := progress.projected_usd) is not None and progress.done < progress.total:
        parts.append(f"about {short_usd(whole)} in all")
    if progress.not_ok:
        parts.append(f"{progress.not_ok:,} not ok")
    if waiting_for not in (None, "concurrency"):
        parts.append(f"waiting: {waiting_for}")
    return " · ".join(parts)


def _span(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d} min"


def summary(manifest: Mapping[str, Any], output: str) -> str:
    """The end of a run in a few lines: ledger, bill, failures, where the results are and what to do next."""
    rows, totals, termination = manifest["ledger"], manifest["totals"], manifest["termination"]
    counts = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in rows.items() if count and name != "rows"
    )
    lines = [f"{termination['kind']}: {rows['rows']:,} rows: {counts or 'none'}", _bill(totals)]
    if totals["retries"]:
        lines.append("retries: " + ", ".join(f"{count:,} {kind}" for kind, count in totals["retries"].items()))
    if totals["rows_cost_unknown"]:
        bound = short_usd(_pico(totals["unknown_cost_bound_usd"]))
        lines.append(f"{totals['rows_cost_unknown']:,} rows may have cost more than was told, at most {bound} together")
    if (told := manifest.get("forecast")) and termination["kind"] == "complete":
        lines.append(
            f"forecast of the {told['rows']:,} rows that were still to ask ({told['basis']}): "
            f"${told['estimate_usd']:.4g}, 95 % between ${told['low_usd']:.4g} and ${told['high_usd']:.4g}; "
            f"it was ${told['actual_usd']:.4g}"
        )
    lines.append(f"results: {output}/results")
    if termination["kind"] != "complete":
        lines.append(f"stopped: {termination['message']}")
        lines.append(f"next: {termination['next']}")
    elif rows["ok"] < rows["rows"]:
        lines.append(
            "next: look at error_kind and error_message of the rows that are not ok; --retry-failed tries them again"
        )
    return "\n".join(lines)


def _bill(totals: Mapping[str, Any]) -> str:
    tokens = (
        f"{totals['calls']:,} calls, {totals['input_tokens']:,} input, {totals['output_tokens']:,} output and "
        f"{totals['thought_tokens']:,} thought tokens"
    )
    if totals["cost_usd"] is None:
        return f"cost: unknown (the catalogue has no price); {tokens}"
    wasted = _pico(totals["wasted_cost_usd"])
    waste = f", {short_usd(wasted)} of it for answers that were not accepted" if wasted else ""
    credits = Decimal(totals["cost_credits"]).normalize()
    return f"cost: {short_usd(_pico(totals['cost_usd']))} ({credits:f} credits){waste}; {tokens}"


def _pico(amount: str) -> int:
    return int(Decimal(amount) * PICO)
