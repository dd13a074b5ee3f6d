"""Written time: whether a passage tells a time of the day, in 24 hours or twice 12, in whatever zone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from rowmill.tasks.answers.numerals import plain_numbers

TIMES_MOST = 40
_ISO_TIME = re.compile(r"[T ]?(\d{2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?\s?(Z|[+-]\d{2}:?\d{2})?", re.ASCII | re.IGNORECASE)
_AFTERNOON = r"(?:p\.?\s?m\b|午後|下午|오후|μ\.?μ|م\b|nachm\w*|tarde)"
_FORENOON = r"(?:a\.?\s?m\b|午前|上午|오전|π\.?μ|ص\b|vorm\w*|mañana)"
_TIME = re.compile(
    rf"(?P<before>{_AFTERNOON}|{_FORENOON})?\s?(?<![\d:.,/-])(?P<hour>\d{{1,2}})"
    r"(?:\s?[:h時时点點시]\s?(?P<minute>\d{1,2})(?:\s?[:m分분]\s?(?P<second>\d{2}))?(?!\d)|\.(?P<dotted>\d{2})\s?(?:uhr|h\b|hrs?\b)"
    rf"|(?=\s?(?:{_AFTERNOON}|{_FORENOON}|uhr\b|o.clock|[時时点點시]|h\b)))"
    rf"[分분]?\s?(?P<behind>{_AFTERNOON}|{_FORENOON})?",
    re.IGNORECASE,
)
_IS_AFTERNOON = re.compile(_AFTERNOON, re.IGNORECASE)
_ZONE = re.compile(
    r"\b(?!AM\b|PM\b)[A-Z]{2,5}\b|\bZ\b|\d\s?[+-]\d{2}(?::?\d{2})?\b|\dZ\b|\b(?:zone|time|zeit|heure|hora|ora)\b"
)
# Zones differ by so many minutes.
_ZONE_STEP = 15


class _Told(NamedTuple):
    """A time as it is told, and whether the half of the day is."""

    hour: int
    minute: int
    second: int | None
    half: bool


def is_time(told: str) -> bool:
    """Whether a value is a time of the day as ISO 8601 has it."""
    return _ISO_TIME.fullmatch(told) is not None


def tells_time(quote: str) -> bool:
    """Whether a passage tells a time in digits."""
    return any(_times(plain_numbers(quote)))


def holds_time(told: str, quote: str) -> bool | None:
    """True where the passage tells this time, False where it tells another one alone, None where that cannot be
    decided: no time in digits, zones that may be others. `told` is the part of a date-time behind its date.
    """
    value = _ISO_TIME.fullmatch(told)
    times = list(islice(_times(plain_numbers(quote)), TIMES_MOST))
    if value is None or not times:
        return None
    hour, minute, second = int(value[1]), int(value[2]), int(value[3] or 0)
    for one in times:
        hours = {one.hour} if one.half else {one.hour, (one.hour + 12) % 24}
        if hour in hours and minute == one.minute and one.second in (None, second):
            return True
    apart = all((minute - one.minute) % _ZONE_STEP for one in times)
    return False if apart or (value[4] is None and _ZONE.search(quote) is None) else None


def _times(text: str) -> Iterator[_Told]:
    for found in _TIME.finditer(text):
        half = found["before"] or found["behind"]
        hour, minute = int(found["hour"]), int(found["minute"] or found["dotted"] or 0)
        if hour > 24 or minute > 59:
            continue
        if half is not None and hour <= 12:
            hour = hour % 12 + (12 if _IS_AFTERNOON.match(half) else 0)
        second = int(found["second"]) if found["second"] else None
        yield _Told(hour % 24, minute, second, half is not None or hour > 12)
