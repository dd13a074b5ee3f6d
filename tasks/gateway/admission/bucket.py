"""Bucket: an even pace, as a token bucket in monotonic seconds."""

from __future__ import annotations

# A taking: its moment, and how much of the limit it holds.
Entry = list[float]
# What a rate of nothing is: no call in a month.
LEAST_A_SECOND = 1e-5 / 60


class Bucket:
    """Lets `rate` units a second through, one at a time, and at most what `burst_s` seconds bring beside it.

    The burst makes up for timers that wake up late. A taking larger than the bucket waits for a full one and leaves a
    debt that later takings wait off.
    """

    def __init__(self, rate: float, burst_s: float, now: float) -> None:
        self.rate, self._burst_s = rate, burst_s
        self._level = self.capacity
        self._at = now

    @property
    def capacity(self) -> float:
        return 1.0 + self.rate * self._burst_s

    def set_rate(self, rate: float, now: float) -> None:
        """Another rate from now on; 0 lets nothing more in."""
        self._flow(now)
        self.rate = max(rate, LEAST_A_SECOND)
        self._level = min(self._level, self.capacity)

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` can be taken; 0 when it can be now."""
        self._flow(now)
        missing = min(amount, self.capacity) - self._level
        # A rounding error of the level must not ask for a sleep too short to advance the clock.
        return missing / self.rate if missing > 1e-9 * self.capacity else 0.0

    def take(self, amount: float, now: float) -> Entry:
        self._flow(now)
        self._level -= amount
        return [now, amount]

    def correct(self, entry: Entry, used: float, now: float) -> None:
        """Put right a taking by what was really used, be it less or more.

        What comes back was never spent, so it may lift the level above the capacity; time does not.
        """
        self._flow(now)
        self._level += entry[1] - used

    def _flow(self, now: float) -> None:
        if now > self._at:
            self._level = max(self._level, min(self.capacity, self._level + (now - self._at) * self.rate))
            self._at = now
