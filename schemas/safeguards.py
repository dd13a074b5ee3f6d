"""Safeguards: what of a job file ends a run that nobody watches."""

from __future__ import annotations

from datetime import time
from typing import Annotated

from pydantic import BeforeValidator, Field

from rowmill.schemas.section import Part

HOURS_MOST = 24 * 366


def _time_of_day(value: object) -> object:
    """A time of day as HH:MM text; TOML has times of its own. Raises ValueError."""
    if isinstance(value, str):
        hours, _, rest = value.strip().partition(":")
        try:
            value = time.fromisoformat(f"{hours:0>2}:{rest}")
        except ValueError:
            raise ValueError(f'{value!r} is no time of day: write it as "06:00", midnight as "00:00"') from None
    if not isinstance(value, time):
        raise ValueError('a time of day is text: write it as "06:00"')
    if value.tzinfo is not None or value.microsecond:
        raise ValueError('a time of day is hours and minutes ("06:00"); time_zone names the zone')
    return value.isoformat("seconds" if value.second else "minutes")


TimeOfDay = Annotated[str, BeforeValidator(_time_of_day)]


class StopWhen(Part):
    """When so many rows are not ok that asking the others would be money for nothing.

    Judged on rows that calls were made for in this run and that ended `invalid`, `refused` or `failed`. A line that
    cannot be read costs nothing and says nothing of the model, so `unreadable` rows do not count.
    """

    not_ok: float = Field(0.95, ge=0, lt=1, description="Share of rows that are not ok above which the run stops")
    after: int = Field(50, ge=1, le=100_000, description="Rows to settle before the share is looked at")

    @property
    def drawn(self) -> int:
        """How many rows are drawn at random over the whole input, once the rows settled so far look that bad."""
        return min(self.after, max(20, (self.after + 1) // 2))
