"""Outside: what a run has to do with other machines: a fleet that shares its key, workers that ask its rows, a bucket
that holds its output. A run that has none of them asks here and is told so.
"""

from __future__ import annotations

import asyncio
import logging

from rowmill.schemas.catalogue import Model
from rowmill.schemas.job import Job
from rowmill.tasks.cluster.coordinator import Coordinator, open_engine
from rowmill.tasks.cluster.messages import ShardWork
from rowmill.tasks.cluster.worker_pool import WorkerPool
from rowmill.tasks.gateway.admission.gate import Gate
from rowmill.tasks.gateway.admission.membership import Membership, join_fleet
from rowmill.tasks.gateway.admission.traffic import Traffic, traffic_at
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.input.survey import Survey
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.output.folder import Output
from rowmill.tasks.run.progress import Progress
from rowmill.tasks.run.shard_runner import ShardRun
from rowmill.tasks.system.clock import Clock

log = logging.getLogger("rowmill")
# One shard settles its last calls while the next one is read; a third would only wait.
OPEN_HERE = 2
# Shards planned ahead for workers; no more of them than this are at work.
OPEN_AWAY = 32
HOLD_LOOK_S = 1.0


class Background:
    """One run's dealings with other machines."""

    def __init__(self, gate: Gate, mirror: Mirror | None, clock: Clock) -> None:
        self._gate, self._mirror, self._clock = gate, mirror, clock
        self._fleet: Membership | None = None
        self._pool: WorkerPool | None = None
        # An answer that is paid for must not be lost with this machine.
        gate.holds_until_stored = mirror is not None

    async def gather_workers(
        self, work: ShardWork, output: Output, progress: Progress, runs: ShardRun, survey: Survey
    ) -> Coordinator:
        """The workers who ask the rows in place of this process. Raises JobError where there are none."""
        engine = await open_engine(work.job)
        self._pool = WorkerPool(engine, output, work, self._gate, progress, self._clock)
        workers = await self._pool.open()
        log.info("%d workers of %s ask the rows; limits and cap are divided among them", workers, engine.address)
        return Coordinator(runs, self._pool, survey.shards)

    async def join_fleet(self, job: Job, gateway: Gateway, model: Model, *, sandbox: bool) -> None:
        """Share the key's limits, where the job says so. Raises JobError where no store is named or answers."""
        if job.limits.shared and sandbox and gateway.redis_url is None:
            log.warning("ROWMILL_REDIS_URL is not set: against the sandbox this run goes by its limits alone")
        elif job.limits.shared:
            self._fleet = await join_fleet(job.limits, gateway, model, self._gate, self.traffic, self._take_share)

    def _take_share(self, rpm: float, tpm: float) -> None:
        if self._pool is not None:
            self._pool.take_share(rpm, tpm)
        self._gate.take_share(rpm, tpm)

    def traffic(self) -> Traffic:
        """What passes to the gateway now, from here or from the workers."""
        told = self._pool.traffic() if self._pool is not None else None
        return told or traffic_at(self._gate, self._clock.now())

    @property
    def open_shards(self) -> int:
        """Shards to have open at a time."""
        return OPEN_HERE if self._pool is None else OPEN_AWAY

    async def keep(self) -> None:
        """What goes on beside the rows: it never outlives the run."""
        works = [one.keep() for one in (self._fleet, self._pool) if one is not None]
        await asyncio.gather(*works, self._keep_hold())

    async def _keep_hold(self) -> None:
        """Send nothing more once the hold on an output in a bucket may be another's."""
        while self._mirror is not None:
            self._gate.valid_until = self._mirror.hold.until
            await self._clock.sleep(HOLD_LOOK_S)

    def halted(self) -> None:
        """The run has ended for calls that are not in flight: whom that concerns is told."""
        if self._pool is not None:
            self._pool.halt()
        if self._fleet is not None and self._gate.termination is not None:
            self._fleet.tell(self._gate.termination)

    def give_up(self) -> None:
        """Calls in flight elsewhere are given up too."""
        if self._pool is not None:
            self._pool.force_halt()

    def reset(self) -> None:
        """After a wait: what was told before means nothing any more, and one call goes alone."""
        for one in (self._fleet, self._pool):
            if one is not None:
                one.reset()

    async def aclose(self) -> None:
        for one in (self._fleet, self._pool):
            if one is not None:
                await one.aclose()
