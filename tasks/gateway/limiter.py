"""Limiter: requests and tokens per minute as two buckets taken together, first come first served."""

from __future__ import annotations

import math

BURST_S = 0.2


class Bucket:
    """A token bucket in monotonic seconds. Holds at most 0.2 s of its rate (at least one unit), so it cannot burst.

    A taking larger than the bucket waits for a full one and leaves a debt that later takings wait off.
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self.rate = per_minute / 60
        self.capacity = max(1.0, self.rate * BURST_S)
        self._level = self.capacity
        self._at = now

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` can be taken; 0 when it can be now."""
        self._flow(now)
        missing = min(amount, self.capacity) - self._level
        # A rounding error of the level must not ask for a sleep too short to advance the clock.
        return missing / self.rate if missing > 1e-9 * self.capacity else 0.0

    def take(self, amount: float, now: float) -> None:
        self._flow(now)
        self._level -= amount

    def give_back(self, amount: float, now: float) -> None:
        """Return what was reserved and not used; a negative amount is used beyond the reservation."""
        self._flow(now)
        self._level = min(self.capacity, self._level + amount)

    def _flow(self, now: float) -> None:
        if now > self._at:
            self._level = min(self.capacity, self._level + (now - self._at) * self.rate)
            self._at = now


class Limiter:
    """RPM and TPM under one roof: reserve → settle or refund, and a pause for everyone. Has no clock of its own."""

    def __init__(self, rpm: float | None, tpm: float | None, now: float) -> None:
        self._requests = Bucket(rpm, now) if rpm else None
        self._tokens = Bucket(tpm, now) if tpm else None
        self._paused_until = -math.inf

    def wait(self, tokens: float, now: float) -> float:
        """Seconds until a request of so many tokens may go; 0 when it may go now."""
        return max(
            self._paused_until - now,
            self._requests.wait(1, now) if self._requests else 0.0,
            self._tokens.wait(tokens, now) if self._tokens else 0.0,
            0.0,
        )

    def take(self, tokens: float, now: float) -> None:
        if self._requests:
            self._requests.take(1, now)
        if self._tokens:
            self._tokens.take(tokens, now)

    def settle(self, reserved: float, used: float, now: float) -> None:
        """Correct a reservation by what the answer's usage told."""
        if self._tokens:
            self._tokens.give_back(reserved - used, now)

    def refund(self, reserved: float, now: float) -> None:
        """Undo a taking whose request was never sent."""
        if self._requests:
            self._requests.give_back(1, now)
        self.settle(reserved, 0, now)

    def pause(self, until: float) -> None:
        """Let nothing go before this moment."""
        self._paused_until = max(self._paused_until, until)

    def paused(self, now: float) -> bool:
        return now < self._paused_until
