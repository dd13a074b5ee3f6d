"""Split: a run's limits and its cap divided among workers that hear of it at different times.

One rule for all: what one is given, and what others may still go by, are never more than the whole. So a worker is
first told to take less, and what it gave back goes to another once it has said so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

Amount = TypeVar("Amount", int, float)


def even(whole: float, expected: int, held: Mapping[str, float]) -> dict[str, float]:
    """As much for each as for the others. `held` is the most each may go by now, `expected` how many there will be."""
    fair = whole / max(len(held), expected, 1)
    return _within(whole, dict.fromkeys(held, fair), held)


def even_slots(whole: int, expected: int, held: Mapping[str, int]) -> dict[str, int]:
    """The same for what cannot be divided: the first get one more where it does not come out even."""
    fair, more = divmod(whole, max(len(held), expected, 1))
    return _within(whole, {name: fair + (place < more) for place, name in enumerate(held)}, held)


@dataclass(frozen=True, slots=True)
class BudgetShare:
    """A worker's money in 10⁻¹² USD: the most it may go by, what it spent or may yet, what it needs beyond that."""

    held: int
    spent: int
    short: int


def money(whole: int, expected: int, shares: Mapping[str, BudgetShare]) -> dict[str, int]:
    """What each may spend in all: what it has spent, and its share of half of what is left.

    Half, so that there is something for whoever needs more. The portions shrink as the money does; at the end the
    first get what their next call needs, and the others give back what is too little for one.
    """
    left = max(0, whole - sum(budget_share.spent for budget_share in shares.values()))
    share = left // (2 * max(len(shares), expected, 1))
    wanted = {}
    for name, budget_share in shares.items():
        more = min(max(share, budget_share.short), left)
        more = 0 if more < budget_share.short else more
        wanted[name] = budget_share.spent + more
        left -= more
    return _within(
        whole, wanted, {name: max(budget_share.held, budget_share.spent) for name, budget_share in shares.items()}
    )


def _within(whole: Amount, wanted: Mapping[str, Amount], held: Mapping[str, Amount]) -> dict[str, Amount]:
    """To each what it should have, as far as nobody else holds it."""
    granted: dict[str, Amount] = {}
    # Carried along: a thousand workers would otherwise be added up a thousand times.
    held_in_all = sum(held.values())
    for name, want in wanted.items():
        free = whole - (held_in_all - held[name])
        granted[name] = max(type(want)(0), min(want, free))
        held_in_all += max(granted[name], held[name]) - held[name]
    return granted
