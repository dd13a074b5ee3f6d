"""Sliding window: at most so much in any span of so many seconds, as fast as it comes."""

from __future__ import annotations

from collections import deque

from rowmill.tasks.gateway.admission.bucket import Entry


class SlidingWindow:
    """At most `most` in any `seconds`: for a gateway that counts that way. Times are monotonic seconds."""

    def __init__(self, most: float, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._taken: deque[Entry] = deque()
        self._sum = 0.0

    def set_most(self, most: float) -> None:
        self._most = most

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` can be taken; 0 when it can be now. What no window can hold waits for an empty one."""
        self._forget(now)
        if not self._taken or self._sum + amount <= self._most:
            return 0.0
        excess, leaves_at = self._sum + amount - self._most, now
        for at, taken in self._taken:
            excess, leaves_at = excess - taken, at + self._seconds
            if excess <= 0:
                break
        return leaves_at - now

    def take(self, amount: float, now: float) -> Entry:
        entry = [now, amount]
        self._taken.append(entry)
        self._sum += amount
        return entry

    def correct(self, entry: Entry, used: float, now: float) -> None:
        """Put right a taking by what was really used, at the moment when it was taken."""
        if entry[0] + self._seconds > now:
            self._sum += used - entry[1]
            entry[1] = used

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0][0] + self._seconds <= now:
            self._sum -= self._taken.popleft()[1]
