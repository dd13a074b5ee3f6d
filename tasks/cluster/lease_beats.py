"""Lease beats: what the holder of a lease hears of its coordinator once a second, and says of itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from rowmill.tasks.cluster.mailbox import BEAT_S, GRANTS, Heartbeat, LeaseGrants, Mailbox, Quota
from rowmill.tasks.cluster.messages import ShardWork
from rowmill.tasks.gateway.admission.gate import Gate
from rowmill.tasks.gateway.admission.traffic import traffic_at
from rowmill.tasks.run.progress import Progress
from rowmill.tasks.run.shard_runner import ShardRun
from rowmill.tasks.system.clock import Clock

# Grants are read some seconds after they were written; what two clocks differ by beyond that is a difference.
SKEW_S = 5.0


class LeaseBeats:
    """The beats of one lease: by the coordinator's the gate goes, and a new one keeps the lease."""

    def __init__(
        self, work: ShardWork, mailbox: Mailbox, gate: Gate, *, runs: ShardRun, progress: Progress, clock: Clock
    ) -> None:
        self._work, self._mailbox, self._clock = work, mailbox, clock
        self._gate, self._runs, self._progress = gate, runs, progress
        # Whether what a kill would take with it is bounded: in a folder it takes nothing.
        self._is_bounded = work.address is None
        self._is_verified = False
        # How far this machine's clock is ahead of the coordinator's; what grants tell of it is too much by their age.
        self._ahead_s = float("inf")
        self._quota = Quota()
        self._heard: int | None = None
        self._said = 0

    async def keep(self) -> None:
        """Say how it goes and hear the coordinator, for as long as the lease is held."""
        while True:
            told = self._told()
            with suppress(OSError):
                # The journal tells of a disk that refuses; without a word of ours the coordinator takes the shard back.
                await asyncio.to_thread(self._mailbox.post, self._work.token, told)
            await asyncio.sleep(BEAT_S)
            if (grants := await asyncio.to_thread(self._mailbox.read, GRANTS, LeaseGrants)) is not None:
                self.apply(grants)

    def apply(self, grants: LeaseGrants) -> None:
        """Go by the coordinator's orders; a beat that is new keeps the lease."""
        if grants.run != self._work.run_id or grants.beat == self._heard:
            return
        self._heard = grants.beat
        quota = grants.leases.get(self._work.token)
        if quota is not None:
            self._gate.valid_until = self._clock.now() + self._mailbox.lease_s
            self._gate.take_share(quota.rpm, quota.tpm)
            self._gate.take_quota(quota.concurrency, quota.usd)
            self._quota = quota
        self._keep_deadline(grants.at)
        self._is_verified = self._is_verified or grants.verified
        self._verify()
        if grants.halt is not None:
            self._gate.halt(grants.halt)
        if grants.force:
            self._runs.cancel_all()

    def _keep_deadline(self, told_at: float) -> None:
        """Go by the run's deadline as its coordinator's clock has it, where this machine's is another."""
        self._ahead_s = min(self._ahead_s, self._clock.wall() - told_at)
        if (deadline := self._work.deadline) is not None:
            shift_s = self._ahead_s if abs(self._ahead_s) > SKEW_S else 0.0
            self._gate.deadline = replace(deadline, at=deadline.at + shift_s)

    def first_piece_stored(self) -> None:
        """An intent of this lease stands in the bucket: by it the coordinator bounds calls that nobody hears of any
        more, so they may go together.
        """
        self._is_bounded = True
        self._verify()

    def _verify(self) -> None:
        if self._is_verified and self._is_bounded:
            self._gate.verify()

    def _told(self) -> Heartbeat:
        """How it goes. What is held counts as ours until it is spent or given back."""
        gate, progress = self._gate, self._progress
        budget, held = gate.budget, self._quota
        spent = budget.spent + budget.reserved
        self._said += 1
        return Heartbeat(
            self._said,
            Quota(
                held.rpm,
                held.tpm,
                max(held.concurrency, gate.in_flight),
                None if held.usd is None else max(held.usd, spent),
            ),
            traffic_at(gate, self._clock.now()),
            progress.settled,
            progress.not_ok - progress.not_ok_before,
            progress.usd - progress.usd_before,
            spent,
            budget.short,
            gate.verified,
            gate.termination,
        )
