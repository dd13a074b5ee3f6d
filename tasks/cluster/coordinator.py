"""Coordinator: a shard settled by workers, in three steps: what needs no call here, the calls there, the part here."""

from __future__ import annotations

import asyncio
import logging
import os
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job
from rowmill.schemas.row import Shard
from rowmill.tasks.cluster.backends.backend import Engine
from rowmill.tasks.cluster.backends.registry import BACKENDS
from rowmill.tasks.cluster.mailbox import GRANTS, Heartbeat, LeaseGrants, Quota
from rowmill.tasks.cluster.shared_output import SharedBucket, SharedOutput, shared_output
from rowmill.tasks.cluster.worker_pool import WorkerPool
from rowmill.tasks.cluster.worker_segments import adopt_all, assume_in_flight, lease_of, left_away
from rowmill.tasks.output.folder import Output
from rowmill.tasks.run.open_shard import Remaining
from rowmill.tasks.run.shard_runner import ShardReport, ShardRun
from rowmill.tasks.system.clock import Clock

log = logging.getLogger("rowmill")


class Coordinator:
    """Settles shards through a team. `shards` are those of the run in order, and may grow."""

    def __init__(self, runs: ShardRun, pool: WorkerPool, shards: Sequence[Shard]) -> None:
        self._runs, self._pool, self._shards = runs, pool, shards
        self._ends: dict[int, asyncio.Event] = {}

    async def settle(self, shard: Shard) -> ShardReport:
        """As ShardRun's. Raises StorageError, DamageError, InputError."""
        end = self._ends[shard.number] = asyncio.Event()
        try:
            left = await self._asked(shard)
            await self._settled(left.owners, shard)
            return await self._runs.settle(shard)
        finally:
            end.set()

    async def _asked(self, shard: Shard) -> Remaining:
        """The shard as far as its journal goes, and what was left of it before the workers had it."""
        self._pool.expected += 1
        try:
            left = await self._runs.settle_in_journal(shard)
            if left.ranges:
                await self._pool.ask(shard, left)
        finally:
            self._pool.expected -= 1
        return left

    async def _settled(self, owners: Iterable[int], waiting: Shard) -> None:
        """Wait for the shards of rows that ask the same as rows of this one; they come before it."""
        numbers = {bisect_right(self._shards, row, key=lambda shard: shard.first_row) - 1 for row in owners}
        for shard in (self._shards[place] for place in numbers):
            if shard.number < waiting.number and (end := self._ends.get(shard.number)) is not None:
                await end.wait()


async def open_engine(job: Job, environment: Mapping[str, str] = os.environ) -> Engine:
    """The cluster that a job names. Raises JobError, naming the address, where it cannot be used."""
    backend = BACKENDS[job.runner]
    address = job.scheduler or environment.get(backend.variable)
    if not address:
        raise JobError(
            f"runner: {job.runner} needs the address of its cluster",
            where="scheduler",
            hint=f"name it there, or set {backend.variable}",
        )
    return await backend.open(address)


async def take_over(output: Output, clock: Clock) -> None:
    """Take up what workers have written that nobody heard to the end, once they have all ended.

    Raises StorageError, DamageError.
    """
    shared = shared_output(output)
    if isinstance(shared, SharedBucket):
        if shared.was_left:
            await _take_over_bucket(shared, clock)
        return
    if shared.mailbox.is_open and left_away(output.journal):
        await _wait(shared, clock)
    await asyncio.to_thread(adopt_all, output.journal)
    shared.mailbox.close()


async def _take_over_bucket(shared: SharedBucket, clock: Clock) -> None:
    grants = await asyncio.to_thread(shared.mailbox.read, GRANTS, LeaseGrants)
    if grants is not None and grants.run:
        await _wait(shared, clock)
    closed = await asyncio.to_thread(lambda: shared.closed_leases)
    worst_usd = 0
    for away in await asyncio.to_thread(shared.fetch_left):
        token = lease_of(away)
        if token not in closed:
            quota = grants.leases.get(token, Quota()) if grants is not None else Quota()
            told = await asyncio.to_thread(shared.mailbox.read, token, Heartbeat)
            in_flight = max(quota.concurrency, told.quota.concurrency if told is not None else 0)
            worst_usd = await asyncio.to_thread(assume_in_flight, away, in_flight, worst_usd)
        await asyncio.to_thread(shared.adopt, away, closed=False)
    await asyncio.to_thread(shared.mailbox.close)


async def _wait(shared: SharedOutput, clock: Clock) -> None:
    ended_s = shared.mailbox.ended_s
    log.warning("an earlier run ended without its workers: waiting %g s until they have stopped", ended_s)
    await clock.sleep(ended_s)
