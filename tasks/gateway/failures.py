"""Failures: what each kind of failure means for its row and for the run. One line each, the one table of it.

Source: the contract's error table and the gateway's pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from rowmill.schemas.attempt import FailureKind
from rowmill.schemas.termination import TerminationKind

K = FailureKind


class Action(Enum):
    """What a failure does: wait with everyone, try again, ask the model again, give the row up, find out whether it is
    the row's or every row's, stop the run.
    """

    WAIT = "wait"
    RETRY = "retry"
    ASK_AGAIN = "ask again"
    DEAD_LETTER = "dead letter"
    REFUSED = "refused"
    ROW_OR_RUN = "row or run"
    HALT = "halt"


class Billed(Enum):
    """Whether the gateway billed the attempt: not at all, by the usage it reported, or without a word."""

    NO = "no"
    TOLD = "told"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """`upstream` failures open the breaker when many rows have them. `halts_as` is the run's termination at once,
    `every_row_halts_as` where every row meets the failure and none is answered.
    """

    action: Action
    billed: Billed = Billed.NO
    upstream: bool = False
    slows: bool = False
    halts_as: TerminationKind | None = None
    every_row_halts_as: TerminationKind | None = None


def _halt(kind: TerminationKind) -> FailurePolicy:
    return FailurePolicy(Action.HALT, halts_as=kind)


def _row_or_run(kind: TerminationKind) -> FailurePolicy:
    return FailurePolicy(Action.ROW_OR_RUN, every_row_halts_as=kind)


_retry = FailurePolicy(Action.RETRY, Billed.UNKNOWN, upstream=True, slows=True)
_ask_again = FailurePolicy(Action.ASK_AGAIN, Billed.TOLD)
# The connection was never made, so nothing was asked.
_unreachable = FailurePolicy(Action.RETRY, upstream=True)
# Waiting does not heal these, so a run in which nothing else happens does not wait for long.
_never_heals = FailurePolicy(Action.RETRY, upstream=True, every_row_halts_as=TerminationKind.OUTAGE)

FAILURE_POLICIES: Mapping[FailureKind, FailurePolicy] = {
    K.INVALID_REQUEST: FailurePolicy(Action.DEAD_LETTER),
    K.TASK_NOT_FOUND: FailurePolicy(Action.DEAD_LETTER),
    K.INVALID_API_KEY: _halt(TerminationKind.AUTH),
    K.IP_NOT_ALLOWED: _halt(TerminationKind.AUTH),
    K.MODEL_NOT_FOUND: _halt(TerminationKind.MODEL_NOT_FOUND),
    K.INSUFFICIENT_CREDITS: _halt(TerminationKind.INSUFFICIENT_CREDITS),
    K.SPEND_LIMIT: _halt(TerminationKind.SPEND_LIMIT),
    K.FORBIDDEN: _row_or_run(TerminationKind.AUTH),
    K.WRONG_ADDRESS: _row_or_run(TerminationKind.MODEL_NOT_FOUND),
    K.CONTENT_FILTER: FailurePolicy(Action.REFUSED),
    K.RATE_LIMIT: FailurePolicy(Action.WAIT),
    K.BARE_429: FailurePolicy(Action.WAIT),
    K.INTERNAL_ERROR: _retry,
    # "Credits are automatically refunded when a task fails due to upstream errors."
    K.UPSTREAM_ERROR: FailurePolicy(Action.RETRY, upstream=True, slows=True),
    K.TEMPORARY: FailurePolicy(Action.RETRY, upstream=True),
    K.UNREACHABLE: _unreachable,
    K.UNKNOWN_HOST: _never_heals,
    K.UNTRUSTED_CERTIFICATE: _never_heals,
    K.TIMEOUT: _retry,
    K.DISCONNECT: _retry,
    K.TRUNCATED: _retry,
    K.UNREADABLE_BODY: _retry,
    K.WEB_PAGE: FailurePolicy(Action.RETRY, Billed.UNKNOWN, upstream=True, every_row_halts_as=TerminationKind.OUTAGE),
    K.INVALID_JSON: _ask_again,
    K.SCHEMA_VIOLATION: _ask_again,
    K.UNSUPPORTED_FIELD: _ask_again,
    K.CUT: _ask_again,
    K.EMPTY_ANSWER: _ask_again,
    K.UNEXPECTED_TOOL_CALL: _ask_again,
    # An answer that was billed shows that the gateway works, however it ended.
    K.INCOMPLETE: FailurePolicy(Action.RETRY, Billed.TOLD),
    K.BLOCKED: FailurePolicy(Action.REFUSED, Billed.TOLD),
    K.MISSING_ENTRY: _ask_again,
    K.MISPLACED_ENTRY: _ask_again,
    # What the rows of such a call are to each other is no charge to any of them.
    K.PACK_DIVIDED: FailurePolicy(Action.RETRY, Billed.TOLD),
    K.DEFECT: FailurePolicy(Action.DEAD_LETTER, Billed.UNKNOWN),
}
