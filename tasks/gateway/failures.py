"""Verdicts: what each failure means for its row and for the run. The one table, and the only tenacity import.

Source: the contract's error table and the gateway's pages. A failure is known by status, body code and type, never by
words in a message.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, TypeVar

import tenacity

from rowmill.schemas.attempt import Failure, FailureKind
from rowmill.schemas.json_text import JsonTextError, decode_json
from rowmill.schemas.manifest import TerminationKind
from rowmill.tasks.system.clock import Clock

K = FailureKind
MESSAGE_SHOWN = 1_000
BACKOFF_FIRST_S = 0.5
BACKOFF_MOST_S = 30.0
RETRY_AFTER_MOST_S = 3_600.0


class Action(Enum):
    """What a failure does: wait with everyone, try again, ask the model again, give the row up, stop the run."""

    WAIT = "wait"
    RETRY = "retry"
    ASK_AGAIN = "ask again"
    DEAD_LETTER = "dead letter"
    REFUSED = "refused"
    HALT = "halt"


class Billed(Enum):
    """Whether the gateway billed the attempt: not at all, by the usage it told, or without telling."""

    NO = "no"
    TOLD = "told"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """`upstream` failures open the breaker when many rows have them; `halts_as` names the run's termination."""

    action: Action
    billed: Billed = Billed.NO
    upstream: bool = False
    slows: bool = False
    halts_as: TerminationKind | None = None


_retry = FailurePolicy(Action.RETRY, Billed.UNKNOWN, upstream=True, slows=True)
_refuses = FailurePolicy(Action.HALT, halts_as=TerminationKind.AUTH)

FAILURE_POLICIES: Mapping[FailureKind, FailurePolicy] = {
    K.INVALID_REQUEST: FailurePolicy(Action.DEAD_LETTER),
    K.TASK_NOT_FOUND: FailurePolicy(Action.DEAD_LETTER),
    K.INVALID_API_KEY: _refuses,
    K.IP_NOT_ALLOWED: _refuses,
    K.MODEL_NOT_FOUND: FailurePolicy(Action.HALT, halts_as=TerminationKind.MODEL_NOT_FOUND),
    K.WRONG_ADDRESS: FailurePolicy(Action.HALT, halts_as=TerminationKind.MODEL_NOT_FOUND),
    K.INSUFFICIENT_CREDITS: FailurePolicy(Action.HALT, halts_as=TerminationKind.INSUFFICIENT_CREDITS),
    K.SPEND_LIMIT: FailurePolicy(Action.HALT, halts_as=TerminationKind.SPEND_LIMIT),
    K.RATE_LIMIT: FailurePolicy(Action.WAIT),
    K.BARE_429: FailurePolicy(Action.WAIT),
    K.INTERNAL_ERROR: _retry,
    # "Credits are automatically refunded when a task fails due to upstream errors."
    K.UPSTREAM_ERROR: FailurePolicy(Action.RETRY, Billed.NO, upstream=True, slows=True),
    # The connection never stood, so nothing was asked.
    K.UNREACHABLE: FailurePolicy(Action.RETRY, Billed.NO, upstream=True),
    K.TIMEOUT: _retry,
    K.DISCONNECT: _retry,
    K.TRUNCATED: _retry,
    K.UNREADABLE_BODY: _retry,
    K.INVALID_JSON: FailurePolicy(Action.ASK_AGAIN, Billed.TOLD),
    K.SCHEMA_VIOLATION: FailurePolicy(Action.ASK_AGAIN, Billed.TOLD),
    K.CUT: FailurePolicy(Action.ASK_AGAIN, Billed.TOLD),
    K.EMPTY_ANSWER: FailurePolicy(Action.ASK_AGAIN, Billed.TOLD),
    K.BLOCKED: FailurePolicy(Action.REFUSED, Billed.TOLD),
}

# The gateway's codes, each under the one status its pages give it.
CODES: Mapping[tuple[int, str], FailureKind] = {
    (400, "invalid_request"): K.INVALID_REQUEST,
    (401, "invalid_api_key"): K.INVALID_API_KEY,
    (402, "insufficient_credits"): K.INSUFFICIENT_CREDITS,
    (403, "ip_not_allowed"): K.IP_NOT_ALLOWED,
    (404, "model_not_found"): K.MODEL_NOT_FOUND,
    (404, "task_not_found"): K.TASK_NOT_FOUND,
    (429, "rate_limit_exceeded"): K.RATE_LIMIT,
    (429, "spend_limit_exceeded"): K.SPEND_LIMIT,
    (500, "internal_error"): K.INTERNAL_ERROR,
    (503, "upstream_error"): K.UPSTREAM_ERROR,
}
# A status whose body has no code of its own meaning.
STATUSES: Mapping[int, FailureKind] = {
    401: K.INVALID_API_KEY,
    402: K.INSUFFICIENT_CREDITS,
    403: K.IP_NOT_ALLOWED,
    404: K.WRONG_ADDRESS,
    405: K.WRONG_ADDRESS,
    408: K.TIMEOUT,
    429: K.RATE_LIMIT,
    503: K.UPSTREAM_ERROR,
}


def failure_of(status: int, headers: Mapping[str, str], content: bytes, wall: float) -> Failure:
    """A response that is no usable 200 → the failure it is. `wall` is now, for a Retry-After that is a date."""
    code, type_, message = _error_of(content)
    kind = CODES.get((status, code))
    if kind is None:
        kind = _kind_without_code(status, code, type_, readable=bool(code or type_ or message))
    words = message or f"HTTP {status} {content[:200].decode('utf-8', 'replace').strip()}".strip()
    return Failure(kind, words[:MESSAGE_SHOWN], retry_after(headers.get("retry-after"), wall))


def failure_in_stream(content: bytes, wall: float) -> Failure:
    """An error told inside a stream that had begun with 200: its code tells the status it would have had."""
    code = _error_of(content)[0]
    status = next((status for status, known in CODES if known == code), 500)
    return failure_of(status, {}, content, wall)


def _kind_without_code(status: int, code: str, type_: str, *, readable: bool) -> FailureKind:
    if status == 429 and (type_ == "billing_error" or code == K.SPEND_LIMIT):
        return K.SPEND_LIMIT
    if status == 429 and not readable:
        return K.BARE_429
    if status in STATUSES:
        return STATUSES[status]
    if 300 <= status < 400:
        return K.WRONG_ADDRESS
    return K.INVALID_REQUEST if 400 <= status < 500 else K.INTERNAL_ERROR


def _error_of(content: bytes) -> tuple[str, str, str]:
    """Code, type and message of an error body; empty where it tells none."""
    try:
        payload = decode_json(content)
    except JsonTextError:
        return "", "", ""
    if isinstance(payload, list) and payload:
        payload = payload[0]
    error = payload.get("error") if isinstance(payload, dict) else None
    if isinstance(error, str):
        return "", "", error
    if not isinstance(error, dict):
        return "", "", ""
    # Google's own endpoint tells a number as code and the word as status.
    code = error.get("code") if isinstance(error.get("code"), str) else error.get("status")
    return _text(code), _text(error.get("type")), _text(error.get("message"))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def retry_after(told: str | None, wall: float) -> float | None:
    """Seconds to wait from a Retry-After header, in seconds or as an HTTP date; None where it tells nothing."""
    if told is None:
        return None
    try:
        seconds = float(told)
        return min(max(0.0, seconds), RETRY_AFTER_MOST_S) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        seconds = parsedate_to_datetime(told).timestamp() - wall
        return min(max(0.0, seconds), RETRY_AFTER_MOST_S)
    except (ValueError, TypeError, OverflowError):
        return None


T = TypeVar("T")


class RetryableFailure(Exception):
    """An attempt that does not settle its row and may be followed by another."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


async def until_settled(
    first: RetryableFailure,
    attempt: Callable[[], Awaitable[T]],
    *,
    exhausted: Callable[[Failure], bool],
    charged: Callable[[], int],
    clock: Clock,
    rng: random.Random,
) -> T:
    """Run attempts after the `first` that failed, until one settles the row. Raises the last `Again` once the row's
    budget is used up.

    A row that succeeds at once never comes here: tenacity's bookkeeping costs more than the rest of a call.
    Only transport failures wait here, with jittered exponential backoff by the `charged` failures of the row; a rate
    limit waits in the limiter with everyone, and a new question to the model need not wait.
    """
    failed = [first]

    async def next_attempt() -> T:
        if failed:
            raise failed.pop()
        return await attempt()

    def wait(state: tenacity.RetryCallState) -> float:
        failure = _failure(state)
        if FAILURE_POLICIES[failure.kind].action is not Action.RETRY:
            return 0.0
        most = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(charged(), 16))
        return max(failure.retry_after or 0.0, rng.uniform(most / 2, most))

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(RetryableFailure),
        stop=lambda state: exhausted(_failure(state)),
        wait=wait,
        sleep=clock.sleep,
        reraise=True,
    )
    return await retrying(next_attempt)


def _failure(state: tenacity.RetryCallState) -> Failure:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, RetryableFailure)
    return error.failure
