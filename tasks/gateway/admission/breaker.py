"""Breaker: tells an upstream outage, where many rows fail at once, from a row whose content always fails."""

from __future__ import annotations

from collections.abc import Sequence

ROWS_TO_OPEN = 5
FAILURES_TO_OPEN = 8
PROBE_FIRST_S = 1.0
PROBE_MOST_S = 15.0


class Breaker:
    """Opens after 8 upstream failures over 5 rows with no answer between; then one probe at a time decides.

    A row that failed before others were answered is suspected itself: its failures do not open the breaker. Times are
    monotonic seconds.
    """

    def __init__(self) -> None:
        self._streak_at: float | None = None
        self._streak: list[int] = []
        self._suspects: set[int] = set()
        self._opened_at: float | None = None
        self._probe_wait = PROBE_FIRST_S
        self._probe_at = 0.0
        self._outages: list[tuple[float, float]] = []

    @property
    def is_open(self) -> bool:
        return self._opened_at is not None

    def answered(self, row: int, now: float) -> None:
        """The gateway answered this row, well or not: it is alive."""
        self._suspects.update(self._streak)
        self._suspects.discard(row)
        if self._opened_at is not None and self._streak_at is not None:
            self._outages.append((self._streak_at, now))
            self._suspects.clear()
        self._streak_at, self._opened_at = None, None
        self._streak.clear()
        self._probe_wait = PROBE_FIRST_S

    def settled(self, row: int) -> None:
        self._suspects.discard(row)

    def failed(self, row: int, now: float, *, probe: bool) -> None:
        """An upstream failure of this row."""
        if self._opened_at is not None:
            if probe:
                self._probe_wait = min(PROBE_MOST_S, self._probe_wait * 2)
                self._probe_at = now + self._probe_wait
            return
        if row in self._suspects:
            return
        if self._streak_at is None:
            self._streak_at = now
        self._streak.append(row)
        if len(self._streak) >= FAILURES_TO_OPEN and len(set(self._streak)) >= ROWS_TO_OPEN:
            self._opened_at = now
            self._probe_at = now + self._probe_wait

    def probe_wait(self, now: float) -> float:
        """Seconds until the next probe may go, 0 when it may go now."""
        return max(0.0, self._probe_at - now) if self.is_open else 0.0

    def open_for(self, now: float) -> float:
        return now - self._opened_at if self._opened_at is not None else 0.0

    def charged(self, failures: Sequence[float]) -> int:
        """How many of a row's upstream failures (their times) count against it: those outside every outage."""
        return sum(not self._in_outage(at) for at in failures)

    def _in_outage(self, at: float) -> bool:
        if self._opened_at is not None and self._streak_at is not None and at >= self._streak_at:
            return True
        return any(start <= at <= end for start, end in self._outages)
