"""Budget: our own cap on a run's money, held by reserving the worst case of every call before it is sent."""

from __future__ import annotations

from collections.abc import Callable

from rowmill.schemas.price import short_usd

WARN_AT = (90, 75)


class Budget:
    """Amounts in 10⁻¹² USD. `spent` counts settled cost and the bound of attempts whose usage is unknown.

    A call goes only if spent + reserved + its own worst case ≤ cap.
    """

    def __init__(
        self,
        cap: int | None,
        spent: int,
        warn: Callable[[str], None],
        *,
        is_quota: bool = False,
        of_run: bool = False,
    ) -> None:
        """`is_quota` where the cap is a part of a larger one, and may be widened: a call waits for that.

        `of_run` where what one run may add comes before what may ever be spent: amounts are then told of this run.
        """
        self.cap, self.spent, self.reserved = cap, spent, 0
        self.is_quota = is_quota
        self.key = "max_run_cost_usd" if of_run else "max_cost_usd"
        # What is no part of the amounts that are told.
        self.before = spent if of_run else 0
        # Where money is shared with other runs (a day's, or that of all parts of a job): what may have been spent by
        # the time this run's part of it is used up. It is widened as the run goes.
        self.grants: dict[str, int] = {}
        # What the next call needs, where that does not fit.
        self.short = 0
        self._warn = warn
        self._warned = 0

    @property
    def ceiling(self) -> int | None:
        """What may be spent as things stand: the cap, or the part of shared money that is granted."""
        if not self.grants:
            return self.cap
        most = self.grants.values() if self.cap is None else (self.cap, *self.grants.values())
        return min(most, default=None)

    def fits(self, amount: int) -> bool:
        ceiling = self.ceiling
        fits = ceiling is None or self.spent + self.reserved + amount <= ceiling
        self.short = 0 if fits else amount
        return fits

    def fits_cap(self, amount: int) -> bool:
        """The same for the cap alone, whatever of shared money is granted."""
        return self.cap is None or self.spent + self.reserved + amount <= self.cap

    def take_quota(self, cap: int) -> None:
        """Another cap from now on; what is reserved already stays within it or beyond it."""
        self.cap = cap

    def reserve(self, amount: int) -> None:
        self.reserved += amount

    def settle(self, reserved: int, cost: int) -> bool:
        """End a reservation with what the call cost; 0 where it was never sent or not billed.

        Returns False where it cost more than its worst case: a cap cannot be held any more, and the run has to stop.
        Without a cap nothing was reserved on purpose, and any cost will do.
        """
        self.reserved -= reserved
        self.spent += cost
        self._warn_when_high()
        return self.ceiling is None or cost <= reserved or not reserved

    def _warn_when_high(self) -> None:
        if self.cap is None or self.is_quota:
            return
        for percent in WARN_AT:
            spent, cap = self.spent - self.before, self.cap - self.before
            if self._warned < percent and spent * 100 >= cap * percent:
                self._warned = percent
                self._warn(f"{percent} % of {self.key} is spent: {short_usd(spent)} of {short_usd(cap)}")
                return
