"""Manifest: what `run.json` holds. The ledger always balances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rowmill.schemas.attempt import Spent
from rowmill.schemas.errors import ExitCode
from rowmill.schemas.evidence import Match
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import ZERO, decimal_string

# 2: what was spent stands in a ledger of its own.
MANIFEST_VERSION = 2
WITHOUT_LEDGER = 1


class TerminationKind(StrEnum):
    """Why a run ended."""

    COMPLETE = "complete"
    SPEND_LIMIT = "spend_limit"
    INSUFFICIENT_CREDITS = "insufficient_credits"
    BUDGET = "budget"
    AUTH = "auth"
    MODEL_NOT_FOUND = "model_not_found"
    OUTAGE = "outage"
    INTERRUPTED = "interrupted"
    STORAGE = "storage"
    ACCURACY = "accuracy"
    QUALITY = "quality"
    DRIFT = "drift"
    DEADLINE = "deadline"


# What ends a run for want of money.
OUT_OF_MONEY = frozenset({TerminationKind.BUDGET, TerminationKind.SPEND_LIMIT, TerminationKind.INSUFFICIENT_CREDITS})
EXIT_CODES = {
    TerminationKind.COMPLETE: ExitCode.OK,
    TerminationKind.SPEND_LIMIT: ExitCode.MONEY,
    TerminationKind.INSUFFICIENT_CREDITS: ExitCode.MONEY,
    TerminationKind.BUDGET: ExitCode.MONEY,
    TerminationKind.AUTH: ExitCode.GATEWAY_REFUSES,
    TerminationKind.MODEL_NOT_FOUND: ExitCode.GATEWAY_REFUSES,
    TerminationKind.OUTAGE: ExitCode.OUTAGE,
    TerminationKind.INTERRUPTED: ExitCode.INTERRUPTED,
    TerminationKind.STORAGE: ExitCode.REFUSED,
    TerminationKind.ACCURACY: ExitCode.ROWS_NOT_OK,
    TerminationKind.QUALITY: ExitCode.ROWS_NOT_OK,
    TerminationKind.DRIFT: ExitCode.ROWS_NOT_OK,
    TerminationKind.DEADLINE: ExitCode.INTERRUPTED,
}


def is_sandbox(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest is that of a run which asked a sandbox."""
    keys = (manifest.get("fingerprint") or {}).get("keys") or {}
    return "sandbox" in str(keys.get("gateway"))


@dataclass(frozen=True, slots=True)
class Termination:
    """Why a run ended: its kind, the gateway's code and words where there are any, and what to do next."""

    kind: TerminationKind
    code: str | None
    message: str
    next: str


@dataclass(slots=True)
class Tally:
    """Sums over outcomes: counts by status, billed tokens, exact money (10⁻¹² units), failures by kind.

    The one accumulator of the pipeline; a part's tally stands in its footer, a run's is their sum.
    """

    rows: int = 0
    by_status: dict[str, int] = field(default_factory=dict)
    spent: Spent = Spent()
    wasted_usd: int = 0
    reused: int = 0
    unknown_rows: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    # Checked values by how their quotes were found.
    evidence: dict[str, int] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        self.rows += 1
        _count(self.by_status, {outcome.status.value: 1})
        self.spent = self.spent + outcome.spent
        self.wasted_usd += outcome.wasted_usd or 0
        self.reused += outcome.reused_from is not None
        self.unknown_rows += outcome.spent.unknown
        _count(self.failures, outcome.failures)
        for one in outcome.evidence or ():
            _count(self.evidence, {one.match.value: 1})

    def merge(self, other: Tally) -> None:
        self.rows += other.rows
        _count(self.by_status, other.by_status)
        self.spent = self.spent + other.spent
        self.wasted_usd += other.wasted_usd
        self.reused += other.reused
        self.unknown_rows += other.unknown_rows
        _count(self.failures, other.failures)
        _count(self.evidence, other.evidence)

    @property
    def not_ok(self) -> int:
        return self.rows - self.by_status.get(Status.OK.value, 0)


def _count(into: dict[str, int], counts: dict[str, int]) -> None:
    for name, count in counts.items():
        into[name] = into.get(name, 0) + count


def summed(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.merge(tally)
    return total


def ledger(tally: Tally, rows: int) -> dict[str, int]:
    """`rows = ok + invalid + refused + failed + unreadable + not_attempted`, always."""
    counts = {status.value: tally.by_status.get(status.value, 0) for status in Status}
    return {"rows": rows, **counts, "not_attempted": rows - tally.rows}


def totals(tally: Tally) -> dict[str, Any]:
    """The `totals` of run.json: money as decimal strings (null where a price is unknown), tokens, calls."""
    spent = tally.spent
    cost = spent.cost
    money = cost or ZERO
    return {
        "cost_usd": decimal_string(money.usd) if cost is not None else None,
        "cost_credits": decimal_string(money.credits) if cost is not None else None,
        "wasted_cost_usd": decimal_string(tally.wasted_usd) if cost is not None else None,
        "input_tokens": spent.usage.input,
        "output_tokens": spent.usage.output,
        "thought_tokens": spent.usage.thoughts,
        "calls": spent.calls,
        "retries": dict(sorted(tally.failures.items())),
        "rows_reused": tally.reused,
        "rows_cost_unknown": tally.unknown_rows,
        "unknown_cost_bound_usd": decimal_string(spent.unknown_usd),
    }


def evidence_counts(tally: Tally) -> dict[str, int]:
    """The `evidence` of run.json: checked values, and how many of their quotes stand in the source and how."""
    counts = {match.value: tally.evidence.get(match.value, 0) for match in Match}
    return {"fields": sum(counts.values()), **counts}


def beside(sent: Spent, rows: Spent, unsettled: Spent) -> dict[str, Any]:
    """The `beside` of run.json: all that was ever sent for an output, less what its rows have cost.

    That is paid attempts of rows without an outcome (`unsettled`), and answers that no row asks for any more
    (`former`). Money as decimal strings, null where a price is unknown.
    """
    other = sent - rows
    return {**_sums(other), "unsettled": _sums(unsettled), "former": _sums(other - unsettled)}


def _sums(spent: Spent) -> dict[str, Any]:
    return {
        "calls": spent.calls,
        "cost_usd": decimal_string(spent.cost.usd) if spent.cost is not None else None,
        "cost_credits": decimal_string(spent.cost.credits) if spent.cost is not None else None,
        "unknown_cost_bound_usd": decimal_string(spent.unknown_usd),
    }
