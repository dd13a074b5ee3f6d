"""Waiting: what a run does when its key's spend limit is reached and the job says `on_spend_limit: wait`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from rowmill.schemas.display_text import one_line
from rowmill.tasks.run.run import OpenRun

HOUR_S = 3_600
# A gateway's clock may be behind ours.
AFTER_TURN_S = 5
GIVE_UP_S = 25 * HOUR_S
LOOK_S = 1.0

Wait = Callable[[OpenRun, float], Awaitable[None]]


def next_turn(wall: float) -> float:
    """The next turn of the hour, in seconds since 1970 UTC, with a little room.

    Every hour's turn is probed, with one call that costs nothing while the limit holds: so the turn of the day is met
    in every time zone.
    """
    return (wall // HOUR_S + 1) * HOUR_S + AFTER_TURN_S


def wait_message(run: OpenRun, until: float) -> str:
    told = run.gate.termination
    at = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"spend limit: {one_line(told.message) if told else ''} Waiting until {at}, then one call probes"


async def wait_here(run: OpenRun, until: float) -> None:
    """Wait in this process; an interrupt ends the wait."""
    run.gate.waiting_for = f"spend limit until {datetime.fromtimestamp(until, UTC):%H:%M} UTC"
    while not run.stop.interrupted and (left := until - run.clock.wall()) > 0:
        await run.clock.sleep(min(left, LOOK_S))
