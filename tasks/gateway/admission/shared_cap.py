"""Shared cap: one part's share of the money that all parts of a job may spend together.

A part stands in the store under its own name with all that its output has ever cost, whichever run of it paid that. So
a run that was killed leaves nothing to make good, and a store that has lost a part knows it again when that part runs.
"""

from __future__ import annotations

from collections.abc import Callable

from rowmill.schemas.part_of import PartOf
from rowmill.schemas.price import short_usd
from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.budget_store import BudgetStore
from rowmill.tasks.gateway.admission.shared_budget import UNIT, SharedBudget, units
from rowmill.tasks.system.clock import Clock

# One period for good, as far as a Redis is to remember.
EVER, DAYS_KEPT = "ever", 400
# Ahead of what it needs a part reserves a quarter of what is left, divided by the number of parts: however many they
# are, and however little is left, most of it is nobody's yet.
AHEAD = 4


class SharedCap(SharedBudget):
    """One part's share."""

    kind, key = "cap of all parts", "max_cost_usd"

    def __init__(
        self,
        store: BudgetStore,
        part: PartOf,
        limit: int,
        *,
        budget: Budget,
        name: str,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        """`limit` caps all parts together, in 10⁻¹² USD; `wake` is called when more was granted or refused."""
        member = f"part {part.part}"
        super().__init__(store, budget, name=name, limit=limit, member=member, clock=clock, wake=wake)
        self._of = part

    async def open(self) -> None:
        """Tell what the part has cost so far, and see that the store answers. Raises JobError where it does not."""
        self._period = EVER
        try:
            self._take(await self._store.settle(EVER, self.member, units(self._budget.spent)), EVER)
        except Exception as error:
            await self._refuse(error)

    def follow(self) -> None:
        """There is one period."""

    def _given_back(self) -> None:
        """Nothing else tells of the part."""

    @property
    def _piece(self) -> int:
        return max(1, (self._limit - self._own - self._others) // (AHEAD * self._of.parts))

    def spent_up(self, worst: int) -> Termination:
        told = f"{short_usd(self._used)} of it by {self._of.title}"
        if self._lost is not None:
            return Termination(
                TerminationKind.BUDGET,
                "shared_cap_store",
                f"the store of the cap of all parts is lost ({self._lost}), and what this part had reserved there is "
                f"used up: {told}",
                f"Mend the store ({self._store.where}) and run the same command again: it goes on from here",
            )
        return Termination(
            TerminationKind.BUDGET,
            "shared_cap",
            f"max_cost_usd of all {self._of.parts} parts: of {short_usd(self._limit * UNIT)} "
            f"{short_usd((self._own + self._others) * UNIT)} is spent or reserved, {told}, and the next call could "
            f"cost {short_usd(worst)}",
            "Raise max_cost_usd in the job, split it again (its parts stay as they are), and run the parts again",
        )
