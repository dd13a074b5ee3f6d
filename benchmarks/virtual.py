"""Virtual time: an event loop whose hours pass in milliseconds, and a quota to send against."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from rowmill.sandbox.limits import RateLimit
from rowmill.sandbox.settings import Settings
from rowmill.schemas.attempt import Failure, FailureKind
from rowmill.schemas.usage import Usage
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.concurrency import Concurrency
from rowmill.tasks.gateway.admission.gate import Gate
from rowmill.tasks.gateway.admission.limiter import Limiter
from rowmill.tasks.settle.token_estimate import TokenEstimate
from rowmill.tasks.system.clock import Clock


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
