"""Outside: what a run has to do with other machines: a fleet that shares its key, workers that ask its rows, a bucket
that holds its output. A run that has none of them asks here and is told so.
"""

from __future__ import annotations

import asyncio
import logging

from schemas.catalogue import Model
from schemas.job import Job
from tasks.clock import Clock
from tasks.engine.coordinator import Coordinator, open_engine
from tasks.engine.team import Team
from tasks.engine.work import ShardWork
from tasks.fleet_run import FleetRun, join_fleet
from tasks.gateway.access import Gateway
from tasks.gateway.admission import Admission
from tasks.output import Output
from tasks.progress import Progress
from tasks.replica import Replica
from tasks.shard import ShardRun
from tasks.survey import Survey
from tasks.traffic import Traffic, traffic_at

log = logging.getLogger("rowmill")
# One shard settles its last calls while the next one is read; a third would only wait.
OPEN_HERE = 2
# Shards planned ahead for workers; no more of them than this are at work.
OPEN_AWAY = 32
HOLD_LOOK_S = 1.0


class Outside:
    """One run's dealings with other machines."""

    def __init__(self, admission: Admission, replica: Replica | None, clock: Clock) -> None:
        self._admission, self._replica, self._clock = admission, replica, clock
        self._fleet: FleetRun | None = None
        self._team: Team | None = None
        # An answer that is paid for must not be lost with this machine.
        admission.holds_until_stored = replica is not None

    async def gather_team(
        self, work: ShardWork, output: Output, progress: Progress, runs: ShardRun, survey: Survey
    ) -> Coordinator:
        """The workers who ask the rows in place of this process. Raises JobError where there are none."""
        engine = await open_engine(work.job)
        self._team = Team(engine, output, work, self._admission, progress, self._clock)
        workers = await self._team.open()
        log.info("%d workers of %s ask the rows; limits and cap are divided among them", workers, engine.address)
        return Coordinator(runs, self._team, survey.shards)

    async def join_fleet(self, job: Job, gateway: Gateway, model: Model, *, sandbox: bool) -> None:
        """Share the key's limits, where the job says so. Raises JobError where no store is named or answers."""
        if job.limits.shared and sandbox and gateway.redis_url is None:
            log.warning("ROWMILL_REDIS_URL is not set: against the sandbox this run goes by its limits alone")
        elif job.limits.shared:
            self._fleet = await join_fleet(job.limits, gateway, model, self._admission, self.traffic, self._take_share)

    def _take_share(self, rpm: float, tpm: float) -> None:
        if self._team is not None:
            self._team.take_share(rpm, tpm)
        self._admission.take_share(rpm, tpm)

    def traffic(self) -> Traffic:
        """What passes to the gateway now, from here or from the workers."""
        told = self._team.traffic() if self._team is not None else None
        return told or traffic_at(self._admission, self._clock.now())

    @property
    def open_shards(self) -> int:
        """Shards to have open at a time."""
        return OPEN_HERE if self._team is None else OPEN_AWAY

    async def keep(self) -> None:
        """What goes on beside the rows: it never outlives the run."""
        works = [one.keep() for one in (self._fleet, self._team) if one is not None]
        await asyncio.gather(*works, self._keep_hold())

    async def _keep_hold(self) -> None:
        """Send nothing more once the hold on an output in a bucket may be another's."""
        while self._replica is not None:
            self._admission.valid_until = self._replica.hold.until
            await self._clock.sleep(HOLD_LOOK_S)

    def halted(self) -> None:
        """The run has ended for calls that are not in flight: whom that concerns is told."""
        if self._team is not None:
            self._team.halt()
        if self._fleet is not None and self._admission.termination is not None:
            self._fleet.tell(self._admission.termination)

    def give_up(self) -> None:
        """Calls in flight elsewhere are given up too."""
        if self._team is not None:
            self._team.halt_at_once()

    def begin_anew(self) -> None:
        """After a wait: what was told before means nothing any more, and one call goes alone."""
        for one in (self._fleet, self._team):
            if one is not None:
                one.begin_anew()

    async def aclose(self) -> None:
        for one in (self._fleet, self._team):
            if one is not None:
                await one.aclose()
