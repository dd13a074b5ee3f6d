"""Meter: what went through in the last minute, tenth of a second by tenth."""

from __future__ import annotations

from collections import deque

SEEN_S = 60
STEPS_A_SECOND = 10


class Meter:
    """Calls and tokens answered in the last 60 s. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._began = now
        # Step, calls, tokens.
        self._steps: deque[list[float]] = deque()
        # Calls answered since the beginning.
        self.total = 0

    def add(self, tokens: float, now: float) -> None:
        step = float(int(now * STEPS_A_SECOND))
        latest = self._steps[-1] if self._steps else None
        if latest is None or latest[0] != step:
            latest = [step, 0.0, 0.0]
            self._steps.append(latest)
            while self._steps[0][0] < step - SEEN_S * STEPS_A_SECOND:
                self._steps.popleft()
        latest[1] += 1
        latest[2] += tokens
        self.total += 1

    def within(self, seconds: float, now: float) -> tuple[float, float]:
        """Calls and tokens answered in the last so many seconds, 60 at most."""
        since = (now - seconds) * STEPS_A_SECOND
        calls = tokens = 0.0
        for step in reversed(self._steps):
            if step[0] < since:
                break
            calls, tokens = calls + step[1], tokens + step[2]
        return calls, tokens

    def a_minute(self, now: float) -> tuple[float, float]:
        """Calls and tokens a minute, over the last minute or since the beginning where that is shorter."""
        seconds = max(1.0, min(SEEN_S, now - self._began))
        calls, tokens = self.within(seconds, now)
        return calls * SEEN_S / seconds, tokens * SEEN_S / seconds
