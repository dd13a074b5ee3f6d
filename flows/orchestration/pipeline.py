"""Pipeline: read → plan → settle → compact, for an open run and whoever settles its shards."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from rowmill.flows.orchestration.tracing import Tracing, tracing
from rowmill.flows.orchestration.waiting import GIVE_UP_S, Wait, next_turn, wait_here
from rowmill.schemas.errors import BudgetError
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.row import Shard
from rowmill.tasks.run.finished_run import FinishedRun
from rowmill.tasks.run.run import PILOT_ENDED, OpenRun, Run
from rowmill.tasks.run.shard_runner import ShardReport

# Prefect kills 30 s after it cancels.
GRACE_S = 20.0

SettleShard = Callable[[OpenRun, Shard], Awaitable[ShardReport]]
Watch = Callable[[OpenRun], Coroutine[Any, Any, None]]


class StoppedEarly(BudgetError):
    """A run over some rows, made for something else, ended before they were settled. It exits as that run does."""

    cause = ""


def refuse_stopped(what: str, manifest: Manifest) -> None:
    """Raises StoppedEarly where a run over some rows ended before these were settled; `what` it was: "the pilot"."""
    end = manifest.end
    if manifest.is_complete or end.code == PILOT_ENDED.code:
        return
    error = StoppedEarly(f"{what} stopped: {end.message}", where=end.kind.value, hint=end.next)
    error.cause, error.exit_code = end.message, manifest.exit_code
    raise error


async def settle_in_process(run: OpenRun, shard: Shard) -> ShardReport:
    """Settle a shard without orchestration."""
    return await run.settle(shard)


async def carry_out(
    run: Run,
    *,
    settle: SettleShard = settle_in_process,
    watch: Watch | None = None,
    wait: Wait = wait_here,
) -> Manifest:
    """Settle every shard of a run and return its manifest. A finished output is left as it is.

    A cancellation from outside drains what is in flight, as a signal does, writes the manifest and goes on its way.
    """
    if isinstance(run, FinishedRun):
        return await run.close()
    run.progress.started_at = run.clock.now()
    with tracing() as spans, spans.run(run):
        await _carry_out(run, _traced(spans, settle), watch, wait=wait)
        return await run.close()


def _traced(spans: Tracing, settle: SettleShard) -> SettleShard:
    async def settle_traced(run: OpenRun, shard: Shard) -> ShardReport:
        with spans.shard(shard) as reports:
            reports.append(await settle(run, shard))
        return reports[0]

    return settle_traced


async def _carry_out(run: OpenRun, settle: SettleShard, watch: Watch | None, *, wait: Wait) -> None:
    works = [_sample(run), run.background.heartbeat(), run.hear_workers(), watch(run) if watch is not None else None]
    async with _interruptible(run), beside(works):
        work = asyncio.create_task(_settle_gold_first(run, settle, wait))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            run.stop.interrupt(force=False)
            await asyncio.wait([work], timeout=GRACE_S)
            run.stop.interrupt(force=True)
            await asyncio.wait([work])
            await run.close()
            raise


async def _settle_gold_first(run: OpenRun, settle: SettleShard, wait: Wait) -> None:
    """Settle every row; where the job asks for it the gold rows first, the others only if those show good labels."""
    for look, rows in enumerate(looks := run.gold_looks):
        run.take_only(rows)
        await _settle_and_wait(run, settle, wait)
        if run.stop.halted or await run.judge_gold(look):
            break
    if run.stop.halted:
        return
    if looks:
        run.take_only(None)
    await _settle_and_wait(run, settle, wait)


async def _settle_and_wait(run: OpenRun, settle: SettleShard, wait: Wait) -> None:
    """Settle the shards, and again after each wait for the key's spend limit, for a day and an hour at most."""
    await _settle_or_stop(run, settle)
    if run.progress.settled:
        run.manifest_builder.end_waiting()
    while run.stop.awaits_spend_limit:
        settled, until = run.progress.settled, next_turn(run.clock.wall())
        if run.stop.ends_before(until):
            return
        since = await run.begin_waiting(until)
        if run.clock.wall() - since >= GIVE_UP_S:
            return
        await wait(run, until)
        run.stop.resume()
        if run.stop.interrupted:
            return
        await _settle_or_stop(run, settle)
        if run.progress.settled > settled:
            run.manifest_builder.end_waiting()


async def _settle_or_stop(run: OpenRun, settle: SettleShard) -> None:
    """Settle the shards, unless the model has changed since. Where nearly every row is not ok, rows drawn at random
    decide whether the others are asked.
    """
    await run.ask_canary()
    if run.stop.is_over:
        return
    if not run.stop.is_suspect:
        await _settle_shards(run, settle)
    while run.stop.is_suspect:
        while run.stop.is_suspect and (rows := run.draw()):
            with run.only_drawn(rows):
                await _settle_shards(run, settle)
        if not run.stop.is_suspect:
            return
        run.judge_drawn()
        if not run.stop.halted:
            await _settle_shards(run, settle)


async def _settle_shards(run: OpenRun, settle: SettleShard) -> None:
    slots = asyncio.Semaphore(run.open_shards)
    running: list[asyncio.Task[ShardReport]] = []
    try:
        async for shard in run.shards():
            await slots.acquire()
            running = [task for task in running if not task.done() or task.exception()]
            if run.stop.is_over or any(task.done() for task in running):
                break
            running.append(asyncio.create_task(_settle_one(run, settle, shard, slots=slots)))
    finally:
        # Every shard is waited for before the first error among them is told.
        for result in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result


async def _settle_one(run: OpenRun, settle: SettleShard, shard: Shard, *, slots: asyncio.Semaphore) -> ShardReport:
    try:
        return await settle(run, shard)
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


async def _sample(run: OpenRun) -> None:
    """Note how the calls go, for the report."""
    timeline = run.manifest_builder.timeline
    while True:
        seen = run.background.traffic()
        timeline.note(seen.in_flight, seen.limit, seen.calls)
        await asyncio.sleep(timeline.step_s)


# What SIGINT and SIGTERM stop: every run of this process's main thread; and the handlers that stood there before.
_stops: list[Callable[[], None]] = []
_handlers_before: dict[signal.Signals, Any] = {}


@asynccontextmanager
async def _interruptible(run: OpenRun) -> AsyncIterator[None]:
    """The first SIGINT or SIGTERM lets calls in flight end within a grace time, the second gives them up.

    Runs beside each other share the handlers: the first installs them, the last puts back what stood there.
    """
    if threading.current_thread() is not threading.main_thread():
        # Signals are the main thread's: whoever started this one deals with them.
        yield
        return
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def stop() -> None:
        # A run that has ended for another reason has calls in flight too: the first signal gives none of them up.
        run.stop.interrupt(force=bool(timers))
        timers.append(loop.call_later(GRACE_S, lambda: run.stop.interrupt(force=True)))

    if not _stops:
        _install_handlers(loop)
    _stops.append(stop)
    try:
        yield
    finally:
        _stops.remove(stop)
        if not _stops:
            _restore_handlers(loop)
        for timer in timers:
            timer.cancel()


def _install_handlers(loop: asyncio.AbstractEventLoop) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        try:
            loop.add_signal_handler(number, _stop_all)
        except NotImplementedError:
            continue
        _handlers_before[number] = handler


def _restore_handlers(loop: asyncio.AbstractEventLoop) -> None:
    while _handlers_before:
        number, handler = _handlers_before.popitem()
        loop.remove_signal_handler(number)
        signal.signal(number, handler)


def _stop_all() -> None:
    for stop in list(_stops):
        stop()
