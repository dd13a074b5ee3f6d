"""Attempt: one HTTP exchange, paid or not, and the kinds of failure it can end in."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from rowmill.schemas.price import ZERO, Cost
from rowmill.schemas.usage import Usage


class FailureKind(StrEnum):
    """Why an attempt did not settle its row. The gateway's own codes keep their names."""

    # the gateway's error codes
    INVALID_REQUEST = "invalid_request"
    TASK_NOT_FOUND = "task_not_found"
    INVALID_API_KEY = "invalid_api_key"
    IP_NOT_ALLOWED = "ip_not_allowed"
    MODEL_NOT_FOUND = "model_not_found"
    INSUFFICIENT_CREDITS = "insufficient_credits"
    RATE_LIMIT = "rate_limit_exceeded"
    SPEND_LIMIT = "spend_limit_exceeded"
    INTERNAL_ERROR = "internal_error"
    UPSTREAM_ERROR = "upstream_error"
    # refusals that have no code of the gateway's own
    BARE_429 = "bare_429"
    WRONG_ADDRESS = "wrong_address"
    FORBIDDEN = "forbidden"
    CONTENT_FILTER = "content_filter"
    TEMPORARY = "temporary_error"
    # the exchange itself
    UNREACHABLE = "unreachable"
    UNKNOWN_HOST = "unknown_host"
    UNTRUSTED_CERTIFICATE = "untrusted_certificate"
    TIMEOUT = "timeout"
    DISCONNECT = "disconnect"
    TRUNCATED = "truncated"
    INTERRUPTED = "interrupted"
    UNREADABLE_BODY = "unreadable_body"
    WEB_PAGE = "web_page"
    # a 200 whose answer cannot be accepted
    INVALID_JSON = "invalid_json"
    SCHEMA_VIOLATION = "schema_violation"
    UNSUPPORTED_FIELD = "unsupported_field"
    CUT = "cut"
    EMPTY_ANSWER = "empty_answer"
    INCOMPLETE = "incomplete"
    UNEXPECTED_TOOL_CALL = "unexpected_tool_call"
    BLOCKED = "blocked"
    # a call for several rows: a row's entry is not there, or not where it belongs; the whole was divided
    MISSING_ENTRY = "missing_entry"
    MISPLACED_ENTRY = "misplaced_entry"
    PACK_DIVIDED = "pack_divided"
    # a fault of rowmill itself
    DEFECT = "defect"


class Failure(msgspec.Struct, frozen=True):
    """A failure kind with the words that came with it. `retry_after` is in seconds from its receipt."""

    kind: FailureKind
    message: str
    retry_after: float | None = None


class Answer(msgspec.Struct, frozen=True):
    """What a 200 said. `usage` is None where the gateway did not tell it (never to be counted as 0).

    `finish_reason` is the provider's own word. `cut`, `blocked`, `broken` (why this is no whole answer) and
    `unfinished` (nothing says whether it is whole) are decided by the decoder of each protocol. `grounding` and
    `tool_calls` are JSON-ready values in the provider's order.
    """

    text: str
    usage: Usage | None
    finish_reason: str | None = None
    model: str | None = None
    thoughts: str | None = None
    cut: bool = False
    blocked: str | None = None
    broken: str | None = None
    unfinished: bool = False
    tool_calls: tuple[ToolCall, ...] = ()
    grounding: str | None = None


class ToolCall(msgspec.Struct, frozen=True):
    """One function the model asks for; `arguments` is JSON text."""

    name: str
    arguments: str
    id: str | None = None


class Spent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What attempts cost so far. `cost` is None where the price is unknown.

    `unknown_usd` bounds (10⁻¹² USD) what attempts of unknown usage may have cost beside `cost`. `joined` are those of
    the attempts that were made by a call for several rows, which is counted with another of them.
    """

    attempts: int = 0
    usage: Usage = Usage()
    cost: Cost | None = ZERO
    unknown: bool = False
    unknown_usd: int = 0
    joined: int = 0

    @property
    def calls(self) -> int:
        """Calls to the gateway: over all rows together each of them once."""
        return self.attempts - self.joined

    def __add__(self, other: Spent) -> Spent:
        if self is NOTHING_SPENT:
            return other
        both = self.cost is not None and other.cost is not None
        return Spent(
            self.attempts + other.attempts,
            self.usage + other.usage,
            self.cost + other.cost if both else None,  # type: ignore[operator]
            self.unknown or other.unknown,
            self.unknown_usd + other.unknown_usd,
            self.joined + other.joined,
        )

    def __sub__(self, other: Spent) -> Spent:
        """What is left of these attempts without some of them."""
        both = self.cost is not None and other.cost is not None
        return Spent(
            self.attempts - other.attempts,
            self.usage - other.usage,
            self.cost - other.cost if both else None,  # type: ignore[operator]
            self.unknown,
            self.unknown_usd - other.unknown_usd,
            self.joined - other.joined,
        )


# What every sum begins with.
NOTHING_SPENT = Spent()
