"""Limiter: requests and tokens per minute, taken together, first come first served."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rowmill.tasks.gateway.admission.bucket import Bucket, Entry
from rowmill.tasks.gateway.admission.evidence import Call, Finding
from rowmill.tasks.gateway.admission.pace import Pace
from rowmill.tasks.gateway.admission.sliding_window import SlidingWindow

MINUTE_S = 60.0
# An even pace stays this far below its rate, so that what is sent after a timer woke up late still fits.
EVEN = 0.997
# Runs that share a limit each begin with a call at once, and do not know of one another's.
EVEN_SHARED = 0.985
# What may be made up for a timer that woke up late. With the rate at 99.7 %, no window of 7 s or more is overdrawn.
BURST_S = 0.02
# Tokens are known when the answer is there: they are not even anyway.
TOKENS_BURST_S = 0.1
# The smallest window that a limit per minute can mean. Made up for or not, no second holds more than its share.
SECOND_S = 1.003
# Of a second's share only whole calls can be used: where that would lose more than this, no gateway counts seconds.
WHOLE_CALLS = 0.99
# A call counts in the gateway's minute from when it arrives there, which may be so much later than it was sent.
ARRIVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Taking:
    """What a call took of its requests' limit and of its tokens' limit, where there is one."""

    request: Entry | None
    second: Entry | None
    tokens: Entry | None
    call: Call


class Limiter:
    """RPM and TPM under one roof: reserve → settle or refund, and a pause for everyone. Has no clock of its own.

    It goes evenly, or with `sliding` as fast as a sliding minute allows. Where the gateway refuses calls all the same,
    and slowing down shows that this is about pace, its own pace is learned and kept.
    """

    def __init__(self, rpm: float | None, tpm: float | None, now: float, *, sliding: bool = False) -> None:
        self._requests = _limit(rpm, BURST_S, now, sliding=sliding) if rpm else None
        self._tokens = _limit(tpm, TOKENS_BURST_S, now, sliding=sliding) if tpm else None
        self._second = SlidingWindow(math.inf, SECOND_S) if rpm and not sliding else None
        self._allowed = rpm / MINUTE_S if rpm else math.inf
        self._set_second()
        self._paused_until = -math.inf
        self._pace = Pace(now)
        self._learned = Bucket(1.0, BURST_S, now)

    def _set_second(self) -> None:
        whole = math.floor(self._allowed) if self._allowed < math.inf else 0
        if self._second is not None:
            self._second.set_most(whole if whole >= WHOLE_CALLS * self._allowed else math.inf)

    def share(self, rpm: float, tpm: float, now: float) -> None:
        """Go by these shares of an even pace from now on."""
        for bucket, per_minute in ((self._requests, rpm), (self._tokens, tpm)):
            if isinstance(bucket, Bucket):
                bucket.set_rate(per_minute * EVEN_SHARED / MINUTE_S, now)
        if self._requests is not None:
            self._allowed = rpm / MINUTE_S
            self._set_second()

    def wait(self, tokens: float, now: float) -> float:
        """Seconds until a request of so many tokens may go; 0 when it may go now."""
        return max(
            self._paused_until - now,
            self._learned.wait(1, now) if self._keeps_pace(now) else 0.0,
            self._requests.wait(1, now) if self._requests else 0.0,
            self._second.wait(1, now) if self._second else 0.0,
            self._tokens.wait(tokens, now) if self._tokens else 0.0,
            0.0,
        )

    def take(self, tokens: float, now: float) -> Taking:
        if self._keeps_pace(now):
            self._learned.take(1, now)
        return Taking(
            self._requests.take(1, now) if self._requests else None,
            self._second.take(1, now) if self._second else None,
            self._tokens.take(tokens, now) if self._tokens else None,
            self._pace.admit(now),
        )

    def settle(self, taking: Taking, used: float, now: float) -> None:
        """Correct a reservation by the answer's usage."""
        if self._tokens and taking.tokens:
            self._tokens.correct(taking.tokens, used, now)

    def refund(self, taking: Taking, now: float) -> None:
        """Undo a taking whose request was never sent."""
        for limit, entry in ((self._requests, taking.request), (self._second, taking.second)):
            if limit is not None and entry is not None:
                limit.correct(entry, 0, now)
        self.settle(taking, 0, now)
        self._pace.forget(taking.call)

    def answered(self, tokens: float, now: float) -> None:
        """A call was answered, of so many tokens."""
        self._pace.answered(tokens, now)

    def ended(self, taking: Taking, *, refused: bool, retry_after: float | None, now: float) -> Finding | None:
        """A call was refused for its pace, or was not; what that shows about the pace, if anything."""
        return self._pace.ended(
            taking.call, refused=refused, retry_after=retry_after or 0.0, now=now, allowed=self._allowed
        )

    @property
    def is_named(self) -> bool:
        """Whether the job names a limit."""
        return self._requests is not None or self._tokens is not None

    @property
    def learned(self) -> bool:
        """Whether refusals were found to be about pace."""
        return self._pace.known

    def a_minute(self, now: float) -> tuple[float, float]:
        """Calls and tokens answered a minute, lately."""
        return self._pace.meter.a_minute(now)

    def pause(self, until: float) -> None:
        """Let nothing go before this moment."""
        self._paused_until = max(self._paused_until, until)
        self._pace.paused(until)

    def paused_s(self, now: float) -> float:
        """Seconds until anything may go, by the gateway's word or our own pause; 0 where none was called for."""
        return max(0.0, self._paused_until - now)

    def paused(self, now: float) -> bool:
        return now < self._paused_until

    def is_near(self, now: float) -> bool:
        """Whether a limit holds calls back: a pause, a pace learned, or the job's own limits used up."""
        return self.wait(1, now) > 0 or self._keeps_pace(now)

    def _keeps_pace(self, now: float) -> bool:
        """Whether refusals have shown a lower pace than the job's, which then holds."""
        rate = self._pace.rate(now)
        if rate >= self._allowed:
            return False
        self._learned.rate = rate
        return True


def _limit(per_minute: float, burst_s: float, now: float, *, sliding: bool) -> Bucket | SlidingWindow:
    if sliding:
        return SlidingWindow(per_minute, MINUTE_S + ARRIVAL_S)
    return Bucket(per_minute * EVEN / MINUTE_S, burst_s, now)
