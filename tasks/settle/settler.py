"""Settle: one request → its outcome. Call, validate, and judge what went wrong until the row has a final state."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rowmill.schemas.attempt import Answer, Failure, FailureKind, Spent
from rowmill.schemas.catalogue import Model
from rowmill.schemas.errors import StorageError
from rowmill.schemas.job import Retries
from rowmill.schemas.manifest import Termination
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import ZERO, Cost
from rowmill.schemas.request import Request
from rowmill.schemas.usage import Usage
from rowmill.tasks.answers.validator import Accepted, Rejected, Validator
from rowmill.tasks.gateway.admission.gate import Gate, Halted
from rowmill.tasks.gateway.admission.halts import RUN_AGAIN, refused_storage
from rowmill.tasks.gateway.admission.permit import Permit
from rowmill.tasks.gateway.client import Client, Exchange
from rowmill.tasks.gateway.failures import FAILURE_POLICIES, Action, Billed, RetryableFailure, until_settled
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.journal.segment import Intent, Segment, Tried
from rowmill.tasks.system.clock import Clock

BYTES_A_TOKEN = 4.0
FIRST_OUTPUT_GUESS = 256.0
# Answers are spread widely: their mean is taken over so many, so that one long answer does not slow the fleet.
LEARNED_FROM = 200
# Standard deviations of the tokens in flight that are held back, so that a run of long answers draws no 429.
SPREADS_HELD = 3.0
# What a medium may be counted as beyond its bytes at the most.
MEDIA_MOST_TOKENS = 4_096
CONTENT_KINDS = frozenset(kind for kind, verdict in FAILURE_POLICIES.items() if verdict.action is Action.ASK_AGAIN)


@dataclass(slots=True)
class Expectation:
    """What a call will use, learned from those before: input tokens by its bytes, output tokens by their mean."""

    bytes_a_token: float = BYTES_A_TOKEN
    output: float = FIRST_OUTPUT_GUESS
    variance: float = 0.0
    seen: int = 0

    def tokens(self, size: int, bound: int, in_flight: int) -> float:
        """What to reserve: the mean, and a share of how far all that are in flight may stray from it together."""
        straying = SPREADS_HELD * math.sqrt(self.variance / (in_flight + 1))
        return size / self.bytes_a_token + min(self.output + straying, bound)

    def learn(self, size: int, usage: Usage) -> None:
        self.seen = min(self.seen + 1, LEARNED_FROM)
        if usage.input:
            self.bytes_a_token += (size / usage.input - self.bytes_a_token) / self.seen
        off = usage.billed_output - self.output
        self.output += off / self.seen
        self.variance += (off * (usage.billed_output - self.output) - self.variance) / self.seen


@dataclass(slots=True)
class RowState:
    """A row on its way: the body to send next, and what happened so far."""

    request: Request
    body: dict[str, Any]
    spent: Spent
    failures: Counter[str]
    upstream_at: list[float] = field(default_factory=list)
    transport: int = 0
    content: int = 0
    answer: Answer | None = None
    last: Failure | None = None
    hopeless: bool = False
    started_at: int | None = None
    seconds: float = 0.0


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
        search: bool,
        clock: Clock,
        rng: random.Random,
        run_id: str,
        sending: set[int] | None = None,
    ) -> None:
        """`sending` are the rows whose calls are in flight, shared by all who send for one run."""
        self.gate = gate
        self.sending: set[int] = set() if sending is None else sending
        self._model, self._client, self._validator = model, client, validator
        self._protocol = PROTOCOLS[model.protocol]
        self._retries, self._stream, self._search = retries, stream, search
        self._clock, self._rng, self._run_id = clock, rng, run_id
        self._expectation = Expectation()

    async def settle(self, request: Request, segment: Segment, spent: Spent, failures: dict[str, int]) -> Outcome:
        """The outcome of a request. Raises Halted where the run ended first; what was spent is in the journal.

        `spent` and `failures` are those of earlier sessions that did not settle this row.
        """
        state = RowState(request, request.body, spent, Counter(failures))
        state.content = sum(count for kind, count in failures.items() if kind in CONTENT_KINDS)
        try:
            outcome = await self._attempt(state, segment)
        except RetryableFailure as first:
            outcome = await self._again(state, segment, first)
        self.gate.settled(request.row.index)
        return outcome

    async def _again(self, state: RowState, segment: Segment, first: RetryableFailure) -> Outcome:
        """The outcome of a row whose first attempt failed."""
        self.gate.retrying += 1
        try:
            return await until_settled(
                first,
                lambda: self._attempt(state, segment),
                exhausted=lambda failure: self._exhausted(state, failure),
                charged=lambda: state.transport,
                clock=self._clock,
                rng=self._rng,
            )
        except RetryableFailure as last:
            if FAILURE_POLICIES[last.failure.kind].action is Action.HALT:
                raise Halted from None
            return self._given_up(state, last.failure)
        finally:
            self.gate.retrying -= 1

    def _exhausted(self, state: RowState, failure: Failure) -> bool:
        action = FAILURE_POLICIES[failure.kind].action
        if action is Action.WAIT:
            return False
        if action is Action.RETRY:
            outside = self.gate.breaker.charged(state.upstream_at)
            state.transport = outside
            return outside > self._retries.transport
        if action is Action.ASK_AGAIN:
            return state.hopeless or state.content > self._retries.content
        return True

    async def _attempt(self, state: RowState, segment: Segment) -> Outcome:
        """One exchange. Returns the outcome it settles, raises Again for a failure."""
        content = self._protocol.wire(state.body, stream=self._stream)
        bound = self._protocol.output_limit(state.body) or self._model.max_output_tokens
        worst = worst_usd(self._model, state.request, len(content), bound, search=self._search)
        size = len(content) - state.request.media_chars
        tokens = (
            self._expectation.tokens(size, bound, self.gate.in_flight) + self._model.media_tokens * state.request.media
        )
        permit = await self.gate.enter(state.request.row.index, tokens, worst)
        self.sending.add(state.request.row.index)
        exchange = await self._send(state, segment, permit, content)
        return await self._judge(state, segment, permit, exchange, size)

    def landed(self, row: int) -> None:
        """This row's call has ended and what it cost is written down: its task may be cancelled from here on."""
        self.sending.discard(row)
        self.gate.stored(row)

    async def _send(self, state: RowState, segment: Segment, permit: Permit, content: bytes) -> Exchange:
        try:
            segment.make_room()
            segment.intend(Intent(permit.row, state.spent.attempts + 1, permit.worst_usd))
        except StorageError as error:
            self.gate.abandon(permit)
            self.gate.halt(refused_storage(error))
            raise Halted from None
        state.started_at = state.started_at or int(self._clock.wall() * 1e6)
        try:
            return await self._client.send(content)
        except BaseException:
            # Cut off in flight: it may be paid for unseen, so its worst case stays spent.
            self.gate.release(permit, used_tokens=None, cost_usd=permit.worst_usd, failure=None)
            lost = Spent(1, unknown=True, unknown_usd=permit.worst_usd)
            segment.note_tried(Tried(permit.row, state.spent.attempts + 1, FailureKind.INTERRUPTED.value, lost))
            raise

    async def _judge(self, state: RowState, segment: Segment, permit: Permit, exchange: Exchange, size: int) -> Outcome:
        state.seconds = exchange.seconds
        verdict: Accepted | Failure = exchange.failure or self._read(state, exchange.answer)
        failure = verdict if isinstance(verdict, Failure) else None
        spent = self._spent(exchange, failure, permit.worst_usd)
        used = spent.usage.total if exchange.answer and exchange.answer.usage else None
        cost = (spent.cost.usd if spent.cost else 0) + spent.unknown_usd
        self.gate.release(permit, used_tokens=used, cost_usd=cost, failure=failure)
        if used is not None and not state.request.media:
            self._expectation.learn(size, spent.usage)
        state.spent = state.spent + spent
        if isinstance(verdict, Accepted):
            return self._outcome(state, Status.OK, accepted=verdict, bought=spent.cost)
        await self._note(state, segment, permit, verdict, spent)
        self.landed(permit.row)
        raise RetryableFailure(verdict)

    def _read(self, state: RowState, answer: Answer | None) -> Accepted | Failure:
        """What a 200's answer is worth, and the body to ask again with where it is worth nothing."""
        assert answer is not None
        state.answer = answer
        if answer.blocked:
            return Failure(FailureKind.BLOCKED, f"blocked by the provider: {answer.blocked}")
        if answer.tool_calls:
            return Accepted("", None)
        if answer.cut:
            return self._ask_for_more(state)
        verdict = self._validator.judge(answer.text)
        if isinstance(verdict, Accepted):
            return verdict
        if answer.text.strip():
            state.body = self._protocol.follow_up(state.request.body, answer, complaint(verdict))
        return Failure(verdict.kind, verdict.message)

    def _ask_for_more(self, state: RowState) -> Failure:
        """An answer cut at its maximum is never repaired: the same question again, with twice the room."""
        most = self._model.max_output_tokens
        limit = self._protocol.output_limit(state.body)
        used = state.answer.usage.billed_output if state.answer and state.answer.usage else 0
        state.hopeless = limit is not None and limit >= most
        raised = min(most, max(2 * (limit or 0), 2 * used, 256))
        state.body = self._protocol.with_output_limit(state.request.body, raised)
        told = f"cut at {limit} output tokens" if limit else "cut at the model's output limit"
        return Failure(FailureKind.CUT, f"the answer was {told}")

    def _spent(self, exchange: Exchange, failure: Failure | None, worst_usd: int) -> Spent:
        """What the exchange cost, or may have cost at most where it did not tell."""
        usage = exchange.answer.usage if exchange.answer else None
        if usage is not None:
            return Spent(1, usage, self._model.price.of(usage) if self._model.price else None)
        billed = FAILURE_POLICIES[failure.kind].billed if exchange.failure and failure else Billed.UNKNOWN
        cost: Cost | None = ZERO if self._model.price else None
        if billed is Billed.NO:
            return Spent(1, cost=ZERO)
        return Spent(1, cost=cost, unknown=True, unknown_usd=worst_usd)

    async def _note(self, state: RowState, segment: Segment, permit: Permit, failure: Failure, spent: Spent) -> None:
        """Write down a failed attempt, count it against the row, and end the run where its verdict says so."""
        state.last = failure
        state.failures[failure.kind.value] += 1
        verdict = FAILURE_POLICIES[failure.kind]
        if verdict.upstream:
            state.upstream_at.append(self._clock.now())
        elif verdict.action is Action.ASK_AGAIN:
            state.content += 1
        if verdict.halts_as is not None:
            self.gate.halt(
                Termination(verdict.halts_as, failure.kind.value, failure.message, NEXT[verdict.halts_as.value])
            )
        await segment.tried(Tried(permit.row, state.spent.attempts, failure.kind.value, spent))

    def _given_up(self, state: RowState, failure: Failure) -> Outcome:
        action = FAILURE_POLICIES[failure.kind].action
        status = {Action.REFUSED: Status.REFUSED, Action.ASK_AGAIN: Status.INVALID}.get(action, Status.FAILED)
        return self._outcome(state, status, failure=failure)

    def _outcome(
        self,
        state: RowState,
        status: Status,
        *,
        accepted: Accepted | None = None,
        failure: Failure | None = None,
        bought: Cost | None = ZERO,
    ) -> Outcome:
        row, spent, answer = state.request.row, state.spent, state.answer
        known = spent.cost is not None and bought is not None
        return Outcome(
            row_id=row.row_id,
            row_index=row.index,
            status=status,
            keep=state.request.keep,
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
            request_key=state.request.key.hex(),
            price_version=self._model.price_version if self._model.price else None,
            run_id=self._run_id,
            thoughts=answer.thoughts if answer else None,
            grounding=answer.grounding if answer else None,
            tool_calls=answer.tool_calls if answer else (),
            failures=dict(state.failures),
        )


def worst_usd(model: Model, request: Request, size: int, bound: int, *, search: bool) -> int:
    """Worst case of a call in 10⁻¹² USD: a body of so many bytes, an answer of so many tokens; 0 without a price.

    No token is shorter than a byte, but a small medium has a least number of them. A search, or a medium that only its
    address tells of, may fill the context window.
    """
    if model.price is None:
        return 0
    most = model.context_window
    tokens = most if search or request.by_reference else min(size + MEDIA_MOST_TOKENS * request.media, most)
    return model.price.of(Usage(input=tokens, output=bound)).usd


def complaint(rejected: Rejected) -> str:
    """What the model is told when it is asked again."""
    reasons = "\n".join(f"- {reason}" for reason in rejected.reasons)
    return f"That answer was not accepted:\n{reasons}\nAnswer again with the corrected JSON value and nothing else."


NEXT = {
    "auth": "Check ROWMILL_API_KEY and the key's allowed addresses, then run the same command again",
    "model_not_found": "Check the model's name and ROWMILL_BASE_URL, then run the same command again",
    "insufficient_credits": f"Top up the balance. {RUN_AGAIN}",
    "spend_limit": f"Raise the key's spend limit, or wait until its hour or day turns. {RUN_AGAIN}",
}
