"""Budget: our own cap on a run's money, held by reserving the worst case of every call before it is sent."""

from __future__ import annotations

from collections.abc import Callable

from rowmill.schemas.price import short_usd

WARN_AT = (90, 75)


class Budget:
    """Amounts in 10⁻¹² USD. `spent` counts settled cost and the bound of attempts whose usage is unknown.

    A call goes only if spent + reserved + its own worst case ≤ cap.
    """

    def __init__(self, cap: int | None, spent: int, warn: Callable[[str], None], *, is_quota: bool = False) -> None:
        """`is_quota` where the cap is a part of a larger one, and may be widened: a call waits for that."""
        self.cap, self.spent, self.reserved = cap, spent, 0
        self.is_quota = is_quota
        # What the next call needs, where that does not fit.
        self.short = 0
        self._warn = warn
        self._warned = 0

    def fits(self, amount: int) -> bool:
        fits = self.cap is None or self.spent + self.reserved + amount <= self.cap
        self.short = 0 if fits else amount
        return fits

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
        return self.cap is None or cost <= reserved or not reserved

    def _warn_when_high(self) -> None:
        if self.cap is None or self.is_quota:
            return
        for percent in WARN_AT:
            if self._warned < percent and self.spent * 100 >= self.cap * percent:
                self._warned = percent
                self._warn(f"{percent} % of max_cost_usd is spent: {short_usd(self.spent)} of {short_usd(self.cap)}")
                return
