"""Daily budget: one run's part of the money that all runs which name a budget may spend in a day.

A run reserves its part in pieces before it spends it. Within its part a call goes by the same rule as under a cap: what
is spent, the worst case of all in flight and its own worst case must fit. So the day's sum is never passed, whoever
comes, goes or dies, and the store is asked once for many calls. A call counts in the day in which it was admitted, one
that is in flight at midnight in both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import time
from typing import Any

from rowmill.schemas.errors import first_line
from rowmill.schemas.manifest import Termination, TerminationKind
from rowmill.schemas.price import decimal_string, parse_amount, short_usd
from rowmill.schemas.safeguards import BudgetPerDay
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.budget_store import BudgetStore, Reserved, store_away
from rowmill.tasks.gateway.admission.halts import RUN_AGAIN
from rowmill.tasks.system.clock import Clock
from rowmill.tasks.system.local_time import day_at, next_time_of_day, shown

log = logging.getLogger("rowmill")
# 10⁻¹² USD in a unit of the store.
UNIT = 1_000
# A piece is this share of a day's money; what is idle beyond two pieces is given back.
PIECE, PIECE_OF_WORKERS = 64, 8
KEEP_S = 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """What stands in the output while its run has a part of a day: enough to tell later what it spent of it.

    `begin_usd` is what the output had cost when the day began for the run, in 10⁻¹² USD.
    """

    name: str
    day: str
    run: str
    begin_usd: int


class DailyBudget:
    """One run's part of a day. Amounts in 10⁻¹² USD; the store rounds them up to 10⁻⁹."""

    def __init__(
        self,
        store: BudgetStore,
        told: BudgetPerDay,
        budget: Budget,
        *,
        run_id: str,
        zone: str,
        clock: Clock,
        publish: Callable[[Part | None], None],
        wake: Callable[[], None],
    ) -> None:
        """`publish` keeps the part in the output, None where the run has none any more; `wake` is called when more was
        granted or refused.
        """
        self._store, self._budget, self._run_id, self._clock = store, budget, run_id, clock
        self._publish, self._wake = publish, wake
        self.name, self.zone = told.name, zone
        self._limit = parse_amount(str(told.usd_per_day)) // UNIT
        self._piece = max(1, self._limit // PIECE)
        # What may be spent by others who have a part of the run's money: workers elsewhere.
        self._elsewhere: Callable[[], int] = lambda: 0
        self._part = Part(self.name, "", run_id, 0)
        self._turns_at = float("-inf")
        self._own, self._others = 0, 0
        # Days that have ended, with what this run spent in each.
        self._ended: list[tuple[str, int]] = []
        self._asking: asyncio.Task[None] | None = None
        # What was used when more was refused, and for which worst case: only a smaller call, or another sum, is worth
        # another question.
        self._refused: tuple[int, int] | None = None
        self._lost: str | None = None
        budget.granted = budget.spent

    async def open(self, before: Part | None) -> None:
        """Tell what the output's last run has spent, where it could not; and see that the store answers.

        Raises JobError where it does not, or counts other days: nothing was sent yet.
        """
        try:
            if before is not None and before.name == self.name:
                spent = max(0, self._budget.spent - before.begin_usd)
                await self._store.settle(before.day, before.run, _units(spent))
            told = await self._store.zone(self.zone)
            if told != self.zone:
                raise OSError(
                    f"the days of budget {self.name} are those of {told}, this job counts those of {self.zone}"
                )
            self.follow_the_day()
            await self._ask(0, 0)
        except Exception as error:
            await self._store.close()
            raise store_away(self._store, error) from None
        if self._lost is not None:
            await self._store.close()
            raise store_away(self._store, OSError(self._lost))

    def serves_workers(self, held: Callable[[], int]) -> None:
        """Workers elsewhere spend the run's part: `held` is what they have spent and were given, in 10⁻¹² USD. They
        hear once a second, so the pieces are larger.
        """
        self._elsewhere, self._piece = held, max(1, self._limit // PIECE_OF_WORKERS)

    # The day.

    def follow_the_day(self) -> None:
        """Where the day has turned nothing of the new one is granted yet. Raises StorageError."""
        now = self._clock.wall()
        if now < self._turns_at:
            return
        if self._part.day:
            self._ended.append((self._part.day, self._used))
        self._turns_at = next_time_of_day(now, time(), self.zone)
        self._part = Part(self.name, day_at(now, self.zone).isoformat(), self._run_id, self._budget.spent)
        self._own, self._others, self._refused = 0, 0, None
        self._budget.granted = self._budget.spent
        self._publish(self._part)

    @property
    def _used(self) -> int:
        """Of the day's money: spent, in flight at its worst, or in the hands of workers elsewhere."""
        return self._budget.spent + self._budget.reserved + self._elsewhere() - self._part.begin_usd

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
        granted = self._budget.granted
        if granted is not None and granted - spent < self._piece * UNIT:
            self.widens(1)

    async def _widen(self, worst: int) -> None:
        part, used = self._part, self._used
        needed = _units(used + worst)
        await self._ask(needed + self._piece, needed)
        if self._own < needed and part is self._part:
            self._refused = (used, worst)
        # Not from within: whoever waits may ask again.
        asyncio.get_running_loop().call_soon(self._wake)

    async def _ask(self, wanted: int, least: int) -> None:
        """Reserve, and close the days that have ended. A store that is away leaves what is granted."""
        part = self._part
        try:
            while self._ended:
                day, used = self._ended[0]
                await self._store.settle(day, self._run_id, _units(used))
                self._ended.pop(0)
            told = await self._store.reserve(
                part.day, self._run_id, wanted=wanted, least=least, limit=self._limit, held=self._own
            )
        except Exception as error:
            self._lose(first_line(error) or type(error).__name__)
            return
        self._take(told, part)

    def _take(self, told: Reserved, part: Part) -> None:
        """What the store says of a day, unless that has ended meanwhile."""
        if part.day != self._part.day:
            return
        if told.forgot:
            self._lose("it has forgotten what was spent today")
        self._own, self._others = told.own, told.others
        self._budget.granted = self._part.begin_usd + self._own * UNIT

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
            used = _units(self._used)
            if self._lost is None and (used > self._own or self._own - used > 2 * self._piece):
                self._asking = asyncio.create_task(self._hold(used if used > self._own else used + self._piece))

    async def _hold(self, own: int) -> None:
        """Hold so much from this moment on: what is given back may be another's at once."""
        part, self._own = self._part, own
        self._budget.granted = part.begin_usd + self._own * UNIT
        try:
            self._take(await self._store.settle(part.day, self._run_id, self._own), part)
        except Exception as error:
            self._lose(first_line(error) or type(error).__name__)
        asyncio.get_running_loop().call_soon(self._wake)

    # The end.

    def spent_up(self, worst: int) -> Termination:
        """How a run ends whose next call the day's money does not cover."""
        own = f"{short_usd(self._used)} of it by this run"
        if self._lost is not None:
            return Termination(
                TerminationKind.BUDGET,
                "daily_budget_store",
                f"the store of budget {self.name} is lost ({self._lost}), and what this run had reserved there is used "
                f"up: {own}",
                f"Mend the store ({self._store.where}). {RUN_AGAIN}",
            )
        spent = (self._others + self._own) * UNIT
        return Termination(
            TerminationKind.BUDGET,
            "daily_budget",
            f"budget {self.name}: of {short_usd(self._limit * UNIT)} for {self._part.day} {short_usd(spent)} is spent "
            f"or reserved, {own}, and the next call could cost {short_usd(worst)}",
            f"The day turns at {shown(self._turns_at, self.zone)}. {RUN_AGAIN} then; budget.usd_per_day raises it",
        )

    def told(self) -> dict[str, Any]:
        """The `budget` of run.json: money as decimal strings; of all runs as this one was told last."""
        return {
            "name": self.name,
            "usd_per_day": decimal_string(self._limit * UNIT),
            "day": self._part.day,
            "time_zone": self.zone,
            "store": self._store.where,
            "this_run_usd": decimal_string(self._used),
            "other_runs_usd": decimal_string(self._others * UNIT),
        }

    async def aclose(self) -> None:
        """Give back what was not spent. Where the store is away, the next run of the same output does."""
        if self._asking is not None:
            await asyncio.wait([self._asking])
        try:
            for day, used in [*self._ended, (self._part.day, self._used)]:
                await self._store.settle(day, self._run_id, _units(used))
            self._publish(None)
        except Exception as error:
            log.warning(
                "%s: what is left of budget %s could not be given back (%s); the next run of this output does",
                self._store.where, self.name, first_line(error) or type(error).__name__,
            )  # fmt: skip
        finally:
            await self._store.close()


def _units(pico: int) -> int:
    return -(-pico // UNIT)
