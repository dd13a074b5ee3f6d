"""Tally: sums over outcomes, the one accumulator of the pipeline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rowmill.schemas.attempt import Spent
from rowmill.schemas.outcome import Outcome, Status


@dataclass(slots=True)
class Tally:
    """Sums over outcomes: counts by status, billed tokens, exact money (10⁻¹² units), failures by kind.

    A part's tally stands in its footer, a run's is their sum.
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
        status = outcome.status.value
        self.by_status[status] = self.by_status.get(status, 0) + 1
        self.spent = self.spent + outcome.spent
        self.wasted_usd += outcome.wasted_usd or 0
        self.reused += outcome.reused_from is not None
        self.unknown_rows += outcome.spent.unknown
        if outcome.failures:
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
