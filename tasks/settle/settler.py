"""Settle: one request → its outcome. Call, validate, and judge what went wrong until the row has a final state."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from rowmill.schemas.account import Account
from rowmill.schemas.attempt import Answer, Failure, FailureKind, Spent
from rowmill.schemas.catalogue import Model
from rowmill.schemas.evidence import FieldEvidence
from rowmill.schemas.job_sections import Retries
from rowmill.schemas.outcome import Outcome, Status, answer_digest
from rowmill.schemas.price import ZERO, Cost
from rowmill.schemas.request import Request
from rowmill.schemas.termination import OUT_OF_MONEY
from rowmill.tasks.answers.evidence_answer import ask_for_support, unsupported_message
from rowmill.tasks.answers.validator import Accepted, Validator
from rowmill.tasks.gateway.admission.gate import Gate, Halted
from rowmill.tasks.gateway.client import Client
from rowmill.tasks.gateway.failures import FAILURE_POLICIES, Action
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.gateway.retry import RetryableFailure, until_settled
from rowmill.tasks.journal.segment import Segment
from rowmill.tasks.settle.caller import Caller, RowBilling
from rowmill.tasks.settle.defect import defect
from rowmill.tasks.settle.retry_budget import RetryBudget
from rowmill.tasks.settle.row_state import Offer, RowState
from rowmill.tasks.system.clock import Clock

CONTENT_KINDS = frozenset(kind for kind, policy in FAILURE_POLICIES.items() if policy.action is Action.ASK_AGAIN)


class Read(msgspec.Struct, frozen=True):
    """An answer that settles its row, and where its values stand; None where the job asks for no evidence."""

    accepted: Accepted
    evidence: tuple[FieldEvidence, ...] | None = None


class Settler:
    """Settles requests of one job against one gateway, in one process."""

    def __init__(
        self,
        *,
        model: Model,
        client: Client,
        gate: Gate,
        validator: Validator,
        retries: Retries,
        stream: bool,
        clock: Clock,
        rng: random.Random,
        run_id: str,
        sending: set[int] | None = None,
    ) -> None:
        """`sending` are the rows whose calls are in flight, shared by all who send for one run."""
        self.gate = gate
        self.sending: set[int] = set() if sending is None else sending
        self.caller = Caller(model=model, client=client, gate=gate, stream=stream, clock=clock, sending=self.sending)
        self.budget = RetryBudget(gate, retries, clock)
        self._model, self._validator = model, validator
        self._protocol = PROTOCOLS[model.protocol]
        self._clock, self._rng, self._run_id = clock, rng, run_id

    async def settle(self, request: Request, segment: Segment, account: Account) -> Outcome:
        """The outcome of a request. Raises Halted where the run ended first; what was spent is in the journal.

        `account` is what earlier runs that did not settle this row have spent for it.
        """
        state = self.begin(request, account)
        try:
            outcome = self._recalled(state, account) or await self._attempt(state, segment)
        except RetryableFailure as first:
            outcome = await self._again_or_standing(state, segment, first)
            self.budget.evidence.settled(request.row.index)
        self.gate.settled(request.row.index)
        return outcome

    def begin(self, request: Request, account: Account) -> RowState:
        """A row on its way, with what was spent for it and charged to it before."""
        state = RowState(request, request.body, account.spent, dict(account.failures))
        state.content = sum(count for kind, count in account.charged.items() if kind in CONTENT_KINDS)
        return state

    def _recalled(self, state: RowState, account: Account) -> Outcome | None:
        """Take up answers that an earlier run declined: the next call says what was wrong with the last of them, and
        the best stands. The row's outcome where one is accepted by now.
        """
        for one in account.declined:
            verdict = self._read_safely(state, one.answer)
            if isinstance(verdict, Read):
                state.started_at = int(self._clock.wall() * 1e6)
                return self.outcome(
                    state, Status.OK, accepted=verdict.accepted, evidence=verdict.evidence, bought=one.cost
                )
            state.last = verdict
            state.offer(one.cost)
        return None

    async def settle_after(self, state: RowState, segment: Segment, failure: Failure) -> Outcome:
        """The outcome of a row whose part of a call for several failed so: it is asked again by itself, with what was
        wrong, as long as its retries last. The failure is charged to its account already. Raises Halted.
        """
        state.last = failure
        outcome = await self._again_or_standing(state, segment, RetryableFailure(failure))
        self.gate.settled(state.request.row.index)
        return outcome

    def judge(self, state: RowState, answer: Answer) -> Read | Failure:
        """What the text of an answer is worth, and the body to ask again with where it is worth nothing."""
        verdict = self._validator.judge(answer.text)
        if isinstance(verdict, Accepted):
            # Without a finish reason only a whole JSON value shows that the answer is whole.
            if answer.unfinished and (verdict.repair or not self._validator.has_schema):
                return Failure(FailureKind.INCOMPLETE, "nothing says that the answer is whole: it has no finish reason")
            return self._supported(state, answer, verdict)
        if answer.text.strip():
            state.body = self._protocol.follow_up(state.request.body, answer, complaint(verdict.reasons))
        return Failure(verdict.kind, verdict.message)

    async def _again_or_standing(self, state: RowState, segment: Segment, first: RetryableFailure) -> Outcome:
        """The outcome of a row whose first attempt failed. Where there is no money to ask for more support, the answer
        that was paid for stands.
        """
        try:
            return await self._again(state, segment, first)
        except Halted:
            ended = self.gate.termination
            if (
                state.standing is None
                or self._validator.requires_evidence
                or ended is None
                or ended.kind not in OUT_OF_MONEY
            ):
                raise
            return self._stands(state, state.standing)

    async def _again(self, state: RowState, segment: Segment, first: RetryableFailure) -> Outcome:
        """The outcome of a row whose first attempt failed."""
        self.gate.retrying += 1
        try:
            return await until_settled(
                first,
                lambda: self._next_attempt(state, segment),
                exhausted=lambda failure: self.budget.exhausted(state, failure),
                charged=lambda: state.transport + state.unconnected,
                clock=self._clock,
                rng=self._rng,
            )
        except RetryableFailure as last:
            policy = FAILURE_POLICIES[last.failure.kind]
            if policy.action is Action.HALT:
                raise Halted from None
            if policy.every_row_halts_as and policy.action is Action.RETRY and not self.budget.evidence.answers:
                self.budget.halt(policy.every_row_halts_as, last.failure)
                raise Halted from None
            return self._given_up(state, last.failure)
        finally:
            self.gate.retrying -= 1

    async def _next_attempt(self, state: RowState, segment: Segment) -> Outcome:
        """Another attempt, unless others were answered meanwhile and the refusal is known to be this row's own."""
        last = state.last
        if (
            last is not None
            and FAILURE_POLICIES[last.kind].action is Action.ROW_OR_RUN
            and self.budget.others_answered(state)
        ):
            raise RetryableFailure(last)
        return await self._attempt(state, segment)

    async def _attempt(self, state: RowState, segment: Segment) -> Outcome:
        """One exchange. Returns the outcome it settles, raises RetryableFailure for a failure."""
        request, caller = state.request, self.caller
        try:
            prepared = caller.prepare(state.body, request)
        except Exception as error:
            failure = defect(error, request.row.row_id)
            state.fail(failure)
            return self._given_up(state, failure)
        billing = RowBilling(request.row.index, state.spent.attempts + 1, request.key.hex())
        permit = await caller.enter(prepared, billing.rows)
        self.budget.sent(state)
        state.started_at = state.started_at or int(self._clock.wall() * 1e6)
        exchange = await caller.send(prepared, permit, segment, billing=billing)
        state.seconds = exchange.seconds
        verdict: Read | Failure = exchange.failure or self._read_safely(state, exchange.answer)
        failed = verdict if isinstance(verdict, Failure) else None
        spent = caller.end(prepared, permit, exchange, failure=failed)
        state.spent = state.spent + spent
        kind = failed.kind.value if failed else None
        segment.bill(billing.bill(kind, spent, declined(failed, exchange.answer)))
        if exchange.answer is not None:
            self.budget.evidence.answered()
        if isinstance(verdict, Read):
            return self.outcome(
                state, Status.OK, accepted=verdict.accepted, evidence=verdict.evidence, bought=spent.cost
            )
        state.offer(spent.cost)
        await self._note(state, segment, verdict, spent=spent)
        self.landed(request.row.index)
        raise RetryableFailure(verdict)

    def landed(self, row: int) -> None:
        """This row's call has ended and what it cost is written down: its task may be cancelled from here on."""
        self.caller.landed((row,))

    def _read_safely(self, state: RowState, answer: Answer | None) -> Read | Failure:
        """The same as `_read`; a defect of ours costs this row and none beside it."""
        try:
            return self._read(state, answer)
        except Exception as error:
            return defect(error, state.request.row.row_id)

    def _read(self, state: RowState, answer: Answer | None) -> Read | Failure:
        """What a 200's answer is worth, and the body to ask again with where it is worth nothing."""
        assert answer is not None
        state.answer = answer
        if answer.blocked:
            return Failure(FailureKind.BLOCKED, f"blocked by the provider: {answer.blocked}")
        if answer.broken:
            return Failure(FailureKind.INCOMPLETE, f"the answer is not whole: {answer.broken}")
        if answer.cut:
            return self._ask_for_more(state)
        if answer.tool_calls:
            if self._protocol.offers_functions(state.request.body):
                return Read(Accepted("", None))
            return Failure(FailureKind.UNEXPECTED_TOOL_CALL, "the model called a function that it was not offered")
        return self.judge(state, answer)

    def _supported(self, state: RowState, answer: Answer, accepted: Accepted) -> Read | Failure:
        """An accepted answer with its evidence; where fields have no support it is kept, and they are asked for."""
        if accepted.quotes is None:
            return Read(accepted)
        evidence = self._validator.evidence(accepted, state.request.row.columns)
        offer = Offer(accepted, answer, evidence)
        if not offer.lacking:
            return Read(accepted, evidence)
        state.offered = offer
        state.body = self._protocol.follow_up(state.request.body, answer, ask_for_support(offer.lacking))
        return Failure(FailureKind.UNSUPPORTED_FIELD, unsupported_message(offer.lacking))

    def _ask_for_more(self, state: RowState) -> Failure:
        """An answer cut at its maximum is never repaired: the same question again, with twice the room."""
        most = self._model.max_output_tokens
        limit = self._protocol.output_limit(state.body)
        used = state.answer.usage.billed_output if state.answer and state.answer.usage else 0
        state.hopeless = limit is not None and limit >= most
        raised = min(most, max(2 * (limit or 0), 2 * used, 256))
        state.body = self._protocol.with_output_limit(state.request.body, raised)
        where = f"{limit} output tokens" if limit else "the model's output limit"
        return Failure(FailureKind.CUT, f"the answer was cut at {where}")

    async def _note(self, state: RowState, segment: Segment, failure: Failure, *, spent: Spent) -> None:
        """Write down a failed attempt, count it against the row, and end the run where its verdict says so."""
        state.fail(failure)
        self.budget.count(state, failure)
        if spent.usage.total or spent.unknown:
            await segment.durable()

    def _stands(self, state: RowState, offer: Offer) -> Outcome:
        """The outcome of a row whose best answer has fields without support."""
        state.answer = offer.answer
        if self._validator.requires_evidence:
            failure = Failure(FailureKind.UNSUPPORTED_FIELD, unsupported_message(offer.lacking))
            return self.outcome(state, Status.INVALID, failure=failure)
        return self.outcome(state, Status.OK, accepted=offer.accepted, evidence=offer.evidence, bought=offer.bought)

    def _given_up(self, state: RowState, failure: Failure) -> Outcome:
        if state.standing is not None:
            return self._stands(state, state.standing)
        action = FAILURE_POLICIES[failure.kind].action
        status = {Action.REFUSED: Status.REFUSED, Action.ASK_AGAIN: Status.INVALID}.get(action, Status.FAILED)
        return self.outcome(state, status, failure=failure)

    def outcome(
        self,
        state: RowState,
        status: Status,
        *,
        accepted: Accepted | None = None,
        evidence: tuple[FieldEvidence, ...] | None = None,
        failure: Failure | None = None,
        bought: Cost | None = ZERO,
    ) -> Outcome:
        """The row's outcome; `bought` is the part of its cost that paid for the accepted answer."""
        row, spent, answer = state.request.row, state.spent, state.answer
        known = spent.cost is not None and bought is not None
        key = state.request.key.hex()
        return Outcome(
            row_id=row.row_id,
            row_index=row.index,
            status=status,
            output_text=accepted.text or None if accepted else None,
            response_text=answer.text if answer else None,
            repair=accepted.repair if accepted else None,
            error_kind=failure.kind.value if failure else None,
            error_message=failure.message if failure else None,
            finish_reason=answer.finish_reason if answer else None,
            model=(answer.model if answer else None) or self._model.name,
            spent=spent,
            wasted_usd=spent.cost.usd - bought.usd if known and spent.cost and bought else None,
            latency_ms=round(state.seconds * 1000),
            started_at=state.started_at,
            finished_at=int(self._clock.wall() * 1e6),
            request_key=key,
            answer_digest=answer_digest(key, answer.text) if answer else None,
            price_version=self._model.price_version if self._model.price else None,
            run_id=self._run_id,
            thoughts=answer.thoughts if answer else None,
            grounding=answer.grounding if answer else None,
            tool_calls=answer.tool_calls if answer else (),
            failures=dict(state.failures),
            evidence=evidence,
        )


def declined(failure: Failure | None, answer: Answer | None) -> Answer | None:
    """The answer that is asked again for, where that is what follows."""
    return answer if failure is not None and failure.kind in CONTENT_KINDS else None


def complaint(wrong: Sequence[str]) -> str:
    """What the model is told when it is asked again."""
    reasons = "\n".join(f"- {reason}" for reason in wrong)
    return f"That answer was not accepted:\n{reasons}\nAnswer again with the corrected JSON value and nothing else."
