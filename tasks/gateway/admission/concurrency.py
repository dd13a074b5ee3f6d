"""Concurrency: how many calls may be in flight now. Slow start, then additive increase, multiplicative decrease."""

from __future__ import annotations

DECREASE = 0.8
FREEZE_S = 1.0


class Concurrency:
    """The window of calls in flight, between 1 and what the job allows.

    Starts at half and doubles each round trip until the first congestion; then grows by one a window. A decrease is
    taken once an episode: failures of calls that were admitted before the last decrease do not count again.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._limit = self._first
        self._slow_start = True
        self._decreased_at = float("-inf")
        self._frozen_until = float("-inf")

    @property
    def _first(self) -> float:
        return max(1.0, min(16.0, self.most), self.most / 2)

    def share(self, most: int) -> None:
        """Another bound from now on; 0 lets no more calls in until there is one again."""
        self.most = most
        self._limit = min(self._limit, most) if self._limit >= 1 else min(self._first, most)

    @property
    def limit(self) -> int:
        return int(self._limit)

    def succeeded(self, now: float) -> None:
        if now >= self._frozen_until and self._limit < self.most:
            self._limit = min(self.most, self._limit + (1.0 if self._slow_start else 1.0 / self._limit))

    def slowed(self, admitted_at: float, now: float) -> None:
        """A 429, 5xx or timeout of a call admitted then."""
        self._frozen_until = now + FREEZE_S
        if admitted_at > self._decreased_at:
            self._decreased_at = now
            self._slow_start = False
            self._limit = max(1.0, self._limit * DECREASE)
