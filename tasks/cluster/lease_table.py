"""Lease table: who has which shard, and the run's limits and cap divided among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rowmill.schemas.row import Shard
from rowmill.tasks.cluster.limit_split import BudgetShare, even, even_slots, money
from rowmill.tasks.cluster.mailbox import Heartbeat, Quota
from rowmill.tasks.gateway.admission.gate import Gate
from rowmill.tasks.gateway.admission.halts import spent_up

NOTHING = Quota()


@dataclass(slots=True)
class Lease:
    """Who has a shard: what it was given, what it said last, and when."""

    shard: Shard
    heard_at: float
    quota: Quota = NOTHING
    told: Heartbeat | None = None
    is_revoked: bool = False

    @property
    def held(self) -> Quota:
        """The most it may go by now: what it was given, or what it has not given back yet."""
        if self.told is None:
            return self.quota
        one, other = self.quota, self.told.quota
        usd = None if one.usd is None else max(one.usd, other.usd or 0)
        return Quota(max(one.rpm, other.rpm), max(one.tpm, other.tpm), max(one.concurrency, other.concurrency), usd)

    def budget_share(self, held: int) -> BudgetShare:
        """What it has of the cap, `held` at the most, in 10⁻¹² USD."""
        return BudgetShare(held, self.told.spent, self.told.short) if self.told else BudgetShare(held, 0, 0)

    @property
    def waits_for_money(self) -> bool:
        """Whether nothing of its goes on, because its next call is not covered."""
        return self.told is not None and self.told.short > 0 and not self.told.traffic.in_flight


class LeaseTable:
    """Leases by their tokens. What their holders use together stays within the run's limits and cap."""

    def __init__(self, gate: Gate, *, concurrency: int, rpm: float, tpm: float) -> None:
        """Limits of 0 are none."""
        self._gate = gate
        self._concurrency, self._rpm, self._tpm = concurrency, rpm, tpm
        self.leases: dict[str, Lease] = {}

    def __len__(self) -> int:
        return len(self.leases)

    def take_share(self, rpm: float, tpm: float) -> None:
        """Go by these shares of the key's limits from the next division on."""
        self._rpm, self._tpm = rpm, tpm

    def divide(self, expected: int) -> None:
        """Divide limits and cap anew among so many holders as are expected."""
        held = {token: lease.held for token, lease in self.leases.items()}
        rpm = even(self._rpm, expected, {token: one.rpm for token, one in held.items()})
        tpm = even(self._tpm, expected, {token: one.tpm for token, one in held.items()})
        calls = even_slots(self._concurrency, expected, {token: one.concurrency for token, one in held.items()})
        usd = self._money(expected, held)
        for token, lease in self.leases.items():
            lease.quota = Quota(rpm[token], tpm[token], calls[token], usd.get(token))

    def _money(self, expected: int, held: Mapping[str, Quota]) -> dict[str, int]:
        """The cap divided; where no call of any worker fits what is left, the run ends."""
        budget, daily = self._gate.budget, self._gate.daily
        if daily is not None:
            daily.follow()
        if budget.ceiling is None:
            return {}
        shares = {token: lease.budget_share(held[token].usd or 0) for token, lease in self.leases.items()}
        if shares and all(lease.waits_for_money for lease in self.leases.values()):
            spent = budget.spent + sum(budget_share.spent for budget_share in shares.values())
            least = min(budget_share.short for budget_share in shares.values())
            if spent + least > budget.ceiling:
                self._widen(spent, least)
        elif daily is not None and shares:
            # Before it is used up: workers hear of more only at their next beat.
            spent = budget.spent + sum(budget_share.spent for budget_share in shares.values())
            daily.widens_ahead(spent)
        return money(budget.ceiling - budget.spent, expected, shares)

    def _widen(self, spent: int, least: int) -> None:
        """Nothing goes on with what there is: ask for more of the day's money, or end the run. In 10⁻¹² USD."""
        budget, daily = self._gate.budget, self._gate.daily
        if budget.cap is not None and spent + least > budget.cap:
            self._gate.halt(spent_up(budget, spent, least))
        elif daily is not None and not daily.widens(least):
            self._gate.halt(daily.spent_up(least))

    def with_workers(self) -> int:
        """What workers have spent, or may yet by what they were given, in 10⁻¹² USD."""
        return sum(max(lease.held.usd or 0, lease.budget_share(0).spent) for lease in self.leases.values())

    def quotas(self) -> dict[str, Quota]:
        """What each lease may go by; none for one that is revoked."""
        return {token: lease.quota for token, lease in self.leases.items() if not lease.is_revoked}
