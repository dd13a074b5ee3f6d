"""Virtual time: an event loop whose hours pass in milliseconds, and a gateway that only counts to send against."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from rowmill.sandbox.limits import RateLimit
from rowmill.sandbox.settings import Settings
from rowmill.schemas.attempt import Failure, FailureKind
from rowmill.schemas.usage import Usage
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.concurrency import Concurrency
from rowmill.tasks.gateway.admission.gate import Gate, Halted
from rowmill.tasks.gateway.admission.limiter import Limiter
from rowmill.tasks.gateway.failures import FAILURE_POLICIES, Action
from rowmill.tasks.settle.token_estimate import TokenEstimate
from rowmill.tasks.system.clock import Clock

# Rows that wait for a retry leave their place to others, as in a run.
RETRYING_MOST = 4_096


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time moves on to the next timer as soon as there is nothing else to do. For code without threads or sockets."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        really = self._selector.select

        def select(timeout: float | None) -> list[Any]:
            events = really(0)
            if timeout and not events:
                self._now += timeout
            return events

        self._selector.select = select  # type: ignore[method-assign]

    def time(self) -> float:
        return self._now


class VirtualClock(Clock):
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return self.now()


def run_virtually(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class WindowLimit:
    """At most `most` calls in any `seconds`, counted as they arrive."""

    def __init__(self, most: float, seconds: float) -> None:
        self.most, self._seconds = most, seconds
        self._arrived: deque[float] = deque()

    def refuse_for(self, now: float) -> float:
        """Seconds to wait before this call may come again; 0 takes it in."""
        while self._arrived and self._arrived[0] <= now - self._seconds:
            self._arrived.popleft()
        if len(self._arrived) + 1 > self.most:
            return self._arrived[0] + self._seconds - now if self._arrived else self._seconds
        self._arrived.append(now)
        return 0.0


class BucketLimit:
    """`most` calls in `seconds` on average, as many at once."""

    def __init__(self, most: float, seconds: float) -> None:
        self.most, self._seconds = most, seconds
        self._level, self._at = most, 0.0

    def refuse_for(self, now: float) -> float:
        rate = self.most / self._seconds
        self._level = min(self.most, self._level + (now - self._at) * rate)
        self._at = now
        if self._level < 1:
            return (1 - self._level) / rate
        self._level -= 1
        return 0.0


@dataclass
class Weather:
    """Failures that come at any pace: a share of calls for each kind, and how long such a call takes (None: as long as
    an answer).
    """

    shares: dict[FailureKind, float]
    retry_after: float | None = None
    seconds: float | None = None
    rng: random.Random = field(default_factory=lambda: random.Random(7))

    def failure(self) -> Failure | None:
        drawn = self.rng.random()
        for kind, share in self.shares.items():
            drawn -= share
            if drawn < 0:
                return Failure(kind, "", self.retry_after if kind is FailureKind.RATE_LIMIT else None)
        return None


@dataclass
class Sent:
    """What came of a run in virtual time: when each call was let in or failed, and the seconds that it took."""

    seconds: float = 0.0
    answered: list[float] = field(default_factory=list)
    limited: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    halted: bool = False

    def used(self, start: float, end: float, a_second: float) -> float:
        """The share of a limit that was used from start to end."""
        return sum(start <= at < end for at in self.answered) / (end - start) / a_second

    def refused(self, start: float, end: float) -> float:
        """The share of calls from start to end that the limit refused."""
        refused = sum(start <= at < end for at in self.limited)
        return refused / max(1, refused + sum(start <= at < end for at in self.answered))


async def send_rows(
    *,
    rows: int,
    concurrency: int,
    latency_s: float,
    limiter: Limiter | None = None,
    limit: WindowLimit | BucketLimit | None = None,
    weather: Weather | None = None,
    bears: int | None = None,
    tells_retry_after: bool = True,
    jitter_s: float = 0.0,
    until: float = 1e9,
    seed: int = 0,
) -> Sent:
    """Send rows through a gate as a run does, retries too. `limit` refuses by pace, `weather` at random; a gateway that
    `bears` so many calls at once fails those beyond with 503. `jitter_s` is the most a call is late at the gateway.
    """
    rng, clock, sent = random.Random(seed), VirtualClock(), Sent()
    gate = Gate(
        limiter=limiter or Limiter(None, None, 0.0), concurrency=Concurrency(concurrency),
        budget=Budget(None, 0, lambda _: None), clock=clock, outage_s=60,
    )  # fmt: skip
    room = asyncio.Semaphore(2 * concurrency + 64)
    retried: set[int] = set()
    there = 0

    def on_retry(row: int) -> None:
        if row not in retried and len(retried) < RETRYING_MOST:
            retried.add(row)
            room.release()

    gate.on_retry = on_retry

    async def call() -> Failure | None:
        nonlocal there
        if jitter_s:
            await asyncio.sleep(rng.uniform(0, jitter_s))
        wait = limit.refuse_for(clock.now()) if limit is not None else 0.0
        if wait > 0:
            sent.limited.append(clock.now())
            await asyncio.sleep(min(latency_s, 0.02))
            return Failure(FailureKind.RATE_LIMIT, "", float(-(-wait // 1)) if tells_retry_after else None)
        failure = weather.failure() if weather is not None else None
        if failure is None and bears is not None and there >= bears:
            failure = Failure(FailureKind.UPSTREAM_ERROR, "")
        there += 1
        seconds = weather.seconds if failure and weather and weather.seconds is not None else None
        await asyncio.sleep(latency_s * rng.uniform(0.8, 1.2) if seconds is None else seconds)
        there -= 1
        if failure is None:
            sent.answered.append(clock.now())
        else:
            sent.failed[failure.kind.value] += 1
        return failure

    async def settle(row: int) -> None:
        charged = 0
        try:
            while True:
                permit = await gate.enter(row, 100, 0)
                failure = await call()
                gate.release(permit, used_tokens=None if failure else 100, cost_usd=0, failure=failure)
                if failure is None:
                    return
                if FAILURE_POLICIES[failure.kind].action is Action.RETRY:
                    charged += 1
                    most = min(30.0, 0.5 * 2**charged)
                    await clock.sleep(rng.uniform(most / 2, most))
        except Halted:
            sent.halted = True
        finally:
            gate.settled(row)
            if row in retried:
                retried.discard(row)
            else:
                room.release()

    tasks: set[asyncio.Task[None]] = set()
    for row in range(rows):
        await room.acquire()
        if clock.now() > until or gate.termination is not None:
            break
        task = asyncio.create_task(settle(row))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if clock.now() <= until:
        await asyncio.gather(*tasks)
    for task in tasks:
        task.cancel()
    sent.seconds = clock.now()
    return sent


@dataclass
class Quota:
    """A gateway that only counts: when it let a call in, with how many tokens, and when it refused one."""

    settings: Settings
    retry_after: Callable[[float], float | None] = lambda wait: float(-(-wait // 1))
    let_in: list[tuple[float, float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    _limit: RateLimit = field(default_factory=RateLimit)

    def ask(self, tokens: float, now: float) -> Failure | None:
        if (wait := self._limit.refuse_for(tokens, self.settings, now)) > 0:
            self.refused.append(now)
            return Failure(FailureKind.RATE_LIMIT, "", self.retry_after(wait))
        self.let_in.append((now, tokens))
        return None

    def used(self, start: float, end: float, *, tokens: bool = False) -> float:
        """Requests (or tokens) let in from start to end."""
        return sum(size if tokens else 1.0 for at, size in self.let_in if start <= at < end)

    def share(self, per_minute: float, *, tokens: bool = False) -> float:
        """How much of the quota was used, from when the fleet was on its way to the last call."""
        start, end = self.let_in[0][0] + 20, self.let_in[-1][0]
        return self.used(start, end, tokens=tokens) / (end - start) * 60 / per_minute


async def send(
    quota: Quota, limiter: Limiter, *, calls: int, concurrency: int, latency_s: float, seed: int = 0,
    sizes: Callable[[random.Random], float] = lambda rng: 100.0, expected: float = 100.0, until: float = 1e9,
) -> float:  # fmt: skip
    """Send through the one door as a run does, retrying refusals; the seconds it took."""
    rng, clock = random.Random(seed), VirtualClock()
    gate = Gate(
        limiter=limiter, concurrency=Concurrency(concurrency), budget=Budget(None, 0, lambda _: None),
        clock=clock, outage_s=60,
    )  # fmt: skip
    began, left, learned = clock.now(), iter(range(calls)), TokenEstimate(output=expected)

    async def worker() -> None:
        for row in left:
            if clock.now() > until:
                return
            size, failure = sizes(rng), Failure(FailureKind.RATE_LIMIT, "")
            while failure is not None:
                permit = await gate.enter(row, learned.tokens(0, 1 << 30, gate.in_flight), 0)
                await asyncio.sleep(rng.uniform(0.005, 0.05))
                failure = quota.ask(size, clock.now())
                await asyncio.sleep(0.02 if failure else latency_s * rng.lognormvariate(-0.125, 0.5))
                gate.release(permit, used_tokens=None if failure else int(size), cost_usd=0, failure=failure)
            learned.learn(0, Usage(output=int(size)))

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return clock.now() - began


def cut_and_restored(quota: Quota, rpm: float, latency_s: float) -> list[tuple[float, int]]:
    """A quota cut to a third after five minutes and restored after ten: the share used and the 429s of each phase."""

    async def scenario() -> None:
        async def change() -> None:
            for allowed in (rpm / 3, rpm):
                await asyncio.sleep(300)
                quota.settings = replace(quota.settings, rpm=allowed)

        changing = asyncio.create_task(change())
        await send(quota, Limiter(rpm, None, 0.0), calls=10**9, concurrency=256, latency_s=latency_s, until=900)
        await changing

    run_virtually(scenario())
    return [
        (quota.used(start, end) / (end - start) * 60 / allowed, sum(start <= at < end for at in quota.refused))
        for start, end, allowed in ((20, 300, rpm), (300, 600, rpm / 3), (600, 900, rpm))
    ]
