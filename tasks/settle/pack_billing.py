"""Pack billing: a call of several rows in the journal's words, and each row's share of what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rowmill.schemas.account import Account
from rowmill.schemas.attempt import Answer, Spent
from rowmill.schemas.shares import Shares, share_out
from rowmill.tasks.journal.entries import Bill, Intent, PackBill, PackIntent
from rowmill.tasks.settle.pack_former import Seat


@dataclass(frozen=True, slots=True)
class PackBilling:
    """A call of several rows in the journal's words: each row bears its share of what the call costs at most."""

    seats: Sequence[Seat]
    weights: Sequence[int]

    @property
    def rows(self) -> Sequence[int]:
        return [seat.row for seat in self.seats]

    def intent(self, worst_usd: int) -> PackIntent:
        shares = share_out(worst_usd, self.weights)
        parts = [
            Intent(seat.row, _attempt_of(seat), share, seat.request.key.hex(), joined=seat is not self.seats[0])
            for seat, share in zip(self.seats, shares, strict=True)
        ]
        return PackIntent(tuple(parts))

    def bill(self, kind: str | None, spent: Spent) -> PackBill:
        """A call that came to nothing: its kind is told by the row that it is counted with."""
        shares = Shares(self.weights, self.weights).of(spent, None)
        kinds = [kind, *[None] * (len(self.seats) - 1)]
        return self.bills(kinds, shares)

    def bills(
        self, kinds: Sequence[str | None], shares: Sequence[Spent], declined: Sequence[Answer | None] | None = None
    ) -> PackBill:
        """The shares of a call, with what each row's entry failed of, and the entries that are asked again for."""
        entries = declined or [None] * len(self.seats)
        return PackBill(
            tuple(
                Bill(seat.row, _attempt_of(seat), kind, share, entry)
                for seat, kind, share, entry in zip(self.seats, kinds, shares, entries, strict=True)
            )
        )


def _attempt_of(seat: Seat) -> int:
    return account_of(seat).spent.attempts + 1


def account_of(seat: Seat) -> Account:
    """What the row's attempts have cost so far."""
    return seat.segment.replayed.account(seat.row)
