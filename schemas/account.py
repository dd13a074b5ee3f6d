"""Account: what a request has cost so far while its row has no outcome, wherever the row has stood meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rowmill.schemas.attempt import NOTHING_SPENT, Answer, Spent
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import ZERO, Cost


class Voted(msgspec.Struct, frozen=True):
    """One vote about a row that may need more of them: its own outcome, all of its attempts together."""

    row: int
    model: str
    outcome: Outcome


class Declined(msgspec.Struct, frozen=True, omit_defaults=True):
    """An answer that was paid for and asked again for: what was wrong with it is told to the model, whichever run asks
    next. `cost` is None where the price is unknown.
    """

    answer: Answer
    cost: Cost | None = ZERO


class Account(msgspec.Struct, frozen=True, omit_defaults=True):
    """Paid attempts for one request whose row is not settled.

    `spent` and `failures` are those since the last vote; `failures` counts every failed attempt by kind, `charged`
    those that count against the row's retries, which begin anew when the row is reopened. `votes` are the votes cast
    so far, whose cost is beside `spent`. `declined` are the answers since the last vote that were asked again for.
    """

    key: str = ""
    spent: Spent = NOTHING_SPENT
    failures: dict[str, int] = msgspec.field(default_factory=dict)
    charged: dict[str, int] = msgspec.field(default_factory=dict)
    votes: tuple[Voted, ...] = ()
    declined: tuple[Declined, ...] = ()

    @property
    def total(self) -> Spent:
        """All that the request has cost, its votes included."""
        return sum((vote.outcome.spent for vote in self.votes), self.spent)

    @property
    def reached(self) -> tuple[int, int, int]:
        """How far it has come: good votes, attempts, votes. Whoever asks goes on from the furthest account that is
        known of a request, so of two the further one holds all that the other does.
        """
        good = sum(vote.outcome.status is Status.OK for vote in self.votes)
        return good, self.total.attempts, len(self.votes)

    def billed(self, kind: str | None, spent: Spent, declined: Answer | None = None) -> Account:
        """The account after one more attempt; `kind` is why it failed, None where it brought an answer. `declined` is
        the answer that is asked again for.
        """
        failures, charged = self.failures, self.charged
        if kind is not None:
            failures, charged = _one_more(failures, kind), _one_more(charged, kind)
        kept = self.declined if declined is None else (*self.declined, Declined(declined, spent.cost))
        return Account(self.key, self.spent + spent, failures, charged, self.votes, kept)

    def voted(self, vote: Voted) -> Account:
        """The account after a vote, whose outcome holds what was spent since the vote before."""
        return Account(self.key, votes=(*self.votes, vote))


def furthest(*accounts: Account) -> Account:
    """Of accounts of one request the one that has come furthest; of equals the first."""
    return max(accounts, key=lambda account: account.reached)


def _one_more(counts: Mapping[str, int], kind: str) -> dict[str, int]:
    return {**counts, kind: counts.get(kind, 0) + 1}
