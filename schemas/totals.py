"""Totals: what run.json counts. Rows by status, what they cost, and what was sent beside them. Rows always balance."""

from __future__ import annotations

from typing import Any, Self

from msgspec import UNSET, Struct, UnsetType, field
from msgspec.structs import asdict

from rowmill.schemas.attempt import Spent
from rowmill.schemas.evidence import Match
from rowmill.schemas.outcome import Status
from rowmill.schemas.price import ZERO, decimal_string
from rowmill.schemas.tally import Tally


class RowLedger(Struct, frozen=True):
    """`rows = ok + invalid + refused + failed + unreadable + not_attempted`, always."""

    rows: int = 0
    ok: int = 0
    invalid: int = 0
    refused: int = 0
    failed: int = 0
    unreadable: int = 0
    not_attempted: int = 0

    @classmethod
    def of(cls, tally: Tally, rows: int) -> Self:
        counts = {status.value: tally.by_status.get(status.value, 0) for status in Status}
        return cls(rows, **counts, not_attempted=rows - tally.rows)

    @property
    def settled(self) -> int:
        """Rows that have an outcome."""
        return self.rows - self.not_attempted

    def by_name(self) -> dict[str, int]:
        """Its numbers by name, `rows` first."""
        return dict(asdict(self))


class Totals(Struct, frozen=True):
    """Sums over the rows: money as decimal strings (None where a price is unknown), tokens, calls, retries by kind."""

    cost_usd: str | None = None
    cost_credits: str | None = None
    wasted_cost_usd: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    thought_tokens: int = 0
    calls: int = 0
    retries: dict[str, int] = field(default_factory=dict)
    rows_reused: int = 0
    rows_cost_unknown: int = 0
    unknown_cost_bound_usd: str = "0"

    @classmethod
    def of(cls, tally: Tally) -> Self:
        spent, cost = tally.spent, tally.spent.cost
        money = cost or ZERO
        return cls(
            cost_usd=decimal_string(money.usd) if cost is not None else None,
            cost_credits=decimal_string(money.credits) if cost is not None else None,
            wasted_cost_usd=decimal_string(tally.wasted_usd) if cost is not None else None,
            input_tokens=spent.usage.input,
            output_tokens=spent.usage.output,
            thought_tokens=spent.usage.thoughts,
            calls=spent.calls,
            retries=dict(sorted(tally.failures.items())),
            rows_reused=tally.reused,
            rows_cost_unknown=tally.unknown_rows,
            unknown_cost_bound_usd=decimal_string(spent.unknown_usd),
        )


class EvidenceCounts(Struct, frozen=True):
    """Checked values, and how many of their quotes stand in the source and how."""

    fields: int = 0
    exact: int = 0
    normalized: int = 0
    none: int = 0

    @classmethod
    def of(cls, tally: Tally) -> Self:
        counts = {match.value: tally.evidence.get(match.value, 0) for match in Match}
        return cls(sum(counts.values()), **counts)

    def by_name(self) -> dict[str, int]:
        """Its numbers by name, `fields` first."""
        return dict(asdict(self))


class Sums(Struct, frozen=True):
    """Calls and what they cost, as decimal strings; None where a price is unknown."""

    calls: int = 0
    cost_usd: str | None = None
    cost_credits: str | None = None
    unknown_cost_bound_usd: str = "0"


class Beside(Sums, frozen=True):
    """All that was ever sent for an output, less what its rows have cost.

    That is paid attempts of rows without an outcome (`unsettled`), and answers that no row asks for any more
    (`former`). Outputs of before the ledger tell of the latter by `former_cost_usd` alone.
    """

    unsettled: Sums | None = None
    former: Sums | None = None
    former_cost_usd: str | UnsetType = UNSET

    @classmethod
    def of(cls, sent: Spent, rows: Spent, unsettled: Spent) -> Self:
        other = sent - rows
        return cls(**_sums(other), unsettled=Sums(**_sums(unsettled)), former=Sums(**_sums(other - unsettled)))


def _sums(spent: Spent) -> dict[str, Any]:
    return {
        "calls": spent.calls,
        "cost_usd": decimal_string(spent.cost.usd) if spent.cost is not None else None,
        "cost_credits": decimal_string(spent.cost.credits) if spent.cost is not None else None,
        "unknown_cost_bound_usd": decimal_string(spent.unknown_usd),
    }
