"""Worker pool: shards given to the workers of one run, one lease each; shards of lost workers are taken up again."""

from __future__ import annotations

import asyncio
import itertools
import logging
from dataclasses import replace
from pathlib import Path

from rowmill.schemas.errors import JobError
from rowmill.schemas.row import Shard
from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.tasks.cluster.backends.backend import Engine, EngineLost, WorkerLost
from rowmill.tasks.cluster.lease_table import Lease, LeaseTable
from rowmill.tasks.cluster.mailbox import BEAT_S, GRANTS, Heartbeat, LeaseGrants
from rowmill.tasks.cluster.messages import Report, ShardWork, packed
from rowmill.tasks.cluster.roster import START_S, Roster
from rowmill.tasks.cluster.shared_output import SharedOutput
from rowmill.tasks.cluster.worker_segments import assume_in_flight, bound_of
from rowmill.tasks.gateway.admission.gate import Gate
from rowmill.tasks.gateway.admission.halts import DEFECT, LEASE_ENDED, RUN_AGAIN, refused_storage
from rowmill.tasks.gateway.admission.traffic import Traffic, together
from rowmill.tasks.journal.group_commit import refused
from rowmill.tasks.output.layout import Layout
from rowmill.tasks.run.open_shard import Remaining
from rowmill.tasks.run.progress import Elsewhere, Progress
from rowmill.tasks.system.clock import Clock

log = logging.getLogger("rowmill")
# A worker that says nothing for so long is taken as lost, whatever the engine thinks.
SILENT_S = 15.0
# The same for a run that is given up at once.
GIVEN_UP_S = 5.0
TRIES = 3
# Workers that are heard at a time.
READ_AT_ONCE = 32
# Without a worker for so long, the run ends.
NO_WORKERS_S = 60.0
# Beats between looks for workers that came, while rows wait for one.
LOOK_AROUND = 5
WORKERS_HINT = "Look at the workers' logs and memory, then run the same command again"


class WorkerPool:
    """Gives shards to workers, one lease each, and keeps what they use together within the run's limits and cap."""

    def __init__(
        self,
        engine: Engine,
        layout: Layout,
        shared: SharedOutput,
        *,
        work: ShardWork,
        gate: Gate,
        progress: Progress,
        clock: Clock,
    ) -> None:
        """`work` is what all shards have in common; each is given with its own rows and lease."""
        self._engine, self._layout, self._work = engine, layout, work
        self._shared, self._mailbox = shared, shared.mailbox
        self._gate, self._progress, self._clock = gate, progress, clock
        limits = work.job.limits
        self._concurrency = limits.concurrency
        self._table = LeaseTable(gate, concurrency=limits.concurrency, rpm=limits.rpm or 0.0, tpm=limits.tpm or 0.0)
        self._leases = self._table.leases
        self._roster = Roster(engine, lambda: packed(self._work), clock)
        # What the holders of ended leases said last whose journals are still being taken over.
        self._adopting: dict[str, Heartbeat | None] = {}
        self._numbers = itertools.count(1)
        self._beat = 0
        # The same, and those whose journals are taken over.
        self.expected = 0
        self._force = False
        self._noticing: asyncio.Task[None] | None = None
        self._posting, self._reading = asyncio.Lock(), asyncio.Semaphore(READ_AT_ONCE)
        # The most that a call of a lost worker could cost, in 10⁻¹² USD.
        self._dearest_usd = 0
        self._verified = False
        self._looking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._looking.set_result(None)
        # Leases, workers, or the end of the run.
        self._changed = asyncio.Condition()

    async def open(self) -> int:
        """Post the first grants and see who can work. Returns how many can.

        Raises JobError where no worker can, or none is there in time: nothing was sent yet.
        """
        await asyncio.to_thread(self._mailbox.open)
        if self._gate.daily is not None:
            self._gate.daily.serves_workers(self._table.with_workers)
        await self._post()
        try:
            await self._roster.wait_for_first()
        except EngineLost as error:
            raise JobError(
                f"its workers cannot be asked: {error}", where=self._engine.address, hint="look at its workers"
            ) from None
        if not self._roster.fit:
            told = "; ".join(f"worker {name}: {reason}" for name, reason in sorted(self._roster.refused.items()))
            raise JobError(
                f"no worker can work for this run: {told}" if told else "the scheduler has no workers",
                where=self._engine.address,
                hint="mend or start its workers, and run again",
            )
        return len(self._roster.fit)

    async def ask(self, shard: Shard, left: Remaining) -> None:
        """Have these rows asked; their journal is the shard's own afterwards. Where the run ends first, some are left.

        Raises StorageError, DamageError.
        """
        try:
            for _ in range(TRIES):
                if (why := await self._asked(shard, left)) is None:
                    return
            told = f"rows {shard.first_row} to {shard.last_row} failed {TRIES} workers, the last because {why}"
            self._halt("workers", told, WORKERS_HINT)
        except EngineLost as error:
            self._give_up(error)
        except Exception:
            self._gate.halt(DEFECT)
            raise

    async def _asked(self, shard: Shard, left: Remaining) -> str | None:
        """Give the shard to a worker once; why another has to take it up, None where that is over.

        Raises as `ask`, and EngineLost.
        """
        work = replace(self._work, shard=shard, ranges=tuple(left.ranges))
        # Before there is a lease: what it takes is not taken from a free worker's time.
        work = await asyncio.to_thread(self._shared.lend, work)
        if (token := await self._leased(shard)) is None:
            return None
        work = replace(work, token=token, begins_wide=self._work.begins_wide, window=self._work.window)
        try:
            report = await self._report_of(work)
        except WorkerLost as error:
            return await self._take_back(work, str(error))
        except EngineLost as error:
            self._give_up(error)
            await self._take_back(work, "its engine is gone")
            return None
        if report.taken:
            return await self._take_back(work, "it is gone, and the engine gave its work to another")
        if report.refused is not None:
            await self._end(token, await self._adopted_unheard(work))
            log.warning("%s of %s is not used: %s", report.worker, self._engine.address, report.refused)
            await self._roster.look_around()
            return report.refused
        self._verified = self._verified or report.verified
        if report.verified:
            # How many calls the gateway bears is not felt out anew with each shard.
            self._work = replace(self._work, begins_wide=True, window=report.window)
        if report.halt is not None and report.halt.code != LEASE_ENDED.code:
            self._gate.halt(report.halt)
        if not report.whole:
            await self._end(token, await self._adopted_unheard(work, in_flight=self._leases[token].held.concurrency))
            return None
        # No call of its is in flight: it is free for the next shard while the journal of this one is taken over.
        self._adopting[token] = self._leases[token].told
        await self._end(token, report.spent)
        await self._adopted(work)
        del self._adopting[token]
        self._show()
        return report.halt.message if report.halt is not None and self._gate.termination is None else None

    async def _adopted(self, work: ShardWork) -> None:
        """Take over the journal of a lease that its holder has ended. Raises StorageError, DamageError."""
        if (away := await asyncio.to_thread(self._shared.fetch, work)) is not None:
            await asyncio.to_thread(self._shared.adopt, away, closed=True)

    async def _adopted_unheard(self, work: ShardWork, *, in_flight: int = 0) -> int:
        """The same for a holder that was stopped midway and does not know what it has spent: that, in 10⁻¹² USD, with
        as many calls as it may have had in flight whose answers it could not put into the bucket.
        """
        if (away := await asyncio.to_thread(self._shared.fetch, work)) is None:
            return 0
        if in_flight and work.address is not None:
            self._dearest_usd = await asyncio.to_thread(assume_in_flight, away, in_flight, self._dearest_usd)
        spent = await self._spent_by(away, work.shard)
        await asyncio.to_thread(self._shared.adopt, away, closed=True)
        return spent

    async def _leased(self, shard: Shard) -> str | None:
        """A lease as soon as a worker is free for it; None where the run ends before.

        Until a call has shown that key, address and model are right, there is one lease at a time.
        """
        async with self._changed:
            await self._changed.wait_for(self._may_lease)
            if self._gate.termination is not None:
                return None
            token = f"{self._work.run_id}_{next(self._numbers)}"
            self._leases[token] = Lease(shard, heard_at=self._clock.now())
            await self._give_out()
            return token

    def _may_lease(self) -> bool:
        most = len(self._roster.fit) if self._verified else 1
        return self._gate.termination is not None or len(self._leases) < min(most, self._concurrency)

    async def _report_of(self, work: ShardWork) -> Report:
        """Raises WorkerLost for a worker that is gone or not heard, EngineLost."""
        lease = self._leases[work.token]
        asking = asyncio.create_task(self._engine.settle(packed(work), self._roster.fit))
        try:
            while not asking.done():
                await asyncio.wait([asking], timeout=BEAT_S)
                silent = self._clock.now() - lease.heard_at
                # One that has said nothing yet may wait for other work of its cluster to end.
                most = GIVEN_UP_S if self._force else START_S if lease.told is None else SILENT_S
                if silent > most and not asking.done():
                    raise WorkerLost(f"not heard for {silent:.0f} s")
            return asking.result()
        finally:
            asking.cancel()

    async def _take_back(self, work: ShardWork, why: str) -> str:
        """End a lease whose holder is lost: no orders for it any more, and nobody else gets the rows until, wherever
        the holder is, it has ended by the holder's own clock.
        """
        lease = self._leases[work.token]
        first, last = lease.shard.first_row, lease.shard.last_row
        log.warning("the worker of rows %d to %d is lost: %s; what it settled is taken over", first, last, why)
        lease.is_revoked = True
        await self._give_out()
        if self._force:
            # The next run waits for its end.
            return why
        await self._clock.sleep(self._mailbox.ended_s)
        spent = 0
        if (away := await asyncio.to_thread(self._shared.fetch, work)) is not None:
            if work.address is not None:
                in_flight = lease.held.concurrency
                self._dearest_usd = await asyncio.to_thread(assume_in_flight, away, in_flight, self._dearest_usd)
            spent = await self._spent_by(away, lease.shard)
            await asyncio.to_thread(self._shared.adopt, away, closed=False)
        await self._end(work.token, spent)
        if self._gate.termination is None:
            await self._roster.look_around()
        return why

    async def _spent_by(self, away: Path, shard: Shard) -> int:
        """What a lease has cost or may have, by its journal, in 10⁻¹² USD."""
        own = self._layout.segment_path(shard.number)
        return await asyncio.to_thread(lambda: bound_of(away) - bound_of(own))

    async def _end(self, token: str, spent: int) -> None:
        """A lease is over, and what it cost is known. Where the next one waits for its worker, the grants are posted
        with that.
        """
        async with self._changed:
            del self._leases[token]
            self._gate.budget.settle(0, spent)
            if self._wanted <= len(self._leases):
                await self._give_out()
            self._changed.notify_all()

    @property
    def _wanted(self) -> int:
        """Shards that workers have, or will be asked for soon."""
        return self.expected - len(self._adopting)

    async def keep(self) -> None:
        """Hear the workers and give new orders once a second, as long as the run lives."""
        while True:
            await self._clock.sleep(BEAT_S)
            leases = list(self._leases.items())
            heard = await asyncio.gather(*(self._read(token) for token, _ in leases))
            for (_, lease), told in zip(leases, heard, strict=True):
                if told is not None and (lease.told is None or told.beat != lease.told.beat):
                    lease.told, lease.heard_at = told, self._clock.now()
                    self._verified = self._verified or told.verified
                    if told.halt is not None and told.halt.code != LEASE_ENDED.code:
                        self._gate.halt(told.halt)
            async with self._changed:
                self._beat += 1
                await self._give_out()
                self._changed.notify_all()
            if self._wanted > len(self._leases) and self._beat % LOOK_AROUND == 0 and self._looking.done():
                # Beside the beats: a worker that hangs takes its time to be asked, and the leases of all hang on these.
                self._looking = asyncio.create_task(self._see_who_came())

    async def _read(self, token: str) -> Heartbeat | None:
        async with self._reading:
            return await asyncio.to_thread(self._mailbox.read, token, Heartbeat)

    async def _see_who_came(self) -> None:
        """Workers come and go; where nobody has come for long the run ends."""
        try:
            await self._roster.look_around()
        except EngineLost as error:
            self._give_up(error)
        if self._roster.empty_s(works=bool(self._leases)) >= NO_WORKERS_S:
            self._halt("workers", f"{self._engine.address} has had no worker for {NO_WORKERS_S:g} s", WORKERS_HINT)

    def _give_up(self, error: EngineLost) -> None:
        self._halt("scheduler", f"{self._engine.address} does not answer any more: {error}", RUN_AGAIN)

    async def _give_out(self) -> None:
        """Divide limits and cap anew, and post the grants."""
        self._table.divide(min(self._wanted, len(self._roster.fit)))
        self._show()
        await self._post()

    def _show(self) -> None:
        """What workers have settled that is not in a journal here yet."""
        told = [*(lease.told for lease in self._leases.values()), *self._adopting.values()]
        live = [one for one in told if one is not None]
        self._progress.away = Elsewhere(
            sum(one.settled for one in live), sum(one.not_ok for one in live), sum(one.usd for one in live)
        )

    async def _post(self) -> None:
        try:
            # One after the other, each as things are when its turn comes.
            async with self._posting:
                await asyncio.to_thread(self._mailbox.post, GRANTS, self._grants())
        except OSError as error:
            # Without new orders the leases end by themselves.
            self._gate.halt(refused_storage(refused(self._layout.journal, error)))

    def _grants(self) -> LeaseGrants:
        quotas, halt = self._table.quotas(), self._gate.termination
        return LeaseGrants(self._work.run_id, self._beat, quotas, self._verified, halt, self._force, self._clock.wall())

    def take_share(self, rpm: float, tpm: float) -> None:
        """Go by these shares of the key's limits from the next orders on."""
        self._table.take_share(rpm, tpm)

    def halt(self) -> None:
        """The run has ended: tell the workers now."""
        self._beat += 1
        self._noticing = asyncio.create_task(self._notice())

    async def _notice(self) -> None:
        await self._post()
        async with self._changed:
            self._changed.notify_all()

    def force_halt(self) -> None:
        """Have calls in flight given up too."""
        self._force = True
        self.halt()

    def reset(self) -> None:
        """After a wait: one worker goes alone until a call has shown that the gateway takes it."""
        self._verified = False
        self._work = replace(self._work, begins_wide=False, window=None)

    def _halt(self, code: str, message: str, hint: str) -> None:
        self._gate.halt(Termination(TerminationKind.INTERRUPTED, code, message, hint))

    def traffic(self) -> Traffic | None:
        """What all workers do together; None while none of them has said anything."""
        told = [lease.told.traffic for lease in self._leases.values() if lease.told is not None]
        return together(told) if told else None

    async def aclose(self) -> None:
        """Let go of the engine. The board stays where a worker was not heard to the end: the next run waits for it."""
        self._looking.cancel()
        if self._noticing is not None:
            await asyncio.gather(self._noticing, return_exceptions=True)
        if not self._leases and not self._adopting:
            await asyncio.to_thread(self._mailbox.close)
            await asyncio.to_thread(self._shared.sweep)
        await self._engine.aclose()
