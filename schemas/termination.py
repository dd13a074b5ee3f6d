"""Termination: why a run ended, and the exit code that says so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rowmill.schemas.errors import ExitCode


class TerminationKind(StrEnum):
    """Why a run ended."""

    COMPLETE = "complete"
    SPEND_LIMIT = "spend_limit"
    INSUFFICIENT_CREDITS = "insufficient_credits"
    BUDGET = "budget"
    AUTH = "auth"
    MODEL_NOT_FOUND = "model_not_found"
    OUTAGE = "outage"
    INTERRUPTED = "interrupted"
    STORAGE = "storage"
    ACCURACY = "accuracy"
    QUALITY = "quality"
    DRIFT = "drift"
    DEADLINE = "deadline"


# What ends a run for want of money.
OUT_OF_MONEY = frozenset({TerminationKind.BUDGET, TerminationKind.SPEND_LIMIT, TerminationKind.INSUFFICIENT_CREDITS})
EXIT_CODES = {
    TerminationKind.COMPLETE: ExitCode.OK,
    TerminationKind.SPEND_LIMIT: ExitCode.MONEY,
    TerminationKind.INSUFFICIENT_CREDITS: ExitCode.MONEY,
    TerminationKind.BUDGET: ExitCode.MONEY,
    TerminationKind.AUTH: ExitCode.GATEWAY_REFUSES,
    TerminationKind.MODEL_NOT_FOUND: ExitCode.GATEWAY_REFUSES,
    TerminationKind.OUTAGE: ExitCode.OUTAGE,
    TerminationKind.INTERRUPTED: ExitCode.INTERRUPTED,
    TerminationKind.STORAGE: ExitCode.REFUSED,
    TerminationKind.ACCURACY: ExitCode.ROWS_NOT_OK,
    TerminationKind.QUALITY: ExitCode.ROWS_NOT_OK,
    TerminationKind.DRIFT: ExitCode.ROWS_NOT_OK,
    TerminationKind.DEADLINE: ExitCode.INTERRUPTED,
}


@dataclass(frozen=True, slots=True)
class Termination:
    """Why a run ended: its kind, the gateway's code and words where there are any, and what to do next."""

    kind: TerminationKind
    code: str | None = None
    message: str = ""
    next: str = ""
