"""Shared budget: one run's part of money that several runs may spend together.

A run reserves its part in pieces before it spends it. Within its part a call goes by the same rule as under a cap: what
is spent, the worst case of all in flight and its own worst case must fit. So the sum is never passed, whoever comes,
goes or dies, and the store is asked once for many calls.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable

from rowmill.schemas.errors import first_line
from rowmill.schemas.price import short_usd
from rowmill.schemas.termination import Termination
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.budget_store import BudgetStore, Reserved, store_away
from rowmill.tasks.system.clock import Clock

log = logging.getLogger("rowmill")
# 10⁻¹² USD in a unit of the store.
UNIT = 1_000
KEEP_S = 1.0


class SharedBudget(ABC):
    """One run's part. Amounts in 10⁻¹² USD; the store rounds them up to 10⁻⁹.

    The money is that of a `period` (a day, or one that never ends), of which the run's part stands in the store under
    `member`. What the run's budget had spent before counts elsewhere: `begin`.
    """

    # What calls wait for, and the budget's name among those that a run has a part of.
    kind: str
    # The job's key that asks for it.
    key: str

    def __init__(
        self,
        store: BudgetStore,
        budget: Budget,
        *,
        name: str,
        limit: int,
        member: str,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        """`limit` is all of the money, in 10⁻¹² USD; `wake` is called when more was granted or refused."""
        self._store, self._budget, self._clock, self._wake = store, budget, clock, wake
        self.name, self.member = name, member
        self._limit = limit // UNIT
        # What may be spent by others who have a part of the run's money: workers elsewhere.
        self._elsewhere: Callable[[], int] = lambda: 0
        self._period, self._begin = "", 0
        self._own, self._others = 0, 0
        # Periods that have ended, with what this run spent in each.
        self._ended: list[tuple[str, int]] = []
        self._asking: asyncio.Task[None] | None = None
        # What was used when more was refused, and for which worst case: only a smaller call, or another sum, is worth
        # another question.
        self._refused: tuple[int, int] | None = None
        self._lost: str | None = None
        self._grant(0)

    @abstractmethod
    def follow(self) -> None:
        """Where another period has begun nothing of it is granted yet. Raises StorageError."""

    @property
    @abstractmethod
    def _piece(self) -> int:
        """How much to reserve beyond what is needed, in units of the store."""

    @abstractmethod
    def spent_up(self, worst: int) -> Termination:
        """How a run ends whose next call the money does not cover."""

    async def _open(self) -> None:
        """Ask for the first time. Raises JobError where the store does not answer: nothing was sent yet."""
        await self._ask(0, 0)
        if self._lost is not None:
            await self._refuse(OSError(self._lost))

    async def _refuse(self, error: Exception) -> None:
        """Raises JobError."""
        await self._store.close()
        raise store_away(self._store, error, self.key) from None

    @property
    def _used(self) -> int:
        """Of the money: spent, in flight at its worst, or in the hands of workers elsewhere."""
        return self._budget.spent + self._budget.reserved + self._elsewhere() - self._begin

    def _grant(self, units: int) -> None:
        self._own = units
        self._budget.grants[self.kind] = (self._begin + units * UNIT) if self._period else self._budget.spent

    def fits(self, worst: int) -> bool:
        """Whether a call of this worst case fits what is granted."""
        return self._budget.spent + self._budget.reserved + worst <= self._budget.grants[self.kind]

    # More of it.

    def widens(self, worst: int) -> bool:
        """Whether more is being asked for, so that a call of this worst case may wait for the answer."""
        if self._asking is not None and not self._asking.done():
            return True
        used, least = self._refused or (None, 0)
        if (used == self._used and worst >= least) or self._lost is not None:
            return False
        self._asking = asyncio.create_task(self._widen(worst))
        return True

    def widens_ahead(self, spent: int) -> None:
        """Ask for another piece where less than one is left of what is granted; `spent` wherever it was."""
        if self._budget.grants[self.kind] - spent < self._piece * UNIT:
            self.widens(1)

    async def _widen(self, worst: int) -> None:
        period, used = self._period, self._used
        needed = units(used + worst)
        await self._ask(needed + self._piece, needed)
        if self._own < needed and period == self._period:
            self._refused = (used, worst)
        # Not from within: whoever waits may ask again.
        asyncio.get_running_loop().call_soon(self._wake)

    async def _ask(self, wanted: int, least: int) -> None:
        """Reserve, and close the periods that have ended. A store that is away leaves what is granted."""
        period = self._period
        try:
            while self._ended:
                ended, used = self._ended[0]
                await self._store.settle(ended, self.member, units(used))
                self._ended.pop(0)
            told = await self._store.reserve(
                period, self.member, wanted=wanted, least=least, limit=self._limit, held=self._own
            )
        except Exception as error:
            self._lose(first_line(error) or type(error).__name__)
            return
        self._take(told, period)

    def _take(self, told: Reserved, period: str) -> None:
        """What the store says of a period, unless that has ended meanwhile."""
        if period != self._period:
            return
        if told.forgot:
            self._lose("it has forgotten what was spent")
        self._others = told.others
        self._grant(told.own)

    def _lose(self, why: str) -> None:
        if self._lost is None:
            log.warning(
                "%s: the store of budget %s is lost (%s); this run goes on with the %s that it has reserved",
                self._store.where, self.name, why, short_usd(self._own * UNIT),
            )  # fmt: skip
        self._lost = why

    async def keep(self) -> None:
        """Give back what is idle, and tell of a bill that was higher than it could be, as long as the run lives."""
        while True:
            await self._clock.sleep(KEEP_S)
            if self._asking is not None and not self._asking.done():
                continue
            used = units(self._used)
            if self._lost is None and (used > self._own or self._own - used > 2 * self._piece):
                self._asking = asyncio.create_task(self._hold(used if used > self._own else used + self._piece))

    async def _hold(self, own: int) -> None:
        """Hold so much from this moment on: what is given back may be another's at once."""
        period = self._period
        self._grant(own)
        try:
            self._take(await self._store.settle(period, self.member, own), period)
        except Exception as error:
            self._lose(first_line(error) or type(error).__name__)
        asyncio.get_running_loop().call_soon(self._wake)

    # The end.

    async def aclose(self) -> None:
        """Give back what was not spent. Where the store is away, the next run of the same output does."""
        if self._asking is not None:
            await asyncio.wait([self._asking])
        try:
            for period, used in [*self._ended, (self._period, self._used)]:
                await self._store.settle(period, self.member, units(used))
            self._given_back()
        except Exception as error:
            log.warning(
                "%s: what is left of budget %s could not be given back (%s); the next run of this output does",
                self._store.where, self.name, first_line(error) or type(error).__name__,
            )  # fmt: skip
        finally:
            await self._store.close()

    @abstractmethod
    def _given_back(self) -> None:
        """The store knows what the run has spent, and the run has ended. Raises StorageError."""


def units(pico: int) -> int:
    return -(-pico // UNIT)
