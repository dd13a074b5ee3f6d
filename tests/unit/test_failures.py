"""The verdict table: complete, by status, code and type, never by words."""

from __future__ import annotations

import asyncio
import json
import random
from email.utils import formatdate

import pytest

from rowmill.schemas.attempt import Failure, FailureKind
from rowmill.tasks.gateway.failures import FAILURE_POLICIES, Action, Billed
from rowmill.tasks.gateway.refusals import failure_of, retry_after
from rowmill.tasks.gateway.retry import RetryableFailure, until_settled
from tests.unit.clocks import FakeClock

K = FailureKind
# The gateway's pages: each code under the one status that it comes with.
DOCUMENTED = (
    (400, "invalid_request"),
    (401, "invalid_api_key"),
    (402, "insufficient_credits"),
    (403, "ip_not_allowed"),
    (404, "model_not_found"),
    (404, "task_not_found"),
    (429, "rate_limit_exceeded"),
    (429, "spend_limit_exceeded"),
    (500, "internal_error"),
    (503, "upstream_error"),
)
# What settle or the journal decide by themselves, without a verdict.
OWN = {K.INTERRUPTED}


def body(code: str | None = None, type_: str | None = None, message: str = "words") -> bytes:
    return json.dumps({"error": {"code": code, "type": type_, "message": message}}).encode()


def test_every_failure_kind_has_one_verdict():
    """No failure is left without a decision."""
    assert set(FAILURE_POLICIES) == set(FailureKind) - OWN


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        *((status, body(code), K(code)) for status, code in DOCUMENTED),
        (429, body(None, "billing_error"), K.SPEND_LIMIT),
        (429, body("something_new", "billing_error"), K.SPEND_LIMIT),
        (429, body(None, "rate_limit_error"), K.RATE_LIMIT),
        (429, body("slow_down"), K.RATE_LIMIT),
        (429, b"", K.BARE_429),
        (429, b"<html>too many</html>", K.BARE_429),
        (429, b"{}", K.BARE_429),
        # Words never decide: a rate limit that speaks of spending is still a rate limit, and the other way round.
        (429, body("rate_limit_exceeded", "rate_limit_error", "spend limit billing"), K.RATE_LIMIT),
        (429, body("spend_limit_exceeded", "billing_error", "too many requests, slow down"), K.SPEND_LIMIT),
        (401, b"", K.INVALID_API_KEY),
        (402, b"", K.INSUFFICIENT_CREDITS),
        (403, b"", K.FORBIDDEN),
        (404, b"<html>", K.WRONG_ADDRESS),
        (301, b"", K.WRONG_ADDRESS),
        (400, b"", K.INVALID_REQUEST),
        (413, b"", K.INVALID_REQUEST),
        (422, body(None, None), K.INVALID_REQUEST),
        (408, b"", K.TIMEOUT),
        (500, b"", K.INTERNAL_ERROR),
        (502, b"<html>", K.INTERNAL_ERROR),
        (503, b"", K.UPSTREAM_ERROR),
        (504, b"", K.INTERNAL_ERROR),
        (429, json.dumps({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m"}}).encode(), K.RATE_LIMIT),
        (400, json.dumps([{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}]).encode(), K.INVALID_REQUEST),
    ],
)  # fmt: skip
def test_failures_are_told_by_status_code_and_type(status, content, kind):
    """Each answer of the gateway is the one failure that its status, code and type make it."""
    assert failure_of(status, {}, content, 0.0).kind is kind


def test_the_table_says_what_the_contract_says():
    """The contract's table, line by line."""
    halts = {
        K.INVALID_API_KEY,
        K.IP_NOT_ALLOWED,
        K.MODEL_NOT_FOUND,
        K.INSUFFICIENT_CREDITS,
        K.SPEND_LIMIT,
    }
    assert {kind for kind, verdict in FAILURE_POLICIES.items() if verdict.action is Action.HALT} == halts
    dead = {K.INVALID_REQUEST, K.TASK_NOT_FOUND, K.DEFECT}
    assert {kind for kind, verdict in FAILURE_POLICIES.items() if verdict.action is Action.DEAD_LETTER} == dead
    assert FAILURE_POLICIES[K.UPSTREAM_ERROR].billed is Billed.NO
    for kind in (K.INTERNAL_ERROR, K.TIMEOUT, K.DISCONNECT, K.TRUNCATED, K.UNREADABLE_BODY):
        assert FAILURE_POLICIES[kind].action is Action.RETRY
        assert FAILURE_POLICIES[kind].billed is Billed.UNKNOWN
    for kind in (K.SCHEMA_VIOLATION, K.INVALID_JSON, K.CUT):
        assert FAILURE_POLICIES[kind].action is Action.ASK_AGAIN


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("5", 5), ("0.5", 0.5), ("-3", 0), (formatdate(1_000_010, usegmt=True), 10), (formatdate(999_000, usegmt=True), 0),
     ("soon", None), ("nan", None), ("inf", None), (None, None), ("", None), ("99999999", 3_600)],
)  # fmt: skip
def test_retry_after_is_read_in_seconds_and_as_a_date(told, seconds):
    """Both forms of Retry-After are obeyed, nonsense is left out, and nobody waits longer than an hour at a time."""
    assert retry_after(told, 1_000_000.0) == seconds


def settle(failures: list[Failure], budget: int) -> tuple[str, float]:
    """Run attempts that fail like this and then succeed; the result and the seconds waited."""
    clock, left = FakeClock(), list(failures)
    began, charged = clock.now(), 0

    async def attempt() -> str:
        if left:
            raise RetryableFailure(left.pop(0))
        return "settled"

    def exhausted(failure: Failure) -> bool:
        nonlocal charged
        charged += FAILURE_POLICIES[failure.kind].action is Action.RETRY
        return charged > budget

    async def run() -> str:
        try:
            return await attempt()
        except RetryableFailure as first:
            begun = first
        return await until_settled(
            begun, attempt, exhausted=exhausted, charged=lambda: charged, clock=clock, rng=random.Random(1)
        )

    return asyncio.run(run()), clock.now() - began


def test_waits_grow_jittered_and_only_for_transport_failures():
    """Backoff doubles from half a second within its jitter; a rate limit and a new question wait nowhere else."""
    upstream = Failure(K.UPSTREAM_ERROR, "")
    result, waited = settle([upstream] * 4, 5)
    assert result == "settled"
    assert 0.25 + 0.5 + 1 + 2 <= waited <= 0.5 + 1 + 2 + 4
    assert settle([Failure(K.RATE_LIMIT, "", 9.0), Failure(K.CUT, ""), Failure(K.SCHEMA_VIOLATION, "")], 0)[1] == 0
    assert settle([Failure(K.UPSTREAM_ERROR, "", 33.0)], 1)[1] >= 33


def test_an_exhausted_budget_raises_the_last_failure():
    """After its retries a row ends with the failure that it last met."""
    with pytest.raises(RetryableFailure) as caught:
        settle([Failure(K.UPSTREAM_ERROR, str(n)) for n in range(9)], 3)
    assert caught.value.failure.message == "3"
