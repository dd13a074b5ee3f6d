"""Progress: what a run has done so far, for whoever shows it. Numbers only; nothing here decides anything."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field

from rowmill.schemas.outcome import Outcome
from rowmill.schemas.tally import Tally
from rowmill.tasks.run.expectation import Expectation
from rowmill.tasks.run.trend import Trend

# Settled rows that wait for one before them, at most.
AHEAD_MOST = 5_000
# A run's own rows correct a forecast by half when so many are settled: a pilot's sample is about as large.
ROWS_TO_TRUST = 100
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
    """Counts of this run. `standing` are rows that were settled before it began; money is in 10⁻¹² USD.

    `expectation` is what a forecast says of its rows; without one the rows themselves tell, in their order.
    """

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
    # Rows of the output that are settled here, by status.
    by_status: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    _latencies: dict[int, int] = field(default_factory=dict)
    _taken: OrderedDict[int, None] = field(default_factory=OrderedDict)
    _ahead: dict[int, tuple[int, int]] = field(default_factory=dict)
    _first_rows: int = 0
    _first_usd: int = 0
    expectation: Expectation | None = None
    _input: int = 0
    # Whether rows become dearer, and longer, along the input.
    _cost_trend: Trend = field(default_factory=Trend)
    _size_trend: Trend = field(default_factory=Trend)

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
        for status, count in tally.by_status.items():
            self.by_status[status] = self.by_status.get(status, 0) + count
        cost = tally.spent.cost.usd if tally.spent.cost else 0
        self.usd += cost
        self.usd_before += cost

    def take_up(self, row: int) -> None:
        """A row is on its way. Rows are taken up in order; one that a halt sent back is taken up again."""
        self._taken[row] = None

    @property
    def projected_usd(self) -> int | None:
        """What the whole will have cost, in 10⁻¹² USD; None before anything tells, or where costs change along the way.

        Only rows with no gap before them count: those that are settled first are the short and cheap ones, and a
        projection from them was low by 61 % at a run's beginning.
        """
        if self.expectation is not None:
            return self.spent_usd + round(self._expected_rest(self.expectation))
        if not self._first_rows or not self.total or self.drifts:
            return None
        return self.usd_before + self._first_usd * (self.total - self.standing) // self._first_rows

    @property
    def drifts(self) -> bool:
        """Whether the input's rows become dearer or cheaper, or longer or shorter, along the way."""
        return self._cost_trend.is_plain or self._size_trend.is_plain

    def _expected_rest(self, expected: Expectation) -> float:
        """What is left by the forecast's line, corrected by what rows cost so far where those are like the others."""
        left = max(0, self.total - self.done)
        tokens = max(0.0, expected.input_tokens - self._input) * left / max(1, left + self.away.rows)
        rest = expected.usd(left, tokens) if left else 0.0
        so_far = expected.usd(self.settled, self._input)
        if so_far <= 0 or self.drifts:
            return rest
        trust = self.settled / (self.settled + ROWS_TO_TRUST)
        return rest * (1 + ((self.usd - self.usd_before) / so_far - 1) * trust)

    def add(self, outcome: Outcome) -> None:
        spent = outcome.spent
        usd, tokens = spent.cost.usd if spent.cost else 0, spent.usage.input // max(1, spent.attempts)
        self._ahead[outcome.row_index] = (usd, tokens)
        while self._taken and (next(iter(self._taken)) in self._ahead or len(self._ahead) > AHEAD_MOST):
            # A row that is tried again and again does not hold up the projection for ever.
            first = self._ahead.pop(self._taken.popitem(last=False)[0], None)
            if first is not None:
                self._first_rows += 1
                self._first_usd += first[0]
                self._cost_trend.add(first[0])
                self._size_trend.add(math.log1p(first[1]))
        self._input += outcome.spent.usage.input
        self.settled += 1
        status = outcome.status.value
        self.by_status[status] = self.by_status.get(status, 0) + 1
        self.not_ok += status != "ok"
        self.usd += usd
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
