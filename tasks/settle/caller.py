"""Caller: one call of a model: its worst case is reserved and its intent written before it is sent; what it cost after.

Whose call it is (a row's, or that of several) is told by its `Billing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from rowmill.schemas.attempt import Answer, Failure, FailureKind, Spent
from rowmill.schemas.catalogue import Model
from rowmill.schemas.errors import StorageError
from rowmill.schemas.price import ZERO, Cost
from rowmill.schemas.request import Request
from rowmill.schemas.usage import Usage
from rowmill.tasks.gateway.admission.gate import Gate, Halted
from rowmill.tasks.gateway.admission.halts import refused_storage
from rowmill.tasks.gateway.admission.permit import Permit
from rowmill.tasks.gateway.client import Client, Exchange
from rowmill.tasks.gateway.failures import FAILURE_POLICIES, Billed
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.journal.entries import Bill, Intent, PackBill, PackIntent
from rowmill.tasks.journal.segment import Segment
from rowmill.tasks.plan.worst_case import WorstCase, worst_case
from rowmill.tasks.settle.defect import defect
from rowmill.tasks.settle.token_estimate import TokenEstimate
from rowmill.tasks.system.clock import Clock


class Billing(Protocol):
    """Whose call it is, in the journal's words. The first of `rows` stands for the call at the gate."""

    @property
    def rows(self) -> Sequence[int]: ...

    def intent(self, worst_usd: int) -> Intent | PackIntent: ...

    def bill(self, kind: str | None, spent: Spent) -> Bill | PackBill: ...


class RowBilling(msgspec.Struct, frozen=True):
    """A call of one row: its how-manieth attempt this is, and the key of its request."""

    row: int
    attempt: int
    key: str

    @property
    def rows(self) -> Sequence[int]:
        return (self.row,)

    def intent(self, worst_usd: int) -> Intent:
        return Intent(self.row, self.attempt, worst_usd, self.key)

    def bill(self, kind: str | None, spent: Spent, declined: Answer | None = None) -> Bill:
        return Bill(self.row, self.attempt, kind, spent, declined)


class Prepared(msgspec.Struct, frozen=True):
    """A body as it goes over the wire. `size` are its bytes without media, `tokens` what it is expected to use, for so
    many rows.
    """

    content: bytes
    size: int
    media: int
    tokens: float
    worst: WorstCase
    rows: int = 1


class Caller:
    """Sends the calls of one model in one process."""

    def __init__(
        self, *, model: Model, client: Client, gate: Gate, stream: bool, clock: Clock, sending: set[int]
    ) -> None:
        """`sending` are the rows whose calls are in flight, shared by all who send for one run."""
        self.gate, self.sending, self.model, self.clock = gate, sending, model, clock
        self._client, self._stream = client, stream
        self._protocol = PROTOCOLS[model.protocol]
        self._estimate = TokenEstimate()
        # What thoughts beside the limit of an answer may cost, as it was seen, in 10⁻¹² USD.
        self._thoughts_usd = 0

    def prepare(self, body: dict[str, Any], request: Request | None = None, *, rows: int = 1) -> Prepared:
        """The bytes of a body, and the most they can cost; `request` is that of the one row that it asks, and tells of
        its media.
        """
        content = self._protocol.wire(body, stream=self._stream)
        media, chars, expected, most = (
            (0, 0, 0.0, 0)
            if request is None
            else (request.media, request.media_chars, request.media_tokens.estimate, request.media_most)
        )
        worst = worst_case(self.model, body, len(content), media_most=most)
        size = len(content) - chars
        tokens = self._estimate.tokens(size, worst.output_tokens, self.gate.in_flight, rows=rows)
        return Prepared(content, size, media, tokens + expected, worst, rows)

    async def enter(self, prepared: Prepared, rows: Sequence[int], *, divisible: bool = False) -> Permit:
        """Wait for the turn of the call. Raises Halted; TooDear where one that is `divisible` fits no more money."""
        worst_usd = prepared.worst.usd + self._thoughts_usd
        permit = await self.gate.enter(rows[0], prepared.tokens, worst_usd, divisible=divisible)
        self.sending.update(rows)
        return permit

    async def send(self, prepared: Prepared, permit: Permit, segment: Segment, *, billing: Billing) -> Exchange:
        """Write the intent, and send. Raises Halted where it cannot be written, or it is too late."""
        if self.gate.end_if_late():
            self.gate.abandon(permit)
            raise Halted
        try:
            segment.make_room()
            segment.intend(billing.intent(permit.worst_usd))
        except StorageError as error:
            self.gate.abandon(permit)
            self.gate.halt(refused_storage(error))
            raise Halted from None
        try:
            await segment.intent_stored()
        except BaseException as error:
            # Nothing was sent.
            self.gate.abandon(permit)
            segment.bill(billing.bill(FailureKind.INTERRUPTED.value, Spent(1, cost=ZERO)))
            if not isinstance(error, StorageError):
                raise
            self.gate.halt(refused_storage(error))
            raise Halted from None
        try:
            return await self._client.send(prepared.content)
        except Exception as error:
            # It may be paid for: what is unknown of it is bounded as after a lost connection.
            return Exchange(None, defect(error, str(permit.row)), 0.0)
        except BaseException:
            # Cut off in flight: it may be paid for unseen, so its worst case stays spent.
            self.gate.release(permit, used_tokens=None, cost_usd=permit.worst_usd, failure=None)
            lost = Spent(1, unknown=True, unknown_usd=permit.worst_usd)
            segment.bill(billing.bill(FailureKind.INTERRUPTED.value, lost))
            raise

    def end(self, prepared: Prepared, permit: Permit, exchange: Exchange, *, failure: Failure | None) -> Spent:
        """Give back what the call held, and say what it cost."""
        spent = self._spent(exchange, failure, permit.worst_usd)
        used = spent.usage.total if exchange.answer and exchange.answer.usage else None
        cost = (spent.cost.usd if spent.cost else 0) + spent.unknown_usd
        excused = self._thought_beyond(prepared.worst, spent.usage, cost)
        self.gate.release(permit, used_tokens=used, cost_usd=cost, failure=failure, excused=excused)
        if used is not None and not prepared.media:
            self._estimate.learn(prepared.size, spent.usage, prepared.rows)
        return spent

    def landed(self, rows: Sequence[int]) -> None:
        """The call of these rows has ended and what it cost is written down: their tasks may be cancelled from here."""
        for row in rows:
            self.sending.discard(row)
            self.gate.stored(row)

    def _thought_beyond(self, worst: WorstCase, usage: Usage, cost: int) -> bool:
        """Whether a call passed its worst case by its thoughts alone: some gateways bill them beside the limit of the
        answer. Later worst cases then leave room for twice as many; nothing else may pass one.
        """
        if cost <= worst.usd:
            return False
        if usage.input > worst.input_tokens or usage.output > worst.output_tokens or not usage.thoughts:
            return False
        self._thoughts_usd = max(self._thoughts_usd, 2 * (cost - worst.usd))
        return True

    def _spent(self, exchange: Exchange, failure: Failure | None, worst_usd: int) -> Spent:
        """What the exchange cost, or may have cost at most where it did not tell."""
        price = self.model.price
        usage = exchange.answer.usage if exchange.answer else None
        if usage is not None:
            return Spent(1, usage, price.of(usage) if price else None)
        billed = FAILURE_POLICIES[failure.kind].billed if exchange.failure and failure else Billed.UNKNOWN
        cost: Cost | None = ZERO if price else None
        if billed is Billed.NO:
            return Spent(1, cost=ZERO)
        return Spent(1, cost=cost, unknown=True, unknown_usd=worst_usd)
