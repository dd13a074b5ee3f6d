"""Pipeline: read → plan → settle → compact, for a prepared session and whoever runs its shards."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from flows.waiting import GIVE_UP_S, Wait, next_turn, wait_here
from schemas.row import Shard
from tasks.session import Session
from tasks.shard import ShardReport

# Prefect kills 30 s after it cancels.
GRACE_S = 20.0

SettleShard = Callable[[Session, Shard], Awaitable[ShardReport]]
Watch = Callable[[Session], Coroutine[Any, Any, None]]


async def settle_in_process(session: Session, shard: Shard) -> ShardReport:
    """Settle a shard without orchestration."""
    return await session.settle(shard)


async def carry_out(
    session: Session,
    *,
    settle: SettleShard = settle_in_process,
    watch: Watch | None = None,
    wait: Wait = wait_here,
) -> dict[str, Any]:
    """Settle every shard of an open session and return the run's manifest. A finished output is left as it is.

    A cancellation from outside drains what is in flight, as a signal does, writes the manifest and goes on its way.
    """
    if session.nothing_to_do:
        return session.finish()
    session.progress.started_at = session.clock.now()
    works = [_sample(session), session.outside.keep(), watch(session) if watch is not None else None]
    async with _interruptible(session), beside(works):
        work = asyncio.create_task(_settle_gold_first(session, settle, wait))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            session.interrupt(at_once=False)
            await asyncio.wait([work], timeout=GRACE_S)
            session.interrupt(at_once=True)
            await asyncio.wait([work])
            session.finish()
            raise
    return session.finish()


async def _settle_gold_first(session: Session, settle: SettleShard, wait: Wait) -> None:
    """Settle every row; where the job asks for it the gold rows first, and the others only if those are good enough."""
    if (gold := session.gold_rows) is not None:
        session.take_only(gold)
        await _settle_and_wait(session, settle, wait)
        if not session.halted:
            await session.judge_gold()
        if session.halted:
            return
        session.take_only(None)
    await _settle_and_wait(session, settle, wait)


async def _settle_and_wait(session: Session, settle: SettleShard, wait: Wait) -> None:
    """Settle the shards, and again after each wait for the key's spend limit, for a day and an hour at most."""
    await _settle_shards(session, settle)
    if session.progress.settled:
        session.books.end_waiting()
    while session.awaits_spend_limit:
        settled, until = session.progress.settled, next_turn(session.clock.wall())
        since = session.begin_waiting(until)
        if session.clock.wall() - since >= GIVE_UP_S:
            return
        await wait(session, until)
        session.resume()
        if session.interrupted:
            return
        await _settle_shards(session, settle)
        if session.progress.settled > settled:
            session.books.end_waiting()


async def _settle_shards(session: Session, settle: SettleShard) -> None:
    slots = asyncio.Semaphore(session.outside.open_shards)
    running: list[asyncio.Task[ShardReport]] = []
    try:
        async for shard in session.shards():
            await slots.acquire()
            running = [task for task in running if not task.done() or task.exception()]
            if session.halted or any(task.done() for task in running):
                break
            running.append(asyncio.create_task(_settle_one(session, settle, shard, slots)))
    finally:
        # Every shard is waited for before the first error among them is told.
        for result in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result


async def _settle_one(session: Session, settle: SettleShard, shard: Shard, slots: asyncio.Semaphore) -> ShardReport:
    try:
        return await settle(session, shard)
    finally:
        slots.release()


@asynccontextmanager
async def beside(works: Sequence[Coroutine[Any, Any, None] | None]) -> AsyncIterator[None]:
    """What goes on beside the run, such as its display; it never outlives it."""
    tasks = [asyncio.create_task(work) for work in works if work is not None]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _sample(session: Session) -> None:
    """Note how the calls go, for the report."""
    course = session.books.course
    while True:
        seen = session.outside.traffic()
        course.note(seen.in_flight, seen.limit, seen.calls)
        await asyncio.sleep(course.step_s)


@asynccontextmanager
async def _interruptible(session: Session) -> AsyncIterator[None]:
    """The first SIGINT or SIGTERM lets calls in flight end within a grace time, the second gives them up."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def stop() -> None:
        first = not session.halted
        session.interrupt(at_once=not first)
        if first:
            timers.append(loop.call_later(GRACE_S, lambda: session.interrupt(at_once=True)))

    before: dict[signal.Signals, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        try:
            loop.add_signal_handler(number, stop)
        except (ValueError, RuntimeError, NotImplementedError):
            # Not the main thread: whoever runs the loop there deals with signals.
            continue
        before[number] = handler
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
        for timer in timers:
            timer.cancel()
