"""Meter: what went through in the last minute, second by second."""

from __future__ import annotations

from collections import deque

SEEN_S = 60


class Meter:
    """Calls and tokens answered in the last 60 s. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._began = now
        # Second, calls, tokens.
        self._seconds: deque[list[float]] = deque()

    def add(self, tokens: float, now: float) -> None:
        second = float(int(now))
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0.0, 0.0])
            self._forget(second)
        self._seconds[-1][1] += 1
        self._seconds[-1][2] += tokens

    def a_minute(self, now: float) -> tuple[float, float]:
        """Calls and tokens a minute, over the last minute or since the beginning where that is shorter."""
        self._forget(float(int(now)))
        share = max(1.0, min(SEEN_S, now - self._began)) / 60
        calls, tokens = (sum(second[at] for second in self._seconds) for at in (1, 2))
        return calls / share, tokens / share

    def _forget(self, second: float) -> None:
        while self._seconds and self._seconds[0][0] < second - SEEN_S:
            self._seconds.popleft()
