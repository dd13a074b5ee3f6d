"""Display: what people see of a run while it lives, on stderr. Live lines on a terminal, a plain one every 5 % else."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, TextIO

from rowmill.schemas.job import Limits
from rowmill.schemas.price import short_usd
from rowmill.tasks.gateway.admission.traffic import USUAL, Traffic
from rowmill.tasks.run.progress import Progress

if TYPE_CHECKING:
    from rowmill.tasks.run.run import OpenRun

REDRAW_S = 0.2
STEP_PERCENT = 5
BAR_MOST = 40


async def watch_lines(run: OpenRun, out: TextIO = sys.stderr) -> None:
    """A plain line at each 5 % of the rows."""
    shown = -1
    while True:
        await asyncio.sleep(REDRAW_S)
        progress = run.progress
        step = progress.done * 100 // progress.total // STEP_PERCENT if progress.total else 0
        if step > shown:
            shown = step
            now, limits = run.clock.now(), run.job.limits
            print(" · ".join(parts(progress, run.background.traffic(), limits, now)), file=out, flush=True)


async def watch_bar(run: OpenRun) -> None:
    """Live lines, redrawn five times a second, as wide as the terminal is at that moment."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            told = lines(run.progress, run.background.traffic(), run.job.limits, run.clock.now(), console.width)
            live.update(Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in told)), refresh=True)
            await asyncio.sleep(REDRAW_S)


def lines(progress: Progress, now_passing: Traffic, limits: Limits, now: float, width: int) -> list[str]:
    """A bar, and under it as many lines as the parts need at this width."""
    told = [_bar(progress, width)] if progress.total else []
    line = ""
    for part in parts(progress, now_passing, limits, now):
        if line and len(line) + 3 + len(part) > width:
            told.append(line)
            line = ""
        line = f"{line} · {part}" if line else part
    return [*told, line]


def _bar(progress: Progress, width: int) -> str:
    percent = f" {progress.done * 100 // progress.total} %"
    cells = max(0, min(BAR_MOST, width - len(percent)))
    full = cells * progress.done // progress.total
    return "█" * full + "░" * (cells - full) + percent


def parts(progress: Progress, now_passing: Traffic, limits: Limits, now: float) -> list[str]:
    """Rows, speed, time, money, what went wrong, and why it waits: each a part of its own."""
    elapsed = max(now - progress.started_at, 1e-9)
    rate = progress.settled_now / elapsed
    more = "" if progress.total_is_exact else "+"
    percent = progress.done * 100 // progress.total if progress.total else 100
    told = [f"{progress.done:,}/{progress.total:,}{more} rows", f"{percent} %", f"{rate:,.1f} rows/s", _span(elapsed)]
    if rate and progress.done < progress.total:
        told.append(f"{_span((progress.total - progress.done) / rate)} left")
    cap = f" of {short_usd(progress.cap_usd)}" if progress.cap_usd is not None else ""
    told.append(f"{short_usd(progress.spent_usd)}{cap}")
    if (whole := progress.projected_usd) is not None and progress.done < progress.total:
        told.append(f"about {short_usd(whole)} in all")
    if progress.failing:
        told.append(f"{progress.failing:,} not ok")
    return told + _traffic_parts(now_passing, limits)


def _traffic_parts(now_passing: Traffic, limits: Limits) -> list[str]:
    told = [f"{now_passing.in_flight:,} in flight of {now_passing.limit:,}"]
    for name, seen, most in (
        ("calls", now_passing.calls, limits.rpm), ("tokens", now_passing.tokens, limits.tpm)
    ):  # fmt: skip
        if most is not None:
            told.append(f"{seen:,.0f} {name} a minute of {most:,.0f}")
    if now_passing.retrying:
        told.append(f"{now_passing.retrying:,} retrying")
    if now_passing.waiting_for not in USUAL:
        opens = f", looks again in {_span(now_passing.opens_in)}" if now_passing.opens_in >= 1 else ""
        told.append(f"waiting: {now_passing.waiting_for}{opens}")
    if now_passing.lately:
        told.append("lately " + ", ".join(f"{count:,} {kind}" for kind, count in now_passing.lately))
    return told


def _span(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d} min"
