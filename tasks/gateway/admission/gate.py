"""Admission: the one door that every call passes, retries too: breaker, budget, limiter and concurrency at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rowmill.schemas.attempt import Failure, FailureKind
from rowmill.schemas.errors import StorageError
from rowmill.schemas.manifest import Termination, TerminationKind
from rowmill.schemas.price import short_usd
from rowmill.tasks.gateway.admission.breaker import Breaker
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.concurrency import Concurrency
from rowmill.tasks.gateway.admission.limiter import Limiter, Taking
from rowmill.tasks.gateway.failures import FAILURE_POLICIES, Action, FailurePolicy
from rowmill.tasks.system.clock import Clock

# A closed door is looked at again this often, so that one that opens early is not waited out.
LOOK_AGAIN_S = 0.25
RECENT = 200
PAUSE_FIRST_S = 1.0
PAUSE_MOST_S = 60.0
# A limit is near for so long after the last answer: a sliding minute that was used up lets nothing in for one.
NEAR_S = 120.0
# A row is taken to be refused by chance as often in a row as has at least this probability.
CHANCE = 1e-9
RUN_AGAIN = "Run the same command again: it goes on where it stopped"
LEASE_ENDED = Termination(
    TerminationKind.INTERRUPTED,
    "lease",
    "the lease that lets this process send calls was not renewed in time",
    RUN_AGAIN,
)


class Halted(Exception):
    """The run is over for calls that are not in flight yet."""


@dataclass(slots=True)
class Permit:
    """What an admitted call holds until it ends: tokens of the limiter, 10⁻¹² USD of the budget, a slot."""

    row: int
    taking: Taking
    worst_usd: int
    admitted_at: float
    alone: bool


@dataclass(slots=True, eq=False)
class _Place:
    """A call's place in the queue before the door."""

    row: int
    tokens: float
    worst_usd: int
    turn: asyncio.Future[Permit]


class Gate:
    """Lets calls through, one decision at a time, first come first served.

    Until the first call has shown that key, address and model are right, and after a 429 that did not say which, calls
    go alone.
    """

    def __init__(
        self, *, limiter: Limiter, concurrency: Concurrency, budget: Budget, clock: Clock, outage_s: float
    ) -> None:
        self.limiter, self.concurrency, self.budget = limiter, concurrency, budget
        self.breaker = Breaker()
        self.in_flight = 0
        self.waiting_for: str | None = None
        # Rows that failed at least once and are not settled yet, and the failures met lately with their times.
        self.retrying = 0
        self.recent: deque[tuple[float, str]] = deque(maxlen=RECENT)
        self._clock, self._outage_s = clock, outage_s
        self._alone = True
        self._began = False
        self._pause_s = PAUSE_FIRST_S
        self._paused_at = float("-inf")
        self._answered_at = float("-inf")
        self._refused = 0.0
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Place] = deque()
        self._alarm: asyncio.Task[None] | None = None
        # Where storing an answer takes long, its call keeps its place until then: no more than the calls that may be in
        # flight are ever paid for and not stored.
        self.holds_until_stored = False
        self._storing: set[int] = set()
        # Calls go until then; whoever extends it holds a lease.
        self.valid_until = float("inf")
        self.termination: Termination | None = None
        self.on_halt: Callable[[], None] = lambda: None

    async def enter(self, row: int, tokens: float, worst_usd: int) -> Permit:
        """Wait for the turn of this call. Raises Halted once the run has ended for what is not in flight."""
        if self.termination is not None:
            raise Halted
        place = _Place(row, tokens, worst_usd, self._loop.create_future())
        self._queue.append(place)
        if len(self._queue) == 1:
            self._let_in()
        if place.turn.done():
            return place.turn.result()
        try:
            return await place.turn
        except asyncio.CancelledError:
            if place in self._queue:
                self._queue.remove(place)
                self._let_in()
            elif not place.turn.cancelled() and place.turn.exception() is None:
                self.abandon(place.turn.result())
            raise

    def _let_in(self) -> None:
        """Let in whoever may go now, in order; where only time opens the door, look again then."""
        while self._queue:
            place = self._queue[0]
            if place.turn.done():
                self._queue.popleft()
                continue
            now = self._clock.now()
            if now >= self.valid_until:
                self.halt(LEASE_ENDED)
                return
            worst = self.budget.worst(place.worst_usd)
            reason, wait = self._closed(place.tokens, worst, now)
            self.waiting_for = reason
            if reason is not None:
                if wait is not None and self.termination is None:
                    self._look_again(wait)
                return
            self._queue.popleft()
            place.turn.set_result(self._take(place.row, place.tokens, worst, now))

    def _look_again(self, seconds: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.create_task(self._wake_up(seconds))

    async def _wake_up(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._alarm = None
        self._let_in()

    def _closed(self, tokens: float, worst: int, now: float) -> tuple[str | None, float | None]:
        """Why the door is closed and for how many seconds; None seconds means until a call ends."""
        if self.breaker.is_open:
            if self.breaker.open_for(now) >= self._outage_s:
                self._halt_for_outage()
                return "outage", 0.0
            if self.in_flight:
                return "outage", None
            if wait := self.breaker.probe_wait(now):
                return "outage", min(wait, LOOK_AGAIN_S)
        if self._alone and self.in_flight:
            return "first call", None
        if self.in_flight + len(self._storing) >= self.concurrency.limit:
            return "concurrency", None
        if not self.budget.fits(worst):
            if self.in_flight or self.budget.is_quota:
                return "budget", None
            self._halt_for_budget(worst)
            return "budget", 0.0
        if wait := self.limiter.wait(tokens, now):
            return "rate limit", min(wait, LOOK_AGAIN_S) if self.limiter.paused(now) else wait
        return None, None

    def _take(self, row: int, tokens: float, worst: int, now: float) -> Permit:
        self._began = True
        taking = self.limiter.take(tokens, now)
        self.budget.reserve(worst)
        self.in_flight += 1
        return Permit(row, taking, worst, now, alone=self._alone or self.breaker.is_open)

    def release(self, permit: Permit, *, used_tokens: int | None, cost_usd: int, failure: Failure | None) -> None:
        """A call ended: `used_tokens` as told (None if not), `cost_usd` what it cost or may have cost at most."""
        now = self._clock.now()
        self.in_flight -= 1
        if self.holds_until_stored:
            self._storing.add(permit.row)
        self.budget.settle(permit.worst_usd, cost_usd)
        if used_tokens is not None:
            self.limiter.settle(permit.taking, used_tokens, now)
        self._learn(permit, failure, used_tokens or 0, now)
        self._let_in()

    def stored(self, row: int) -> None:
        """What this row's call brought is durable."""
        if row in self._storing:
            self._storing.discard(row)
            self._let_in()

    def take_share(self, rpm: float, tpm: float) -> None:
        """Go by these shares of the limits from now on."""
        self.limiter.share(rpm, tpm, self._clock.now())
        self._let_in()

    def take_quota(self, concurrency: int, cap_usd: int | None) -> None:
        """Go by these portions of the calls in flight and of the cap from now on."""
        self.concurrency.share(concurrency)
        if cap_usd is not None:
            self.budget.take_quota(cap_usd)
        self._let_in()

    @property
    def verified(self) -> bool:
        """Whether a call has shown that key, address and model are right, so that calls need not go alone."""
        return not self._alone

    def verify(self) -> None:
        """Another process has shown it for the same key: our first call need not go alone."""
        if not self._began:
            self._alone = False

    def opens_in(self, now: float) -> float:
        """Seconds until the door is looked at again, where only time opens it: a pause, or the breaker's next probe."""
        return max(self.limiter.paused_s(now), self.breaker.probe_wait(now))

    def may_wait_uncharged(self, since: float, *, times: int = 1) -> bool:
        """Whether a row that was refused (429) may wait once more without a charge to its retries.

        `since` is the moment of its refusal before this one (of its admission, where this is the first), `times` how
        often in a row it was refused. It may while a limit is near: ours or the gateway's holds calls back, and some
        were answered in the last two minutes. Otherwise only while others are answered, and only as often in a row as
        chance explains at the share of calls refused lately: beyond that it is the row that is refused.
        """
        now = self._clock.now()
        if self.limiter.is_near(now) and now - self._answered_at <= NEAR_S:
            return True
        return self._answered_at > since and self._refused_share() ** times >= CHANCE

    def _refused_share(self) -> float:
        """The share of calls refused for their pace lately, at least 2 %."""
        return max(0.02, self._refused)

    def abandon(self, permit: Permit) -> None:
        """A call that was admitted was never sent."""
        self.in_flight -= 1
        self.budget.settle(permit.worst_usd, 0)
        self.limiter.refund(permit.taking, self._clock.now())
        self._let_in()

    def _learn(self, permit: Permit, failure: Failure | None, tokens: int, now: float) -> None:
        verdict = FAILURE_POLICIES[failure.kind] if failure else None
        if failure is not None:
            self.recent.append((now, failure.kind.value))
        if verdict and verdict.slows:
            self.concurrency.slowed(permit.admitted_at, now)
        if verdict and verdict.upstream:
            self.breaker.failed(permit.row, now, probe=permit.alone)
        else:
            self.breaker.answered(permit.row, now)
        refused = failure is not None and failure.kind in (FailureKind.RATE_LIMIT, FailureKind.BARE_429)
        self._refused += (refused - self._refused) / RECENT
        if verdict is None:
            self._answered_at = now
            self.concurrency.succeeded(now)
            self.limiter.let_in(tokens, now)
            self._pause_s = PAUSE_FIRST_S
        if failure and failure.kind in (FailureKind.RATE_LIMIT, FailureKind.BARE_429):
            self.limiter.refused(now, permit.admitted_at)
            self._pause(failure, permit, now)
        bare = failure is not None and failure.kind is FailureKind.BARE_429
        self._alone = bare or (self._alone and verdict is not None and not _proves(verdict))

    def _pause(self, failure: Failure, permit: Permit, now: float) -> None:
        """Hold everyone: as long as Retry-After says, else a second that doubles with each new episode."""
        if failure.retry_after is not None:
            self.limiter.pause(now + failure.retry_after)
        elif permit.admitted_at >= self._paused_at:
            self.limiter.pause(now + self._pause_s)
            self._pause_s = min(PAUSE_MOST_S, self._pause_s * 2)
            self._paused_at = now

    def reopen(self) -> None:
        """Let calls through again after a halt; the first goes alone."""
        self.termination, self._alone = None, True

    def halt(self, termination: Termination) -> None:
        """End the run for calls not in flight; the first reason stands."""
        if self.termination is None:
            self.termination = termination
            self.on_halt()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        waiting, self._queue = self._queue, deque()
        for place in waiting:
            if not place.turn.done():
                place.turn.set_exception(Halted())

    def _halt_for_outage(self) -> None:
        self.halt(
            Termination(
                TerminationKind.OUTAGE,
                None,
                f"the gateway or its provider failed for {self._outage_s:g} s over many rows",
                f"{RUN_AGAIN}; retries.outage_s sets how long it waits",
            )
        )

    def _halt_for_budget(self, worst: int) -> None:
        assert self.budget.cap is not None
        self.halt(spent_up(self.budget.cap, self.budget.spent, worst))


def spent_up(cap: int, spent: int, worst: int) -> Termination:
    """The termination of a run whose next call could pass its cap; amounts in 10⁻¹² USD."""
    return Termination(
        TerminationKind.BUDGET,
        None,
        f"max_cost_usd is {short_usd(cap)}, {short_usd(spent)} is spent or may be, and the next call could cost "
        f"{short_usd(worst)}",
        "Raise it with --max-cost (or set params.max_output_tokens to narrow the worst case) and run again",
    )


def _proves(verdict: FailurePolicy) -> bool:
    """A failure of this kind shows that key, address and model are right."""
    return not (verdict.action is Action.WAIT or verdict.upstream or verdict.slows or verdict.halts_as)


def refused_storage(error: StorageError) -> Termination:
    """The termination of a run whose answers could no longer be stored."""
    return Termination(
        TerminationKind.STORAGE,
        None,
        str(error),
        "Free disk space and run the same command again: what was settled stands",
    )
