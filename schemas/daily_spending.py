"""Daily spending: what `run.json` tells under `budget`, of a budget per day that several runs name."""

from __future__ import annotations

from msgspec import Struct


class DailySpending(Struct, frozen=True, kw_only=True):
    """Money of one day as decimal strings: what the budget allows, this run's share of it, and that of all others.

    `store` is where the runs meet, `time_zone` decides when the day ends; what others spent is as of the last word.
    """

    name: str = ""
    usd_per_day: str = "0"
    day: str = ""
    time_zone: str = ""
    store: str = ""
    this_run_usd: str = "0"
    other_runs_usd: str = "0"
