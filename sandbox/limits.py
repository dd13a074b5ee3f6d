"""Limits: requests and tokens per minute as the gateway might count them, and the key's spend limit."""

from __future__ import annotations

import math
from collections import deque

from rowmill.sandbox.settings import Settings
from rowmill.schemas.price import parse_amount

WINDOW_S = 60.0


class Window:
    """At most `most` units in any sliding 60 seconds."""

    def __init__(self) -> None:
        self._taken: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def wait(self, amount: float, most: float, now: float) -> float:
        """Seconds until so much may be taken; 0 when it may be now."""
        while self._taken and self._taken[0][0] <= now - WINDOW_S:
            self._sum -= self._taken.popleft()[1]
        if self._sum + amount <= most or not self._taken:
            return 0.0
        return self._taken[0][0] + WINDOW_S - now

    def take(self, amount: float, now: float) -> None:
        self._taken.append((now, amount))
        self._sum += amount


class Bucket:
    """A token bucket of `most` a minute that holds `seconds` of it."""

    def __init__(self) -> None:
        self._level = math.inf
        self._at = 0.0

    def wait(self, amount: float, most: float, seconds: float, *, now: float) -> float:
        rate = most / 60
        self._level = min(max(1.0, rate * seconds), self._level + (now - self._at) * rate)
        self._at = now
        return 0.0 if self._level >= min(amount, rate * seconds, 1e18) else (amount - self._level) / rate

    def take(self, amount: float) -> None:
        self._level -= amount


class RateLimit:
    """RPM and TPM of the key, by the window that the settings name."""

    def __init__(self) -> None:
        self._windows = (Window(), Window())
        self._buckets = (Bucket(), Bucket())

    def refuse_for(self, tokens: float, settings: Settings, now: float) -> float:
        """Seconds to wait before this call may come again; 0 takes it in."""
        limits = ((settings.rpm, 1.0), (settings.tpm, tokens))
        waits = [
            0.0 if most is None else self._wait(at, amount, most, settings=settings, now=now)
            for at, (most, amount) in enumerate(limits)
        ]
        if (wait := max(waits)) > 0:
            return wait
        for at, (most, amount) in enumerate(limits):
            if most is not None:
                self._windows[at].take(amount, now)
                self._buckets[at].take(amount)
        return 0.0

    def _wait(self, at: int, amount: float, most: float, *, settings: Settings, now: float) -> float:
        if settings.limit_window == "sliding":
            return self._windows[at].wait(amount, most, now)
        return self._buckets[at].wait(amount, most, settings.bucket_seconds, now=now)


class SpendLimit:
    """The key's spend limit and the balance, in 10⁻¹² units. A reset begins the count anew."""

    def __init__(self) -> None:
        self._hit_at: float | None = None
        self._hit_limit: str | None = None
        self._from = 0

    def refuses(self, spent: int, cost: int, settings: Settings, *, now: float) -> bool:
        """Whether a call of this cost would pass the limit; a limit once hit holds until its reset."""
        if settings.spend_limit_usd is None:
            self._hit_at = None
            return False
        reset = settings.spend_reset_s
        if self._hit_at is not None and reset is not None and now - self._hit_at >= reset:
            self._hit_at, self._from = None, spent
        if self._hit_at is not None and self._hit_limit == settings.spend_limit_usd:
            return True
        if spent - self._from + cost > parse_amount(settings.spend_limit_usd):
            self._hit_at, self._hit_limit = now, settings.spend_limit_usd
            return True
        self._hit_at = None
        return False
