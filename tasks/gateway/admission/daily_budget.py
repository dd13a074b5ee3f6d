"""Daily budget: one run's part of the money that all runs which name a budget may spend in a day.

A call counts in the day in which it was admitted, one that is in flight at midnight in both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import time

from rowmill.schemas.daily_spending import DailySpending
from rowmill.schemas.price import decimal_string, parse_amount, short_usd
from rowmill.schemas.safeguards import BudgetPerDay
from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.budget_store import BudgetStore
from rowmill.tasks.gateway.admission.halts import RUN_AGAIN
from rowmill.tasks.gateway.admission.shared_budget import UNIT, SharedBudget, units
from rowmill.tasks.system.clock import Clock
from rowmill.tasks.system.local_time import day_at, next_time_of_day, shown

# A piece is this share of a day's money; what is idle beyond two pieces is given back.
PIECE, PIECE_OF_WORKERS = 64, 8


@dataclass(frozen=True, slots=True)
class Part:
    """What stands in the output while its run has a part of a day: enough to tell later what it spent of it.

    `begin_usd` is what the output had cost when the day began for the run, in 10⁻¹² USD.
    """

    name: str
    day: str
    run: str
    begin_usd: int


class DailyBudget(SharedBudget):
    """One run's part of a day."""

    kind, key = "daily budget", "budget"

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
        limit = parse_amount(str(told.usd_per_day))
        super().__init__(store, budget, name=told.name, limit=limit, member=run_id, clock=clock, wake=wake)
        self._publish, self.zone = publish, zone
        self._pieces = PIECE
        self._turns_at = float("-inf")

    async def open(self, before: Part | None) -> None:
        """Tell what the output's last run has spent, where it could not; and see that the store answers.

        Raises JobError where it does not, or counts other days: nothing was sent yet.
        """
        try:
            if before is not None and before.name == self.name:
                spent = max(0, self._budget.spent - before.begin_usd)
                await self._store.settle(before.day, before.run, units(spent))
            told = await self._store.zone(self.zone)
            if told != self.zone:
                raise OSError(
                    f"the days of budget {self.name} are those of {told}, this job counts those of {self.zone}"
                )
            self.follow()
        except Exception as error:
            await self._refuse(error)
        await self._open()

    def serves_workers(self, held: Callable[[], int]) -> None:
        """Workers elsewhere spend the run's part: `held` is what they have spent and were given, in 10⁻¹² USD. They
        hear once a second, so the pieces are larger.
        """
        self._elsewhere, self._pieces = held, PIECE_OF_WORKERS

    @property
    def _piece(self) -> int:
        return max(1, self._limit // self._pieces)

    def follow(self) -> None:
        now = self._clock.wall()
        if now < self._turns_at:
            return
        if self._period:
            self._ended.append((self._period, self._used))
        self._turns_at = next_time_of_day(now, time(), self.zone)
        self._period, self._begin = day_at(now, self.zone).isoformat(), self._budget.spent
        self._others, self._refused = 0, None
        self._grant(0)
        self._publish(Part(self.name, self._period, self.member, self._begin))

    def _given_back(self) -> None:
        self._publish(None)

    def spent_up(self, worst: int) -> Termination:
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
            f"budget {self.name}: of {short_usd(self._limit * UNIT)} for {self._period} {short_usd(spent)} is spent "
            f"or reserved, {own}, and the next call could cost {short_usd(worst)}",
            f"The day turns at {shown(self._turns_at, self.zone)}. {RUN_AGAIN} then; budget.usd_per_day raises it",
        )

    def spending(self) -> DailySpending:
        """What is spent of the day; by all other runs as this one was told last."""
        return DailySpending(
            name=self.name,
            usd_per_day=decimal_string(self._limit * UNIT),
            day=self._period,
            time_zone=self.zone,
            store=self._store.where,
            this_run_usd=decimal_string(self._used),
            other_runs_usd=decimal_string(self._others * UNIT),
        )
