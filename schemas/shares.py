"""Shares: what a call for several rows came to, divided among them exactly.

A row pays for its own text by its size, and for what is common (instructions, schema, thoughts) as much as each other.
Tokens are divided as whole numbers, and money follows from them: the rates of a call are so much a token, so the shares
add up to the bill to the last 10⁻¹² USD without any rounding of money.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rowmill.schemas.attempt import Spent
from rowmill.schemas.price import Price
from rowmill.schemas.usage import Usage


def share_out(total: int, weights: Sequence[int]) -> list[int]:
    """A whole number ≥ 0 divided by these weights (≥ 0; all 0 means equally): each share is its exact quota rounded
    down or up, and together they are the whole. Of what is left over by rounding down, the largest remainders get one
    each, the earlier of equal ones first (Hamilton's method).
    """
    if not any(weights):
        weights = [1] * len(weights)
    whole = sum(weights)
    shares, left = [], []
    for weight in weights:
        share, over = divmod(total * weight, whole)
        shares.append(share)
        left.append(over)
    for place in sorted(range(len(weights)), key=lambda place: -left[place])[: total - sum(shares)]:
        shares[place] += 1
    return shares


def with_common(own: Sequence[int], common: int) -> list[int]:
    """Weights of rows whose own sizes are these, and which share something of the size `common` equally."""
    return [len(own) * size + common for size in own]


@dataclass(frozen=True, slots=True)
class Shares:
    """How the rows of one call share it: their weights in what was sent, and in what came back."""

    sent: Sequence[int]
    told: Sequence[int]

    def of(self, spent: Spent, price: Price | None) -> list[Spent]:
        """One attempt's cost divided. The call is counted with the first row, for the others it is `joined`."""
        sent = share_out(spent.usage.input, self.sent)
        usages = map(
            Usage,
            sent,
            share_out(spent.usage.output, self.told),
            share_out(spent.usage.thoughts, [0] * len(sent)),
            share_out(spent.usage.cached, sent),
        )
        bounds = share_out(spent.unknown_usd, self.sent)
        # What a token costs is decided by the whole call.
        rates = None if price is None else price.rates_at(spent.usage.input)
        return [
            Spent(
                spent.attempts,
                usage,
                spent.cost if spent.cost is None or rates is None or not spent.usage.total else rates.of(usage),
                spent.unknown,
                bound,
                0 if row == 0 else spent.attempts,
            )
            for row, (usage, bound) in enumerate(zip(usages, bounds, strict=True))
        ]
