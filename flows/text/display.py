"""Display: a run's progress on stderr while it runs: live lines on a terminal, otherwise a plain line every 5 %."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, TextIO

from rowmill.schemas.display_text import one_line
from rowmill.schemas.job_sections import Limits
from rowmill.schemas.price import short_usd
from rowmill.tasks.gateway.admission.traffic import USUAL, Traffic
from rowmill.tasks.run.progress import Progress

if TYPE_CHECKING:
    from rowmill.tasks.run.run import OpenRun

REDRAW_S = 0.2
STEP_PERCENT = 5
BAR_MOST = 40


async def watch_lines(run: OpenRun, out: TextIO = sys.stderr) -> None:
    """Print a plain line at every 5 % of the rows."""
    shown = -1
    while True:
        await asyncio.sleep(REDRAW_S)
        progress = run.progress
        step = progress.done * 100 // progress.total // STEP_PERCENT if progress.total else 0
        if step > shown:
            shown = step
            now, limits = run.clock.now(), run.job.limits
            print(" · ".join(parts(progress, run.background.traffic(), limits, now=now)), file=out, flush=True)


async def watch_bar(run: OpenRun) -> None:
    """Draw live lines five times a second, as wide as the terminal is at that moment."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            shown = lines(
                run.progress, run.background.traffic(), run.job.limits, now=run.clock.now(), width=console.width
            )
            live.update(Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in shown)), refresh=True)
            await asyncio.sleep(REDRAW_S)


def lines(progress: Progress, traffic: Traffic, limits: Limits, *, now: float, width: int) -> list[str]:
    """A bar, and below it as many lines as the parts need at this width."""
    drawn = [_bar(progress, width)] if progress.total else []
    line = ""
    for part in parts(progress, traffic, limits, now=now):
        if line and len(line) + 3 + len(part) > width:
            drawn.append(line)
            line = ""
        line = f"{line} · {part}" if line else part
    return [*drawn, line]


def _bar(progress: Progress, width: int) -> str:
    percent = f" {progress.done * 100 // progress.total} %"
    cells = max(0, min(BAR_MOST, width - len(percent)))
    full = cells * progress.done // progress.total
    return "█" * full + "░" * (cells - full) + percent


def parts(progress: Progress, traffic: Traffic, limits: Limits, *, now: float) -> list[str]:
    """Rows, speed, time, cost, failures and the reason for waiting, one part each."""
    elapsed = max(now - progress.started_at, 1e-9)
    rate = progress.settled_now / elapsed
    more = "" if progress.total_is_exact else "+"
    percent = progress.done * 100 // progress.total if progress.total else 100
    shown = [f"{progress.done:,}/{progress.total:,}{more} rows", f"{percent} %", f"{rate:,.1f} rows/s", _span(elapsed)]
    if rate and progress.done < progress.total:
        shown.append(f"{_span((progress.total - progress.done) / rate)} left")
    cap = f" of {short_usd(progress.cap_usd)}" if progress.cap_usd is not None else ""
    shown.append(f"{short_usd(progress.spent_usd)}{cap}")
    if (whole := progress.projected_usd) is not None and progress.done < progress.total:
        shown.append(f"about {short_usd(whole)} in total")
    elif progress.drifts and progress.done < progress.total:
        shown.append("total unknown: costs change along the input")
    if progress.failing:
        shown.append(f"{progress.failing:,} not ok")
    return [one_line(part) for part in (*shown, *_traffic_parts(traffic, limits))]


def _traffic_parts(traffic: Traffic, limits: Limits) -> list[str]:
    shown = [f"{traffic.in_flight:,} in flight of {traffic.limit:,}"]
    for name, used, allowed in (("calls", traffic.calls, limits.rpm), ("tokens", traffic.tokens, limits.tpm)):
        if allowed is not None:
            shown.append(f"{used:,.0f} {name} a minute of {allowed:,.0f}")
    if traffic.retrying:
        shown.append(f"{traffic.retrying:,} retrying")
    if traffic.waiting_for not in USUAL:
        opens = f", next try in {_span(traffic.opens_in)}" if traffic.opens_in >= 1 else ""
        shown.append(f"waiting: {traffic.waiting_for}{opens}")
    if traffic.lately:
        shown.append("recently " + ", ".join(f"{count:,} {kind}" for kind, count in traffic.lately))
    return shown


def _span(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d} min"
