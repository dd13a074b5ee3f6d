"""Voter: settles a row by votes, one call after the other, each durable before the next is asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from rowmill.schemas.account import Account, Voted
from rowmill.schemas.label import Vote
from rowmill.schemas.outcome import Outcome, answer_digest
from rowmill.schemas.request import Request
from rowmill.tasks.journal.segment import Segment
from rowmill.tasks.plan.planner import Planner
from rowmill.tasks.settle.defect import plan_row
from rowmill.tasks.settle.pack_settler import PackSettler
from rowmill.tasks.settle.settler import Settler


@dataclass(frozen=True, slots=True)
class Panel:
    """Who votes for one model: a planner for each of its votes, and what sends them."""

    planners: Sequence[Planner]
    settler: Settler | PackSettler


class Ballot(Protocol):
    """What votes are about: whether another one is asked, and what those that were cast make of a row. Pure."""

    def next_model(self, cast: Sequence[Voted]) -> str | None:
        """Whose vote is asked next; None where the row is decided."""

    def decided(self, cast: Sequence[Voted], request: Request) -> Outcome:
        """The outcome of the vote that stands for the row, with what all of them say."""


class Voter:
    """Takes a Settler's place where rows are answered by votes. They are asked in turn, and none that could change
    nothing.
    """

    def __init__(
        self, ballot: Ballot, panels: Mapping[str, Panel], *, model: str, reads_media: bool, run_id: str
    ) -> None:
        """`panels` by model name: the job's `model`, and the one it escalates to."""
        self._ballot, self._model, self._panels, self._run_id = ballot, model, panels, run_id
        self._reads_media = reads_media
        first = panels[model].settler
        self.gate, self.sending, self.landed = first.gate, first.sending, first.landed

    async def settle(self, request: Request, segment: Segment, account: Account) -> Outcome:
        """The outcome of a row, its cost that of all its votes. Raises Halted; votes that were cast are in the journal.

        `account` is what earlier runs have spent for it, with the votes they brought.
        """
        row = request.row.index
        cast = list(account.votes)
        while (model := self._ballot.next_model(cast)) is not None:
            number = sum(vote.model == model for vote in cast)
            outcome = await self._ask(request, model, number, segment=segment, account=account)
            account = Account()
            voted = Voted(row, model, outcome)
            # Its end is known: a halt that comes while it is made durable does not undo it.
            self.sending.add(row)
            await segment.voted(voted)
            self.landed(row)
            cast.append(voted)
        return self._verdict(request, cast, account)

    async def _ask(self, request: Request, model: str, number: int, *, segment: Segment, account: Account) -> Outcome:
        panel = self._panels[model]
        planned: Request | Outcome = request
        if number or model != self._model:
            planning = (panel.planners[number], request.row, self._run_id)
            planned = await asyncio.to_thread(plan_row, *planning) if self._reads_media else plan_row(*planning)
        if isinstance(planned, Outcome):
            # The stronger model cannot be asked this way; what was spent before stays with the vote.
            return msgspec.structs.replace(planned, spent=account.spent, failures=account.failures)
        # The row's gold stands once, in its outcome.
        bare = msgspec.structs.replace(planned, gold=None)
        return await panel.settler.settle(bare, segment, account)

    def _verdict(self, request: Request, cast: Sequence[Voted], account: Account) -> Outcome:
        """The row's outcome: the answer that stands, the cost of all votes."""
        chosen = self._ballot.decided(cast, request)
        outcomes = [one.outcome for one in cast]
        counts = Counter(account.failures)
        key = request.key.hex()
        for outcome in outcomes:
            counts.update(outcome.failures)
        wasted = [outcome.wasted_usd for outcome in outcomes]
        return msgspec.structs.replace(
            chosen,
            row_id=request.row.row_id,
            row_index=request.row.index,
            spent=sum((outcome.spent for outcome in outcomes), account.spent),
            wasted_usd=None if None in wasted else sum(usd or 0 for usd in wasted),
            started_at=min((one.started_at for one in outcomes if one.started_at), default=None),
            finished_at=max((one.finished_at for one in outcomes if one.finished_at), default=None),
            request_key=key,
            answer_digest=None if chosen.response_text is None else answer_digest(key, chosen.response_text),
            run_id=self._run_id,
            failures=dict(counts),
        )


def vote_of(cast: Voted) -> Vote:
    """A journaled vote as it stands in the results."""
    outcome = cast.outcome
    return Vote(
        model=cast.model,
        status=outcome.status.value,
        error_kind=outcome.error_kind,
        text=outcome.response_text,
        spent=outcome.spent,
        latency_ms=outcome.latency_ms,
    )
