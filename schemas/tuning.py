"""Tuning: plans that were compared on gold rows, and which of them is the cheapest that is good enough."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

TUNE_VERSION = 1


class PlanState(StrEnum):
    """What became of a plan."""

    CHOSEN = "chosen"
    MISSED = "missed"
    DROPPED = "dropped"
    IMPOSSIBLE = "impossible"
    UNDECIDED = "undecided"


class Measure(msgspec.Struct, frozen=True):
    """Accuracy with a 95 % interval, and USD per 1,000 rows with one; amounts are None where the price is unknown."""

    rows: int = 0
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    usd_per_1000_rows: float | None = None
    usd_low: float | None = None
    usd_high: float | None = None


class ComparedPlan(msgspec.Struct, frozen=True):
    """A way of asking the job's rows, and how it did. `settings` are the job keys in which it differs, dotted.

    The figures of the chosen plan and of those that were judged are of gold rows that did not choose them.
    """

    name: str
    settings: dict[str, Any]
    rows: int
    accuracy: float | None
    low: float | None
    high: float | None
    usd_per_1000_rows: float | None
    usd_low: float | None
    usd_high: float | None
    state: PlanState
    reason: str


class Tuning(msgspec.Struct, frozen=True):
    """What `tune.json` holds. Money is in USD; `chosen` is the name of a plan, None where none holds the target."""

    target: float
    margin: float
    budget_usd: float
    spent_usd: float
    chosen: str | None
    reason: str
    gold_rows: int
    plans: list[ComparedPlan]
    version: int = TUNE_VERSION
