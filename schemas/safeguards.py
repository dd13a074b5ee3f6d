"""Safeguards: what of a job file ends a run that nobody watches."""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from rowmill.schemas.section import Part
from rowmill.schemas.time_zone import TimeZone

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


class BudgetPerDay(Part):
    """One budget over all runs that name it: what they may spend together in a day."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", description="What its runs have in common")
    usd_per_day: Decimal = Field(gt=0, le=10**6, description="Most that all of them together spend in a day, in USD")
    time_zone: TimeZone | None = Field(None, description="Zone whose midnight turns the day; else the job's, else UTC")

    @field_validator("usd_per_day", mode="before")
    @classmethod
    def _exact(cls, value: object) -> object:
        # YAML gives 0.1 as a float; its shortest text is what the user wrote.
        return str(value) if isinstance(value, float) else value


class Canary(Part):
    """Rows that are settled already, asked again before anything new: is the model behind the name the one it was?"""

    rows: int = Field(50, ge=7, le=1_000, description="Settled rows drawn at random and asked again first")
    drift: float = Field(
        0.05, ge=0, lt=1, description="Share of changed answers, beyond what chance changes, above which the run stops"
    )
    since: date | None = Field(
        None, description="Draw only rows answered from this day on (UTC): the change before it is accepted"
    )
