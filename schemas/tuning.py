"""Tuning: plans that were compared on gold rows, and which of them is the cheapest that is good enough."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

TUNE_VERSION = 1
# The name of a plan that no combination of settings equals.
OWN = "as the job says"


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
    # At the job's limits of calls and tokens a minute; None without one.
    hours_per_million_rows: float | None = None

    @property
    def error(self) -> float | None:
        """Share of gold rows that are wrong."""
        return None if self.accuracy is None else 1 - self.accuracy


class Tuning(msgspec.Struct, frozen=True):
    """What `tune.json` holds. Money is in USD; `chosen` is the name of a plan, None where none holds the target, and
    `own` that of the plan which asks as the job itself does.
    """

    target: float
    margin: float
    budget_usd: float
    spent_usd: float
    chosen: str | None
    reason: str
    gold_rows: int
    plans: list[ComparedPlan]
    own: str | None = None
    name: str = ""
    sandbox: bool = False
    version: int = TUNE_VERSION

    def plan(self, name: str | None) -> ComparedPlan | None:
        """The plan of that name."""
        return next((plan for plan in self.plans if plan.name == name), None)

    @property
    def saved_share(self) -> float | None:
        """What the chosen plan costs less than the job's own way of asking, as a share; None where that is unknown."""
        chosen, own = self.plan(self.chosen), self.plan(self.own)
        if chosen is None or own is None or chosen.usd_per_1000_rows is None or not own.usd_per_1000_rows:
            return None
        return 1 - chosen.usd_per_1000_rows / own.usd_per_1000_rows

    @property
    def front(self) -> list[ComparedPlan]:
        """The plans that no cheaper one equals in accuracy, the cheapest first: the Pareto front as measured."""
        best, found = -1.0, []
        known = [plan for plan in self.plans if plan.usd_per_1000_rows is not None and plan.accuracy is not None]
        for plan in sorted(known, key=lambda plan: (plan.usd_per_1000_rows or 0.0, -(plan.accuracy or 0.0))):
            if plan.accuracy is not None and plan.accuracy > best:
                best = plan.accuracy
                found.append(plan)
        return found
