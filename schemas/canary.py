"""Canary: what `run.json` tells of settled rows that were asked again."""

from __future__ import annotations

from msgspec import Struct, field

# The verdict on answers that have changed.
DRIFT = "drift"


class ChangedField(Struct, frozen=True):
    """One field of two answers; None where an answer has no such field."""

    field: str = ""
    before: str | None = None
    now: str | None = None


class ChangedRow(Struct, frozen=True):
    """A row whose new answer differs, in some of its fields."""

    row_id: str = ""
    row_index: int = 0
    fields: list[ChangedField] = field(default_factory=list)


class CanaryReport(Struct, frozen=True, kw_only=True):
    """How many settled rows were asked again (0: too few to see a change), and what differs.

    `changed` is the mean share of an answer that differs from the one that stands, `changed_by_chance` the same between
    two new askings, with the 95 % interval of the difference and its p: None where rows were asked once, since that was
    enough. `drift` is the share that the job allows. Money is decimal strings, None where a price is unknown.
    """

    rows: int = 0
    unanswered: int = 0
    changed_rows: int = 0
    changed: float | None = None
    changed_by_chance: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    drift: float | None = None
    verdict: str = ""
    seed: int = 0
    calls: int = 0
    cost_usd: str | None = None
    unknown_cost_bound_usd: str = "0"
    examples: list[ChangedRow] = field(default_factory=list)
