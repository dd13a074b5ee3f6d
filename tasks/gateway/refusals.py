"""Refusals: an error of the gateway → the failure it is. Known by status, code, type and reason, in this order:

1. what the catalogue's `[models.x.errors]` says of this model's gateway;
2. words that mean the same under every status, in a 200 and in a stream: money, key, model, content;
3. the status, or the number that a body gives for one;
4. the code or type alone, where an error in a 200 or in a stream has no status.

Free text decides nothing, but for three fixed sentences that come without a word of their own. A message that is
itself the JSON of an error, as proxies hand it on, is read as that error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from rowmill.schemas.attempt import Failure, FailureKind
from rowmill.tasks.gateway.protocols.body import first_line, read_json
from rowmill.tasks.gateway.protocols.fields import Unreadable, word

K = FailureKind
MESSAGE_SHOWN = 1_000
WORD_MOST = 200
WORD_KEYS = ("code", "type", "status", "reason", "error_code", "statusCode", "status_code", "http_code")
DEPTH_MOST = 4
RETRY_AFTER_MOST_S = 3_600.0

# What `[models.x.errors]` may name.
NAMED: Mapping[str, FailureKind] = {
    "spend_limit": K.SPEND_LIMIT,
    "rate_limit": K.RATE_LIMIT,
    "upstream": K.UPSTREAM_ERROR,
    "auth": K.INVALID_API_KEY,
    "model_not_found": K.MODEL_NOT_FOUND,
    "row": K.INVALID_REQUEST,
}


def _table(kinds: Mapping[FailureKind, str]) -> dict[str, FailureKind]:
    return {_plain(name): kind for kind, names in kinds.items() for name in names.split()}


def _plain(name: str) -> str:
    """A word as it is compared: one code is written `model_not_found`, `ModelNotFound` and `MODEL-NOT-FOUND`."""
    return re.sub(r"[^a-z0-9]", "", name[:WORD_MOST].lower())


# Words that decide under every status; the first line that has one of an error's words wins.
DECISIVE = _table(
    {
        K.INSUFFICIENT_CREDITS: "insufficient_credits insufficient_balance insufficient_user_quota "
        "credit_balance_too_low not_enough_credits",
        K.SPEND_LIMIT: "spend_limit_exceeded billing_error insufficient_quota billing_hard_limit_reached "
        "billing_limit_exceeded billing_not_active BILLING_DISABLED exceeded_current_quota_error "
        "budget_exceeded budget_exceeded_error exceeded_budget",
        K.INVALID_API_KEY: "invalid_api_key incorrect_api_key API_KEY_INVALID API_KEY_EXPIRED api_key_disabled "
        "API_KEY_SERVICE_BLOCKED API_KEY_HTTP_REFERRER_BLOCKED ACCESS_TOKEN_EXPIRED CREDENTIALS_MISSING "
        "CONSUMER_INVALID CONSUMER_SUSPENDED account_deactivated token_expired token_not_found_in_db",
        K.IP_NOT_ALLOWED: "ip_not_allowed ip_not_authorized API_KEY_IP_ADDRESS_BLOCKED",
        K.MODEL_NOT_FOUND: "model_not_found unknown_model invalid_model no_such_model model_not_exist "
        "model_not_found_error DeploymentNotFound model_not_supported",
        K.CONTENT_FILTER: "content_filter content_filtered content_policy_violation ContentPolicyViolationError "
        "ResponsibleAIPolicyViolation content_blocked moderation_blocked data_inspection_failed "
        "sensitive_words_detected prompt_blocked PROHIBITED_CONTENT",
        K.TASK_NOT_FOUND: "task_not_found",
    }
)
# Words that are outranked by a status that says as much or more.
CODES = _table(
    {
        K.INVALID_API_KEY: "authentication_error UNAUTHENTICATED unauthorized",
        K.FORBIDDEN: "permission_error PERMISSION_DENIED FAILED_PRECONDITION unsupported_country_region_territory "
        "PermissionDeniedError AccessDeniedException access_denied forbidden",
        K.WRONG_ADDRESS: "not_found_error NOT_FOUND UNIMPLEMENTED",
        K.RATE_LIMIT: "rate_limit_exceeded rate_limit_error RESOURCE_EXHAUSTED too_many_requests "
        "RateLimitError throttled ThrottlingException",
        K.UPSTREAM_ERROR: "upstream_error overloaded_error overloaded UNAVAILABLE service_unavailable "
        "ServiceUnavailableError engine_overloaded_error",
        K.TIMEOUT: "DEADLINE_EXCEEDED timeout timeout_error",
        K.TEMPORARY: "conflict_error ABORTED CANCELLED",
        K.INTERNAL_ERROR: "internal_error api_error INTERNAL server_error internal_server_error UNKNOWN DATA_LOSS",
        K.INVALID_REQUEST: "invalid_request invalid_request_error INVALID_ARGUMENT OUT_OF_RANGE BadRequestError "
        "context_length_exceeded request_too_large string_above_max_length unprocessable_entity",
    }
)
STATUSES: Mapping[int, FailureKind] = {
    401: K.INVALID_API_KEY,
    402: K.INSUFFICIENT_CREDITS,
    403: K.FORBIDDEN,
    404: K.WRONG_ADDRESS,
    405: K.WRONG_ADDRESS,
    407: K.FORBIDDEN,
    408: K.TIMEOUT,
    409: K.TEMPORARY,
    410: K.WRONG_ADDRESS,
    423: K.TEMPORARY,
    424: K.TEMPORARY,
    425: K.TEMPORARY,
    429: K.RATE_LIMIT,
    451: K.FORBIDDEN,
    # nginx: the client has closed the connection, or so it seemed to a proxy.
    499: K.DISCONNECT,
    503: K.UPSTREAM_ERROR,
    529: K.UPSTREAM_ERROR,
}
# These say more than the status they come with.
OVER_STATUS: Mapping[int, frozenset[FailureKind]] = {
    400: frozenset({K.FORBIDDEN, K.INVALID_API_KEY, K.RATE_LIMIT, K.UPSTREAM_ERROR}),
    422: frozenset({K.INVALID_API_KEY, K.RATE_LIMIT, K.UPSTREAM_ERROR}),
    403: frozenset({K.RATE_LIMIT, K.INVALID_API_KEY}),
}
# These are spend limits under 402 too, where the other billing errors tell of an empty balance.
SPENT_UP = frozenset(
    map(_plain, ("spend_limit_exceeded", "budget_exceeded", "insufficient_quota", "billing_hard_limit_reached"))
)
# Google's words under INVALID_ARGUMENT, by which alone a key's refusal is known where a proxy drops the details; and
# those of an empty balance that Anthropic calls an invalid request.
SENTENCES: Mapping[str, FailureKind] = {
    "API key not valid": K.INVALID_API_KEY,
    "API key expired": K.INVALID_API_KEY,
    "Your credit balance is too low": K.INSUFFICIENT_CREDITS,
}


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What an error says: its words (code, type, status, reasons) as written, a status among them, its message, the
    field of the request it is about, and the seconds to wait, where it gives any.
    """

    words: tuple[str, ...] = ()
    status: int | None = None
    message: str = ""
    param: str | None = None
    retry_after: float | None = None


NOTHING = ErrorBody()


def failure_of(
    status: int, headers: Mapping[str, str], content: bytes, *, wall: float, errors: Mapping[str, str] | None = None
) -> Failure:
    """A response that is no usable 200 → the failure it is. `wall` is now, for a Retry-After that is a date."""
    try:
        error = error_body(read_json(content))
    except Unreadable:
        error = NOTHING
    kind = _kind(status, error, errors)
    words = error.message or f"HTTP {status} {first_line(content)}".strip()
    waits = retry_after(headers.get("retry-after"), wall)
    return Failure(kind, words[:MESSAGE_SHOWN], error.retry_after if waits is None else waits)


def failure_in_answer(payload: Any, errors: Mapping[str, str] | None = None) -> Failure:
    """An error that came under status 200, whole or in a stream: its own words decide."""
    error = error_body(payload)
    words = error.message or f"an error in place of an answer: {', '.join(error.words) or 'it gives no reason'}"
    return Failure(_kind(error.status or 200, error, errors), words[:MESSAGE_SHOWN], error.retry_after)


def _kind(status: int, error: ErrorBody, errors: Mapping[str, str] | None) -> FailureKind:
    if errors and (named := _named(status, error, errors)):
        return NAMED[named]
    words = [_plain(name) for name in error.words]
    decisive = {DECISIVE[name] for name in words if name in DECISIVE}
    for kind in dict.fromkeys(DECISIVE.values()):
        if kind in decisive:
            # Of the kinds of billing error, this status has one.
            return K.INSUFFICIENT_CREDITS if status == 402 and not SPENT_UP.intersection(words) else kind
    if 400 <= status < 500:
        if error.param == "model":
            return K.MODEL_NOT_FOUND
        if (said := next((of for words, of in SENTENCES.items() if error.message.startswith(words)), None)) is not None:
            return said
    coded = next((CODES[name] for name in words if name in CODES), None)
    return _by_status(status, coded, readable=error is not NOTHING)


def _named(status: int, error: ErrorBody, errors: Mapping[str, str]) -> str | None:
    """What the catalogue calls this error; an error in a 200 may also be named by that status."""
    plain = {_plain(name): named for name, named in errors.items()}
    statuses = (status, error.status, 200)
    keys = (_plain(f"{number}:{name}") for name in error.words for number in statuses)
    return next((plain[key] for key in keys if key in plain), None)


def _by_status(status: int, coded: FailureKind | None, *, readable: bool) -> FailureKind:
    if 200 <= status < 300:
        return coded or K.INTERNAL_ERROR
    if coded is not None and coded in OVER_STATUS.get(status, ()):
        return coded
    if status == 429 and not readable:
        return K.BARE_429
    if status in STATUSES:
        return STATUSES[status]
    if 300 <= status < 400:
        return K.WRONG_ADDRESS
    return K.INVALID_REQUEST if 400 <= status < 500 else K.INTERNAL_ERROR


def error_body(payload: Any) -> ErrorBody:
    """What an error's body says, in whichever of the usual forms; NOTHING where it says nothing."""
    holders = list(_holders(payload))
    words = [found for holder in holders for found in _words(holder)]
    message = next((found for holder in holders for found in [_message(holder)] if found), "")
    if not words and not message:
        return NOTHING
    numbers = (int(name) for name in words if len(name) == 3 and name.isascii() and name.isdigit())
    status = next((number for number in numbers if 300 <= number < 600), None)
    waits = next((found for holder in holders for found in [_retry_delay(holder)] if found is not None), None)
    param = next((word(holder.get("param")) for holder in holders), None)
    return ErrorBody(tuple(dict.fromkeys(words)), status, message, param, waits)


def _holders(payload: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The parts of a body that may say what went wrong, the innermost first."""
    if depth > DEPTH_MOST:
        return
    if isinstance(payload, list):
        payload = payload[0] if payload else None
    if isinstance(payload, str):
        yield from _handed_on(payload, depth)
        yield {"message": payload}
    if not isinstance(payload, dict):
        return
    for key in ("error", "detail", "errors"):
        inner = payload.get(key)
        inner = inner[0] if isinstance(inner, list) and inner else inner
        if isinstance(inner, (dict, str)) and inner:
            yield from _holders(inner, depth + 1)
    yield from _handed_on(payload.get("message"), depth)
    yield payload


def _handed_on(message: Any, depth: int) -> Iterator[dict[str, Any]]:
    """The error that a message is the JSON of."""
    if not isinstance(message, str) or not message.lstrip().startswith("{"):
        return
    try:
        yield from _holders(read_json(message), depth + 1)
    except Unreadable:
        """It only begins like one."""


def _words(holder: Mapping[str, Any]) -> Iterator[str]:
    details = holder.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and (reason := word(detail.get("reason"))):
            yield reason
    inner = holder.get("innererror")
    values = [holder.get(key) for key in WORD_KEYS]
    if isinstance(coral := holder.get("__type"), str):
        # AWS: a namespace stands before the name.
        values.append(coral.rpartition("#")[2])
    if isinstance(inner, dict):
        values.append(inner.get("code"))
    if isinstance(holder.get("error"), str):
        # OAuth's form: the code is the error itself.
        values.append(holder["error"])
    for value in values:
        if found := word(value):
            yield found[:WORD_MOST]


def _message(holder: Mapping[str, Any]) -> str:
    found = (holder.get(key) for key in ("message", "msg", "error_description", "error_msg", "detail", "Message"))
    return next((value for value in found if isinstance(value, str) and value), "")


def _retry_delay(holder: Mapping[str, Any]) -> float | None:
    """Google's RetryInfo: seconds as text that ends in s."""
    details = holder.get("details")
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and delay.endswith("s"):
            return _seconds(delay[:-1])
    return None


def retry_after(value: str | None, wall: float) -> float | None:
    """Seconds to wait from a Retry-After header, in seconds or as an HTTP date; None where it gives none."""
    if value is None:
        return None
    seconds = _seconds(value)
    if seconds is not None:
        return seconds
    try:
        date = parsedate_to_datetime(value)
        # One form of HTTP's dates names no zone (`Sun Nov  6 08:49:37 1994`): all of them are in UTC.
        return _bounded((date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp() - wall)
    except (ValueError, TypeError, OverflowError):
        return None


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return _bounded(seconds) if math.isfinite(seconds) else None


def _bounded(seconds: float) -> float:
    return min(max(0.0, seconds), RETRY_AFTER_MOST_S)
