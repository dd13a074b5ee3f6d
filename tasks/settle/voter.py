"""Voter: settles a row by votes, one call after the other, each durable before the next is asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from rowmill.schemas.account import Account, Voted
from rowmill.schemas.job import Job
from rowmill.schemas.label import Label, Vote
from rowmill.schemas.outcome import Outcome, answer_digest
from rowmill.schemas.request import Request
from rowmill.tasks.journal.segment import Segment
from rowmill.tasks.plan.label_prompt import labels_in
from rowmill.tasks.plan.planner import Planner
from rowmill.tasks.plan.vote_rules import labelling, next_model
from rowmill.tasks.settle.defect import plan_row
from rowmill.tasks.settle.pack_settler import PackSettler
from rowmill.tasks.settle.settler import Settler


@dataclass(frozen=True, slots=True)
class Panel:
    """Who votes for one model: a planner for each of its votes, and what sends them."""

    planners: Sequence[Planner]
    settler: Settler | PackSettler


class Voter:
    """Takes a Settler's place where the job labels. Votes are asked in turn, and none that could change nothing."""

    def __init__(self, job: Job, panels: Mapping[str, Panel], run_id: str) -> None:
        """`panels` by model name: the job's, and the one it escalates to."""
        assert job.label is not None
        self._label: Label = job.label
        self._model, self._panels, self._run_id = job.model, panels, run_id
        self._reads_media = bool(job.attachments)
        first = panels[job.model].settler
        self.gate, self.sending, self.landed = first.gate, first.sending, first.landed

    async def settle(self, request: Request, segment: Segment, account: Account) -> Outcome:
        """The outcome of a row, its cost that of all its votes. Raises Halted; votes that were cast are in the journal.

        `account` is what earlier runs have spent for it, with the votes they brought.
        """
        row = request.row.index
        cast = list(account.votes)
        votes = [self._vote(one) for one in cast]
        while (model := next_model(self._label, self._model, votes)) is not None:
            number = sum(vote.model == model for vote in votes)
            outcome = await self._ask(request, model, number, segment, account)
            account = Account()
            voted = Voted(row, model, outcome)
            # Its end is known: a halt that comes while it is made durable does not undo it.
            self.sending.add(row)
            await segment.voted(voted)
            self.landed(row)
            cast.append(voted)
            votes.append(self._vote(voted))
        return self._verdict(request, [one.outcome for one in cast], votes, account)

    async def _ask(self, request: Request, model: str, number: int, segment: Segment, account: Account) -> Outcome:
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

    def _vote(self, cast: Voted) -> Vote:
        """A journaled vote as it counts, and as it stands in the results."""
        outcome = cast.outcome
        return Vote(
            model=cast.model,
            labels=labels_in(outcome.output_text, self._label) if outcome.output_text else None,
            status=outcome.status.value,
            error_kind=outcome.error_kind,
            text=outcome.response_text,
            spent=outcome.spent,
            latency_ms=outcome.latency_ms,
        )

    def _verdict(
        self, request: Request, outcomes: Sequence[Outcome], votes: Sequence[Vote], account: Account
    ) -> Outcome:
        """The row's outcome: the answer of the last vote for its label, the cost of all of them."""
        told = labelling(self._label, votes, request.gold)
        chosen = _deciding(outcomes, votes, told.labels)
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
            labelling=told,
        )


def _deciding(outcomes: Sequence[Outcome], votes: Sequence[Vote], labels: tuple[str, ...] | None) -> Outcome:
    """The last vote for the row's label (the stronger model's where it was asked); else one that was accepted; else the
    last.
    """
    for wanted in (labels, None):
        for outcome, vote in zip(reversed(outcomes), reversed(votes), strict=True):
            if vote.labels is not None and (wanted is None or vote.labels == wanted):
                return outcome
    return outcomes[-1]
