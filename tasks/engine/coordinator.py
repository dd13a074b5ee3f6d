"""Coordinator: a shard settled by workers, in three steps: what needs no call here, the calls there, the part here."""

from __future__ import annotations

import asyncio
import logging
import os
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from schemas.errors import JobError
from schemas.job import Job
from schemas.row import Shard
from tasks.clock import Clock
from tasks.engine.away import adopt_all, left_away
from tasks.engine.board import ENDED_S, Board
from tasks.engine.engines import Engine
from tasks.engine.team import Team
from tasks.output import Layout
from tasks.shard import Left, ShardReport, ShardRun

log = logging.getLogger("rowmill")
ADDRESSES = {"dask": "DASK_SCHEDULER_ADDRESS", "ray": "RAY_ADDRESS"}


class Coordinator:
    """Settles shards through a team. `shards` are those of the run in order, and may grow."""

    def __init__(self, runs: ShardRun, team: Team, shards: Sequence[Shard]) -> None:
        self._runs, self._team, self._shards = runs, team, shards
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

    async def _asked(self, shard: Shard) -> Left:
        """The shard as far as its journal goes, and what was left of it before the workers had it."""
        self._team.expected += 1
        try:
            left = await self._runs.settle_in_journal(shard)
            if left.ranges:
                await self._team.ask(shard, left)
        finally:
            self._team.expected -= 1
        return left

    async def _settled(self, owners: Iterable[int], waiting: Shard) -> None:
        """Wait for the shards of rows that ask the same as rows of this one; they come before it."""
        numbers = {bisect_right(self._shards, row, key=lambda shard: shard.first_row) - 1 for row in owners}
        for shard in (self._shards[place] for place in numbers):
            if shard.number < waiting.number and (end := self._ends.get(shard.number)) is not None:
                await end.wait()


async def open_engine(job: Job, environment: Mapping[str, str] = os.environ) -> Engine:
    """The cluster that a job names. Raises JobError, naming the address, where it cannot be used."""
    address = job.scheduler or environment.get(ADDRESSES[job.runner])
    if not address:
        raise JobError(
            f"runner: {job.runner} needs the address of its cluster",
            where="scheduler",
            mend=f"name it there, or set {ADDRESSES[job.runner]}",
        )
    if job.runner == "ray":
        from tasks.engine.ray_engine import open_ray

        return await open_ray(address)
    from tasks.engine.dask_engine import open_dask

    return await open_dask(address)


async def take_over(layout: Layout, clock: Clock) -> None:
    """Take up what workers have written that nobody heard to the end, once they have all ended.

    Raises StorageError, DamageError.
    """
    board = Board(layout.root)
    if board.is_open and left_away(layout.journal):
        log.warning("an earlier run ended without its workers: waiting %g s until they have stopped", ENDED_S)
        await clock.sleep(ENDED_S)
    await asyncio.to_thread(adopt_all, layout.journal)
    board.close()
