"""Fleet run: how one run takes part in the limits that all runs of its key share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rowmill.schemas.catalogue import Model
from rowmill.schemas.errors import JobError
from rowmill.schemas.job_sections import Limits
from rowmill.schemas.termination import Termination
from rowmill.tasks.gateway.admission.gate import Gate
from rowmill.tasks.gateway.admission.shared_limits import Seat, Share, address_of, group_of, open_store
from rowmill.tasks.gateway.admission.traffic import Traffic
from rowmill.tasks.gateway.credentials import Gateway

# A run that its share does not hold back asks for so much more than it uses, and a little of the whole to begin with.
MORE, LITTLE = 1.3, 0.02


class Membership:
    """One run among all of its key: it goes by its share, tells what stops everyone, and stops when it is told."""

    def __init__(
        self,
        url: str,
        group: str,
        limits: Limits,
        *,
        gate: Gate,
        traffic: Callable[[], Traffic],
        take_share: Callable[[float, float], None],
    ) -> None:
        """Raises JobError where the address is none."""
        self._traffic, self._take_share = traffic, take_share
        self._whole = Share(limits.rpm or 0.0, limits.tpm or 0.0)
        self._gate = gate
        self._seat = Seat(
            open_store(url, group),
            self._whole,
            address_of(url),
            wants=self._wanted,
            apply=self._apply,
            on_halt=self._on_halt,
        )
        self._halted_by_another = False
        self._telling: asyncio.Task[None] | None = None

    async def join(self) -> None:
        """Raises JobError, naming the address, where the store cannot be used."""
        await self._seat.take()

    def _wanted(self) -> Share:
        """All there is while the limits hold calls back; else a little more than what is used."""
        whole = self._whole
        seen = self._traffic()
        if seen.waiting_for == "rate limit" or (seen.waiting_for is None and not seen.in_flight):
            return whole
        return Share(
            min(whole.rpm, MORE * seen.calls + LITTLE * whole.rpm),
            min(whole.tpm, MORE * seen.tokens + LITTLE * whole.tpm),
        )

    def _apply(self, share: Share) -> None:
        self._take_share(share.rpm, share.tpm)

    def _on_halt(self, told: Termination) -> None:
        """Another run of this key met what stops this one too."""
        self._halted_by_another = True
        self._gate.halt(told)

    def tell(self, halt: Termination) -> None:
        """This run has stopped: the others may have to."""
        if not self._halted_by_another:
            self._telling = asyncio.create_task(self._seat.tell(halt))

    def reset(self) -> None:
        """After a wait: what was told before means nothing any more."""
        self._halted_by_another = False
        self._seat.reset()

    async def keep(self) -> None:
        """Beat for as long as the run lives."""
        await self._seat.keep()

    async def aclose(self) -> None:
        if self._telling is not None:
            await asyncio.wait([self._telling])
        await self._seat.aclose()


async def join_fleet(
    limits: Limits,
    gateway: Gateway,
    model: Model,
    *,
    gate: Gate,
    traffic: Callable[[], Traffic],
    take_share: Callable[[float, float], None],
) -> Membership:
    """Raises JobError where no store is named, or where it cannot be used: nothing was sent yet."""
    if gateway.redis_url is None:
        raise JobError(
            "limits.shared needs a store that all runs of the key reach",
            where="ROWMILL_REDIS_URL",
            hint="set it to redis://host:6379, or take limits.shared out: each run then goes by rpm and tpm alone",
        )
    group = group_of(model.base_url or gateway.base_url, gateway.api_key)
    run = Membership(gateway.redis_url, group, limits, gate=gate, traffic=traffic, take_share=take_share)
    await run.join()
    return run
