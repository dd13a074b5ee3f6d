"""Background: what goes on beside a run's rows: limits shared with other runs, the runner's workers, the lease of a
bucket.
"""

from __future__ import annotations

import asyncio
import logging

from rowmill.tasks.gateway.admission.gate import Gate
from rowmill.tasks.gateway.admission.membership import Membership, join_fleet
from rowmill.tasks.gateway.admission.traffic import Traffic, traffic_at
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.run.run_plan import RunPlan
from rowmill.tasks.run.runner import Runner
from rowmill.tasks.system.clock import Clock

log = logging.getLogger("rowmill")
LEASE_LOOK_S = 1.0
DEADLINE_LOOK_S = 60.0


class Background:
    """One run's dealings with other machines. A run that has none of them asks here and is told so."""

    def __init__(self, gate: Gate, runner: Runner, mirror: Mirror | None, *, clock: Clock) -> None:
        self._gate, self._runner, self._mirror, self._clock = gate, runner, mirror, clock
        self._membership: Membership | None = None
        # An answer that is paid for must not be lost with this machine.
        gate.holds_until_stored = mirror is not None

    async def share_limits(self, plan: RunPlan) -> None:
        """Share the key's limits, where the job says so. Raises JobError where no store is named or answers."""
        limits, gateway = plan.job.limits, plan.gateway
        if limits.shared and plan.options.sandbox and gateway.redis_url is None:
            log.warning("ROWMILL_REDIS_URL is not set: against the sandbox this run goes by its limits alone")
        elif limits.shared:
            self._membership = await join_fleet(
                limits, gateway, plan.model, gate=self._gate, traffic=self.traffic, take_share=self._take_share
            )

    def _take_share(self, rpm: float, tpm: float) -> None:
        self._runner.take_share(rpm, tpm)
        self._gate.take_share(rpm, tpm)

    def traffic(self) -> Traffic:
        """What passes to the gateway now, from here or from workers elsewhere."""
        return self._runner.traffic() or traffic_at(self._gate, self._clock.now())

    async def heartbeat(self) -> None:
        """What goes on beside the rows: it never outlives the run."""
        works = [self._runner.heartbeat(), self._watch_lease(), self._watch_deadline()]
        works += [shared.keep() for shared in self._gate.shared_budgets]
        if self._membership is not None:
            works.append(self._membership.keep())
        await asyncio.gather(*works)

    async def _watch_lease(self) -> None:
        """Send nothing more once the output's lease in a bucket may be another's."""
        while self._mirror is not None:
            self._gate.valid_until = self._mirror.hold.until
            await self._clock.sleep(LEASE_LOOK_S)

    async def _watch_deadline(self) -> None:
        """End the run at its deadline, also where everything waits for something else."""
        while (deadline := self._gate.deadline) is not None and not self._gate.end_if_late():
            # In pieces: the wall clock may be set meanwhile.
            await self._clock.sleep(min(DEADLINE_LOOK_S, deadline.at - self._clock.wall()))

    def halted(self) -> None:
        """The run has ended for calls that are not in flight: whom that concerns is told."""
        self._runner.halt()
        if self._membership is not None and self._gate.termination is not None:
            self._membership.tell(self._gate.termination)

    def give_up(self) -> None:
        """Calls in flight elsewhere are given up too."""
        self._runner.force_halt()

    def reset(self) -> None:
        """After a wait: what was told before means nothing any more, and one call goes alone."""
        self._runner.reset()
        if self._membership is not None:
            self._membership.reset()

    async def aclose(self) -> None:
        await self._runner.aclose()
        if self._membership is not None:
            await self._membership.aclose()
