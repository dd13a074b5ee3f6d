"""Local time: when a time of day comes next in a zone, and which day it is there.

A zone is an IANA name; None is the machine's own (TZ, or what the system is set to).
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo


def next_time_of_day(after: float, at: time, zone: str | None) -> float:
    """The first moment later than `after` at which a clock in the zone shows this time of day; seconds since 1970 UTC.

    Each day has one such moment: the first where the clock is put back and shows a time twice, and where it is put
    forward past the time, the moment at which it is put.
    """
    tz = _tz(zone)
    day = datetime.fromtimestamp(after, tz).date()
    for days in range(-1, 3):
        if (found := _moment(day + timedelta(days), at, tz)) > after:
            return found
    raise AssertionError("a day has a time of day")


def day_at(moment: float, zone: str | None) -> date:
    """The date in the zone at a moment, in seconds since 1970 UTC."""
    return datetime.fromtimestamp(moment, _tz(zone)).date()


def shown(moment: float, zone: str | None) -> str:
    """A moment as a person in the zone reads it."""
    tz = _tz(zone)
    local = datetime.fromtimestamp(moment, tz)
    return (local.astimezone() if tz is None else local).strftime("%Y-%m-%d %H:%M:%S %Z")


def _tz(zone: str | None) -> ZoneInfo | None:
    return None if zone is None else ZoneInfo(zone)


def _moment(day: date, at: time, tz: ZoneInfo | None) -> float:
    local = datetime.combine(day, at)
    early, late = (local.replace(fold=fold, tzinfo=tz).timestamp() for fold in (0, 1))
    if early <= late:
        # The same moment, or a time that is shown twice.
        return early
    # A time that no clock shows: read by the offset from before the change it lies after it, by the one from after it
    # lies before. The change is where the clock first shows something later.
    before, after = int(late), int(early)
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, tz).replace(tzinfo=None) < local:
            before = middle
        else:
            after = middle
    return float(after)
