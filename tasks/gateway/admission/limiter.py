"""Limiter: requests and tokens per minute, taken together, first come first served."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from rowmill.tasks.gateway.admission.pace import Pace

WINDOW_S = 60.0
# Calls reach the gateway some hundredths of a second apart from when they were sent. An even pace stays this far below
# its rate and bursts no more than this, so that neither a bucket nor a sliding minute there is ever overdrawn.
EVEN = 0.997
BURST_S = 0.1
# What a rate of nothing is: no call in a month.
LEAST_A_MINUTE = 1e-5
# A call counts in the gateway's minute from when it arrives there, which may be so much later than it was sent.
ARRIVAL_S = 1.0
# A taking: its moment, and how much of the limit it holds.
Entry = list[float]


class Bucket:
    """An even pace, as a token bucket in monotonic seconds that holds at most 0.1 s of its rate (at least one unit).

    A taking larger than the bucket waits for a full one and leaves a debt that later takings wait off.
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self.rate = per_minute * EVEN / WINDOW_S
        self._level = self.capacity
        self._at = now

    @property
    def capacity(self) -> float:
        return max(1.0, self.rate * BURST_S)

    def set_rate(self, per_minute: float, now: float) -> None:
        """Another rate from now on; 0 lets nothing more in."""
        self._flow(now)
        self.rate = max(per_minute, LEAST_A_MINUTE) * EVEN / WINDOW_S
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


class SlidingMinute:
    """At most so much in any 60 s, as fast as it comes: for a gateway that counts a sliding minute."""

    def __init__(self, per_minute: float, now: float) -> None:
        self._most = per_minute
        self._taken: deque[Entry] = deque()
        self._sum = 0.0

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` can be taken; 0 when it can be now. What no minute can hold waits for an empty one."""
        self._forget(now)
        if not self._taken or self._sum + amount <= self._most:
            return 0.0
        excess, leaves_at = self._sum + amount - self._most, now
        for at, taken in self._taken:
            excess, leaves_at = excess - taken, at + WINDOW_S + ARRIVAL_S
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
        if entry[0] + WINDOW_S + ARRIVAL_S > now:
            self._sum += used - entry[1]
            entry[1] = used

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0][0] + WINDOW_S + ARRIVAL_S <= now:
            self._sum -= self._taken.popleft()[1]


@dataclass(frozen=True, slots=True)
class Taking:
    """What a call took of its requests' limit and of its tokens' limit, where there is one."""

    request: Entry | None
    tokens: Entry | None


class Limiter:
    """RPM and TPM under one roof: reserve → settle or refund, and a pause for everyone. Has no clock of its own.

    It goes evenly, or with `sliding` as fast as a sliding minute allows. Where the gateway refuses calls all the same,
    its own pace is learned and kept.
    """

    def __init__(self, rpm: float | None, tpm: float | None, now: float, *, sliding: bool = False) -> None:
        kind = SlidingMinute if sliding else Bucket
        self._requests = kind(rpm, now) if rpm else None
        self._tokens = kind(tpm, now) if tpm else None
        self._paused_until = -math.inf
        self._asked = rpm / WINDOW_S if rpm else math.inf
        self._pace = Pace(now)
        self._seen = Bucket(WINDOW_S, now)

    def share(self, rpm: float, tpm: float, now: float) -> None:
        """Go by these shares of an even pace from now on."""
        for bucket, rate in ((self._requests, rpm), (self._tokens, tpm)):
            if isinstance(bucket, Bucket):
                bucket.set_rate(rate, now)
        if self._requests is not None:
            self._asked = rpm / WINDOW_S

    def wait(self, tokens: float, now: float) -> float:
        """Seconds until a request of so many tokens may go; 0 when it may go now."""
        return max(
            self._paused_until - now,
            self._seen.wait(1, now) if self._keeps_pace(now) else 0.0,
            self._requests.wait(1, now) if self._requests else 0.0,
            self._tokens.wait(tokens, now) if self._tokens else 0.0,
            0.0,
        )

    def take(self, tokens: float, now: float) -> Taking:
        if self._keeps_pace(now):
            self._seen.take(1, now)
        return Taking(
            self._requests.take(1, now) if self._requests else None,
            self._tokens.take(tokens, now) if self._tokens else None,
        )

    def settle(self, taking: Taking, used: float, now: float) -> None:
        """Correct a reservation by what the answer's usage told."""
        if self._tokens and taking.tokens:
            self._tokens.correct(taking.tokens, used, now)

    def refund(self, taking: Taking, now: float) -> None:
        """Undo a taking whose request was never sent."""
        if self._requests and taking.request:
            self._requests.correct(taking.request, 0, now)
        self.settle(taking, 0, now)

    def _keeps_pace(self, now: float) -> bool:
        """Whether refusals have shown a lower pace than the job's, which then holds."""
        rate = self._pace.rate(now)
        if rate >= self._asked:
            return False
        self._seen.rate = rate
        return True

    def let_in(self, tokens: float, now: float) -> None:
        """A call was answered: this fast, at least, is allowed."""
        self._pace.let_in(tokens, now)

    def a_minute(self, now: float) -> tuple[float, float]:
        """Calls and tokens answered a minute, lately."""
        return self._pace.meter.a_minute(now)

    def paused_s(self, now: float) -> float:
        """Seconds until anything may go, by the gateway's word or our own pause; 0 where none was called for."""
        return max(0.0, self._paused_until - now)

    def refused(self, now: float, admitted_at: float) -> None:
        """A call was refused for being too fast."""
        self._pace.refused(now, admitted_at, self._asked)

    def pause(self, until: float) -> None:
        """Let nothing go before this moment."""
        self._paused_until = max(self._paused_until, until)
        self._pace.paused(until)

    def is_near(self, now: float) -> bool:
        """Whether a limit holds calls back: a pause, a pace learned, or the job's own limits used up."""
        return self.wait(1, now) > 0 or self._keeps_pace(now)

    def paused(self, now: float) -> bool:
        return now < self._paused_until
