"""Roster: the workers of a cluster, and which of them can work for a run."""

from __future__ import annotations

import logging
from collections.abc import Callable

from rowmill.tasks.cluster.backends.backend import STARTING, Engine
from rowmill.tasks.cluster.mailbox import BEAT_S
from rowmill.tasks.cluster.messages import Parcel
from rowmill.tasks.system.clock import Clock

log = logging.getLogger("rowmill")
# How long workers may take to import what they need, and a scheduler may have none at all, before the first call; and
# how often it is said what is waited for.
START_S, FIRST_WORKER_S, SAY_S = 120.0, 30.0, 10.0


class Roster:
    """Names of workers: `fit` those that can work, `refused` why the others cannot."""

    def __init__(self, engine: Engine, parcel: Callable[[], Parcel], clock: Clock) -> None:
        """`parcel` gives what a worker is to be fit for."""
        self._engine, self._parcel, self._clock = engine, parcel, clock
        self.fit: list[str] = []
        self.refused: dict[str, str] = {}
        self._starting: set[str] = set()
        self._empty_since: float | None = None

    async def look_around(self) -> None:
        """Who is there, and who of them can work. Raises EngineLost."""
        told = await self._engine.fitness(self._parcel())
        self.fit = sorted(name for name, reason in told.items() if reason is None)
        self._starting = {name for name, reason in told.items() if reason == STARTING}
        for name, reason in sorted(told.items()):
            if reason is not None and name not in self._starting and self.refused.get(name) != reason:
                log.warning("worker %s of %s is not used: %s", name, self._engine.address, reason)
        self.refused = {name: reason for name, reason in told.items() if reason is not None}

    async def wait_for_first(self) -> None:
        """Until one can work, or none of those that are there will. Those that are importing are alive; a scheduler
        without any may have been started just now. Raises EngineLost.
        """
        began, said = self._clock.now(), 0
        while True:
            await self.look_around()
            waited = self._clock.now() - began
            if self.fit or waited >= (START_S if self._starting else FIRST_WORKER_S if not self.refused else 0.0):
                return
            if waited >= SAY_S * said:
                what = (
                    f"{len(self._starting)} workers that are importing rowmill" if self._starting else "a first worker"
                )
                log.warning("%s: waiting for %s", self._engine.address, what)
                said += 1
            await self._clock.sleep(BEAT_S)

    def empty_s(self, *, works: bool) -> float:
        """Seconds since it was seen for the first time that nobody can work; 0 where somebody can, or `works` now."""
        if self.fit or works:
            self._empty_since = None
            return 0.0
        if self._empty_since is None:
            self._empty_since = self._clock.now()
        return self._clock.now() - self._empty_since
