"""Progress: what a run has done so far, for whoever shows it. Numbers only; nothing here decides anything."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field

from rowmill.schemas.manifest import Tally
from rowmill.schemas.outcome import Outcome

# Settled rows that wait for one before them, at most.
AHEAD_MOST = 5_000
# Rows shown for each kind of error at the end.
EXAMPLES = 3
STEP = 1.03


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Sums of rows: how many, how many of them not ok, what they cost in 10⁻¹² USD."""

    rows: int = 0
    not_ok: int = 0
    usd: int = 0


@dataclass(slots=True)
class Progress:
    """Counts of this run. `standing` are rows that were settled before it began; money is in 10⁻¹² USD."""

    total: int = 0
    total_is_exact: bool = True
    standing: int = 0
    settled: int = 0
    not_ok: int = 0
    usd: int = 0
    usd_before: int = 0
    not_ok_before: int = 0
    cap_usd: int | None = None
    started_at: float = 0.0
    # What workers elsewhere have settled and not handed over yet; it is told again, row by row, when they do.
    away: Elsewhere = Elsewhere()
    failures: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    _latencies: dict[int, int] = field(default_factory=dict)
    _taken: OrderedDict[int, None] = field(default_factory=OrderedDict)
    _ahead: dict[int, int] = field(default_factory=dict)
    _first_rows: int = 0
    _first_usd: int = 0

    @property
    def done(self) -> int:
        return self.standing + self.settled_now

    @property
    def settled_now(self) -> int:
        """Rows settled by this run, here and elsewhere."""
        return self.settled + self.away.rows

    @property
    def failing(self) -> int:
        return self.not_ok + self.away.not_ok

    @property
    def spent_usd(self) -> int:
        return self.usd + self.away.usd

    def begin(self, tally: Tally) -> None:
        """Rows that stand already."""
        self.standing += tally.rows
        self.not_ok += tally.not_ok
        self.not_ok_before += tally.not_ok
        cost = tally.spent.cost.usd if tally.spent.cost else 0
        self.usd += cost
        self.usd_before += cost

    def take_up(self, row: int) -> None:
        """A row is on its way. Rows are taken up in order; one that a halt sent back is taken up again."""
        self._taken[row] = None

    @property
    def projected_usd(self) -> int | None:
        """What the whole will have cost, in 10⁻¹² USD; None before anything tells.

        Only rows with no gap before them count: those that are settled first are the short and cheap ones, and a
        projection from them was low by 61 % at a run's beginning.
        """
        if not self._first_rows or not self.total:
            return None
        return self.usd_before + self._first_usd * (self.total - self.standing) // self._first_rows

    def add(self, outcome: Outcome) -> None:
        self._ahead[outcome.row_index] = outcome.spent.cost.usd if outcome.spent.cost else 0
        while self._taken and (next(iter(self._taken)) in self._ahead or len(self._ahead) > AHEAD_MOST):
            # A row that is tried again and again does not hold up the projection for ever.
            usd = self._ahead.pop(self._taken.popitem(last=False)[0], None)
            self._first_rows += usd is not None
            self._first_usd += usd or 0
        self.settled += 1
        self.not_ok += outcome.status.value != "ok"
        self.usd += outcome.spent.cost.usd if outcome.spent.cost else 0
        if outcome.latency_ms is not None:
            step = latency_step(outcome.latency_ms)
            self._latencies[step] = self._latencies.get(step, 0) + 1
        if outcome.error_kind:
            self.failures[outcome.error_kind] = self.failures.get(outcome.error_kind, 0) + 1
            examples = self.examples.setdefault(outcome.error_kind, [])
            if len(examples) < EXAMPLES:
                examples.append((outcome.row_id, outcome.error_message or ""))

    def latency_s(self, share: float) -> float | None:
        """The latency that this share of this run's answers did not pass, within 3 %; None without an answer."""
        left = share * sum(self._latencies.values())
        for step in sorted(self._latencies):
            left -= self._latencies[step]
            if left <= 0:
                return STEP**step / 1_000
        return None


def latency_step(milliseconds: float) -> int:
    """Logarithmic bins 3 % apart."""
    return math.ceil(math.log(max(1.0, milliseconds)) / math.log(STEP))
