"""Row state: a row on its way to its outcome."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rowmill.schemas.attempt import Answer, Failure, Spent
from rowmill.schemas.request import Request


@dataclass(slots=True)
class RowState:
    """A row on its way: the body to send next, and what happened so far.

    `upstream_at` are the times of its upstream failures, `unconnected`, `incomplete`, `refused` and `alone` numbers of
    its other failures. `answers_seen` and `throttled_seen` are what the evidence counted when it was last sent or
    throttled.
    """

    request: Request
    body: dict[str, Any]
    spent: Spent
    failures: Counter[str]
    upstream_at: list[float] = field(default_factory=list)
    unconnected: int = 0
    incomplete: int = 0
    refused: int = 0
    alone: int = 0
    answers_seen: int | None = None
    throttled_seen: int = 0
    throttled_since: float | None = None
    transport: int = 0
    content: int = 0
    answer: Answer | None = None
    last: Failure | None = None
    hopeless: bool = False
    started_at: int | None = None
    seconds: float = 0.0
