"""The verdict table: complete, by status, code and type, never by words."""

from __future__ import annotations

import asyncio
import json
import random
import time
from email.utils import formatdate

import pytest

from rowmill.schemas.attempt import Failure, FailureKind
from rowmill.tasks.gateway.failures import FAILURE_POLICIES, Action, Billed
from rowmill.tasks.gateway.refusals import failure_in_answer, failure_of, retry_after
from rowmill.tasks.gateway.retry import RetryableFailure, until_settled
from tests.clocks import FakeClock

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
    assert failure_of(status, {}, content, wall=0.0).kind is kind


def error(**fields) -> bytes:
    return json.dumps({"error": {"message": "words", **fields}}).encode()


def google(status: str, *reasons: str) -> bytes:
    return error(code=400, status=status, details=[{"reason": reason} for reason in reasons])


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        # money, in any status and spelling
        *((status, error(type="billing_error", code="rate_limit_exceeded"), K.SPEND_LIMIT) for status in (400, 403, 429, 500)),
        *((status, error(type="budget_exceeded", code=str(status)), K.SPEND_LIMIT) for status in (400, 402, 422, 429)),
        (429, error(type="BudgetExceededError"), K.SPEND_LIMIT),
        (429, error(type="insufficient_quota", code="insufficient_quota"), K.SPEND_LIMIT),
        (400, error(code="billing_hard_limit_reached"), K.SPEND_LIMIT),
        (402, error(type="billing_error"), K.INSUFFICIENT_CREDITS),
        (403, error(code="insufficient_user_quota"), K.INSUFFICIENT_CREDITS),
        (429, error(type="billing_error", code="insufficient_credits"), K.INSUFFICIENT_CREDITS),
        (429, b'{"error": "insufficient_quota"}', K.SPEND_LIMIT),
        (429, b'{"detail": {"error": {"code": "spend_limit_exceeded"}}}', K.SPEND_LIMIT),
        # key, region and model
        (400, google("INVALID_ARGUMENT", "API_KEY_INVALID"), K.INVALID_API_KEY),
        (403, google("PERMISSION_DENIED", "API_KEY_SERVICE_BLOCKED"), K.INVALID_API_KEY),
        (400, error(message="API key not valid. Please pass a valid API key.", status="INVALID_ARGUMENT"), K.INVALID_API_KEY),
        (400, google("FAILED_PRECONDITION"), K.FORBIDDEN),
        (403, google("PERMISSION_DENIED"), K.FORBIDDEN),
        (403, error(code="ip_not_allowed"), K.IP_NOT_ALLOWED),
        (400, error(code="model_not_found"), K.MODEL_NOT_FOUND),
        (400, error(type="invalid_request_error", param="model", code=None), K.MODEL_NOT_FOUND),
        (404, error(code="DeploymentNotFound"), K.MODEL_NOT_FOUND),
        (404, google("NOT_FOUND"), K.WRONG_ADDRESS),
        # one row's content
        (400, error(code="content_filter"), K.CONTENT_FILTER),
        (403, error(innererror={"code": "ResponsibleAIPolicyViolation"}), K.CONTENT_FILTER),
        (413, error(type="tokens", code="rate_limit_exceeded"), K.INVALID_REQUEST),
        (429, error(type="tokens", code="rate_limit_exceeded"), K.RATE_LIMIT),
        # what passes
        (409, error(type="conflict_error"), K.TEMPORARY), (425, b"Too Early", K.TEMPORARY), (499, b"", K.DISCONNECT),
        (529, b'{"type": "error", "error": {"type": "overloaded_error"}}', K.UPSTREAM_ERROR),
        (403, error(code="rate_limit_exceeded"), K.RATE_LIMIT), (503, error(status="UNAVAILABLE"), K.UPSTREAM_ERROR),
    ],
)  # fmt: skip
def test_errors_of_other_gateways_are_known_by_their_words(status, content, kind):
    """A word that means the same everywhere decides in every status, spelling and position; the status decides the rest."""
    assert failure_of(status, {}, content, wall=0.0).kind is kind


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        ({"error": {"type": "billing_error"}}, K.SPEND_LIMIT), ({"error": {"code": 402}}, K.INSUFFICIENT_CREDITS),
        ({"error": {"code": 429}}, K.RATE_LIMIT), ({"error": {"code": "429"}}, K.RATE_LIMIT),
        ({"error": {"type": "rate_limit_error"}}, K.RATE_LIMIT), ({"error": {"code": 401}}, K.INVALID_API_KEY),
        ({"error": {"type": "authentication_error"}}, K.INVALID_API_KEY), ({"error": {"code": 403}}, K.FORBIDDEN),
        ({"error": {"status": "UNAVAILABLE"}}, K.UPSTREAM_ERROR), ({"error": {"code": 502}}, K.INTERNAL_ERROR),
        ({"type": "error", "message": "overloaded", "code": 529}, K.UPSTREAM_ERROR), ({"error": "text"}, K.INTERNAL_ERROR),
        ({"error": {"code": "content_filter"}}, K.CONTENT_FILTER), ({"error": {"code": 400}}, K.INVALID_REQUEST),
        ({"error": {"code": "spend_limit_exceeded"}}, K.SPEND_LIMIT), ({"error": True}, K.INTERNAL_ERROR),
    ],
)  # fmt: skip
def test_an_error_under_200_is_the_error_it_would_be_by_itself(payload, kind):
    """In a 200 and in a stream the code, a number for one, or the type alone decide."""
    assert failure_in_answer(payload).kind is kind


def test_the_catalogue_may_name_its_gateways_own_errors():
    """`[models.x.errors]` decides before every table, by code or type, under the status it names."""
    errors = {
        "400:team_month": "spend_limit",
        "429:T-17": "upstream",
        "403:blocked": "row",
        "200:gone": "model_not_found",
    }
    named = [
        (400, error(type="team_month", code="x"), K.SPEND_LIMIT), (429, error(code="T-17"), K.UPSTREAM_ERROR),
        (403, error(code="blocked"), K.INVALID_REQUEST), (422, error(type="team_month"), K.INVALID_REQUEST),
    ]  # fmt: skip
    for status, content, kind in named:
        assert failure_of(status, {}, content, wall=0.0, errors=errors).kind is kind
    assert failure_in_answer({"error": {"code": "gone"}}, errors).kind is K.MODEL_NOT_FOUND


def test_a_wait_is_read_from_the_body_too():
    """Google's RetryInfo holds for a 429 without Retry-After; the header is the more exact where both are there."""
    body = error(code=429, status="RESOURCE_EXHAUSTED", details=[{"retryDelay": "2.5s"}])
    assert failure_of(429, {}, body, wall=0.0).retry_after == 2.5
    assert failure_of(429, {"retry-after": "7"}, body, wall=0.0).retry_after == 7


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


def test_a_date_without_a_zone_is_in_utc(monkeypatch):
    """The old form of HTTP's dates waits as long on a machine in New York as on one in London."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert retry_after("Sun Nov  6 08:49:37 1994", 784_111_747.0) == 30
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("key", ["code", "status", "statusCode", "status_code", "http_code"])
def test_a_status_in_a_200_decides_under_each_of_its_names(key):
    """Gateways in front of gateways put the status beside the message."""
    assert failure_in_answer({key: 429, "message": "slow down"}).kind is FailureKind.RATE_LIMIT
    assert failure_in_answer({"error": {key: 401, "message": "no"}}).kind is FailureKind.INVALID_API_KEY
