"""Progress: what a run has done so far, for whoever shows it. Numbers only; nothing here decides anything."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.manifest import Tally
from schemas.outcome import Outcome


@dataclass(slots=True)
class Progress:
    """Counts of this run. `standing` are rows that were settled before it began; money is in 10⁻¹² USD."""

    total: int = 0
    total_is_exact: bool = True
    standing: int = 0
    settled: int = 0
    not_ok: int = 0
    usd: int = 0
    cap_usd: int | None = None
    retrying: int = 0
    in_flight: int = 0
    in_flight_most: int = 0
    waiting_for: str | None = None
    started_at: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def done(self) -> int:
        return self.standing + self.settled

    def begin(self, tally: Tally) -> None:
        """Rows that stand already."""
        self.standing += tally.rows
        self.not_ok += tally.not_ok
        self.usd += tally.spent.cost.usd if tally.spent.cost else 0

    def add(self, outcome: Outcome) -> None:
        self.settled += 1
        self.not_ok += outcome.status.value != "ok"
        self.usd += outcome.spent.cost.usd if outcome.spent.cost else 0
        if outcome.error_kind:
            self.failures[outcome.error_kind] = self.failures.get(outcome.error_kind, 0) + 1
