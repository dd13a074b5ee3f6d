"""Pack call: one call for several rows, until it is answered or divided.

A call that fails as a whole is tried again where the gateway failed; where it may be one row's fault its halves are
asked, so that the row is found in about twice the logarithm of their number, and its companions pay for a few calls,
not for one each.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from rowmill.schemas.attempt import Answer, Failure, FailureKind, Spent
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.shares import Shares, with_common
from rowmill.tasks.answers.entries import Entries
from rowmill.tasks.gateway.admission.gate import Halted, TooDear
from rowmill.tasks.gateway.client import Exchange
from rowmill.tasks.gateway.failures import FAILURE_POLICIES, Action, Billed
from rowmill.tasks.gateway.retry import RetryableFailure, until_settled
from rowmill.tasks.plan.pack_planner import PACK_RETRIES, Pack, plan_pack
from rowmill.tasks.settle.defect import defect
from rowmill.tasks.settle.pack_answer import PackPart, judge_entry, read_pack_answer
from rowmill.tasks.settle.pack_billing import PackBilling, account_of
from rowmill.tasks.settle.pack_former import Seat
from rowmill.tasks.settle.row_state import RowState
from rowmill.tasks.settle.settler import Settler, declined

log = logging.getLogger("rowmill")


@dataclass(frozen=True, slots=True)
class Alone:
    """A row leaves its pack: `failure` is what was wrong with its entry, and `state` what is known of the row since;
    None where nobody has looked at it alone.
    """

    failure: Failure | None = None
    state: RowState | None = None


class Divided(Exception):
    """The halves of a pack are to be asked apart."""

    def __init__(self, seats: Sequence[Seat]) -> None:
        super().__init__()
        middle = (len(seats) + 1) // 2
        self.halves = [tuple(half) for half in (seats[:middle], seats[middle:]) if half]


class PackCall:
    """One pack until it is answered or divided."""

    def __init__(self, single: Settler, rng: random.Random, seats: tuple[Seat, ...], *, is_half: bool) -> None:
        self._single, self._caller, self._budget, self._gate = single, single.caller, single.budget, single.gate
        self._clock, self._rng, self._seats, self._is_half = single.caller.clock, rng, seats, is_half
        self._segment = seats[0].segment
        self._model = single.caller.model

    async def settle(self) -> None:
        """Tell every row its outcome, or why it is asked alone. Raises Divided, Halted, StorageError."""
        first = self._seats[0]
        try:
            pack = plan_pack([seat.request for seat in self._seats], self._model, self._rng)
            self._caller.prepare(pack.body)
        except Exception as error:
            defect(error, f"{first.row} (and {len(self._seats) - 1} more)")
            raise Divided(self._seats) from None
        state = RowState(msgspec.structs.replace(first.request, body=pack.body), pack.body, Spent(), {})
        try:
            await self._until_answered(state, pack)
        except TooDear:
            raise Divided(self._seats) from None
        finally:
            self._budget.evidence.settled(first.row)
            self._gate.settled(first.row)

    async def _until_answered(self, state: RowState, pack: Pack) -> None:
        try:
            await self._attempt(state, pack)
        except RetryableFailure as failed:
            try:
                await self._again(state, pack, failed)
            except RetryableFailure as last:
                self._end_by(last.failure)
                log.debug("a call for %d rows is divided: %s", len(self._seats), last.failure.message)
                raise Divided(self._seats) from None

    async def _again(self, state: RowState, pack: Pack, failed: RetryableFailure) -> None:
        self._gate.retrying += 1
        try:
            await until_settled(
                failed,
                lambda: self._attempt(state, pack),
                exhausted=lambda failure: self._exhausted(state, failure),
                charged=lambda: state.transport + state.unconnected,
                clock=self._clock,
                rng=self._rng,
            )
        finally:
            self._gate.retrying -= 1

    def _exhausted(self, state: RowState, failure: Failure) -> bool:
        policy = FAILURE_POLICIES[failure.kind]
        exhausted = self._budget.exhausted(state, failure)
        if policy.action is Action.RETRY and failure.kind is not FailureKind.PACK_DIVIDED:
            if policy.billed is Billed.TOLD:
                return True
            # While nobody else is answered, it is the gateway that fails, and not a row of this call.
            most = 0 if self._is_half else PACK_RETRIES
            return exhausted or (state.transport > most and self._budget.others_answered(state))
        return exhausted or policy.action not in (Action.WAIT, Action.ROW_OR_RUN)

    def _end_by(self, failure: Failure) -> None:
        """Raises Halted where a failure ends the run."""
        policy = FAILURE_POLICIES[failure.kind]
        if policy.action is Action.HALT:
            raise Halted
        if policy.every_row_halts_as and policy.action is Action.RETRY and not self._budget.evidence.answers:
            self._budget.halt(policy.every_row_halts_as, failure)
            raise Halted

    async def _attempt(self, state: RowState, pack: Pack) -> None:
        """One exchange. Raises RetryableFailure where it brings nothing to any row, TooDear, Halted."""
        if all(seat.told.done() for seat in self._seats):
            raise Halted
        caller = self._caller
        prepared = caller.prepare(pack.body, rows=len(self._seats))
        common = max(0, prepared.size - sum(pack.sizes))
        billing = PackBilling(self._seats, with_common(pack.sizes, common))
        permit = await caller.enter(prepared, billing.rows, divisible=True)
        self._budget.sent(state)
        state.started_at = state.started_at or int(self._clock.wall() * 1e6)
        exchange = await caller.send(prepared, permit, self._segment, billing=billing)
        read = exchange.failure or self._read_safely(exchange.answer, pack)
        failure = read if isinstance(read, Failure) else None
        spent = caller.end(prepared, permit, exchange, failure=failure)
        if exchange.answer is not None:
            self._budget.evidence.answered()
        if isinstance(read, Failure):
            await self._note(state, billing, read, spent=spent)
            raise RetryableFailure(_whole(read))
        await self._tell(billing, read, exchange, spent=spent, started_at=state.started_at)

    def _read_safely(self, answer: Answer | None, pack: Pack) -> Entries | Failure:
        """What a 200's answer holds; a defect of ours costs no more than the call."""
        try:
            assert answer is not None
            return read_pack_answer(answer, pack)
        except Exception as error:
            return defect(error, f"{self._seats[0].row} (and {len(self._seats) - 1} more)")

    async def _note(self, state: RowState, billing: PackBilling, failure: Failure, *, spent: Spent) -> None:
        """Write down a call that brought nothing, and count it against the run where it may be every row's."""
        kind = _whole(failure).kind
        shares = Shares(billing.weights, billing.weights).of(spent, self._model.price)
        self._segment.bill(billing.bills([kind.value, *[None] * (len(shares) - 1)], shares))
        state.last = failure
        self._budget.count(state, failure)
        if spent.usage.total or spent.unknown:
            await self._segment.durable()
        self._caller.landed(billing.rows)
        if FAILURE_POLICIES[kind].action in (Action.WAIT, Action.RETRY):
            for row in billing.rows[1:]:
                self._gate.on_retry(row)

    async def _tell(
        self, billing: PackBilling, entries: Entries, exchange: Exchange, *, spent: Spent, started_at: int | None
    ) -> None:
        """Each row's part of the answer. What is accepted is durable before the others are asked again."""
        assert exchange.answer is not None
        answer = exchange.answer
        parts = [
            judge_entry(self._single, seat, entry, answer=answer)
            for seat, entry in zip(self._seats, entries.each, strict=True)
        ]
        # What the answer says beside its entries is common to them.
        told = [len(entry.text.encode()) for entry in entries.each]
        common = max(0, len(answer.text.encode()) - sum(told))
        shares = Shares(billing.weights, with_common(told, common)).of(spent, self._model.price)
        failures = [part.verdict if isinstance(part.verdict, Failure) else None for part in parts]
        kept = [declined(failure, part.answer) for failure, part in zip(failures, parts, strict=True)]
        kinds = [None if failure is None else failure.kind.value for failure in failures]
        self._segment.bill(billing.bills(kinds, shares, kept))
        failed: list[tuple[Seat, Alone]] = []
        for seat, part, share in zip(self._seats, parts, shares, strict=True):
            state, verdict = self._billed(seat, part), part.verdict
            state.answer, state.seconds, state.started_at = part.answer, exchange.seconds, started_at
            if isinstance(verdict, Failure):
                state.offer(share.cost)
                failed.append((seat, Alone(verdict, state)))
                continue
            accepted = msgspec.structs.replace(verdict.accepted, repair=_both(entries.repair, verdict.accepted.repair))
            outcome = self._single.outcome(
                state, Status.OK, accepted=accepted, evidence=verdict.evidence, bought=share.cost
            )
            tell(seat, outcome)
        if not failed:
            return
        # By the next turn of the loop the accepted ones are appended to the journal.
        await asyncio.sleep(0)
        await self._segment.durable()
        self._caller.landed([seat.row for seat, _ in failed])
        for seat, alone in failed:
            tell(seat, alone)

    def _billed(self, seat: Seat, part: PackPart) -> RowState:
        """The row's state with its share of the call."""
        state = self._single.begin(seat.request, account_of(seat))
        state.body, state.offered = part.state.body, part.state.offered
        return state


def _whole(failure: Failure) -> Failure:
    """How a failure of a whole call counts: what may be one row's fault is charged to none of them."""
    action = FAILURE_POLICIES[failure.kind].action
    if action in (Action.WAIT, Action.RETRY, Action.ROW_OR_RUN, Action.HALT):
        return failure
    return msgspec.structs.replace(failure, kind=FailureKind.PACK_DIVIDED)


def _both(*repairs: str | None) -> str | None:
    return ", ".join(repair for repair in repairs if repair) or None


def tell(seat: Seat, told: Outcome | Alone) -> None:
    """A row is told its outcome, unless its task has ended."""
    if not seat.told.done():
        seat.told.set_result(told)
