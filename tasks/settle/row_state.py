"""Row state: a row on its way to its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from rowmill.schemas.attempt import Answer, Failure, Spent
from rowmill.schemas.evidence import FieldEvidence
from rowmill.schemas.price import Cost
from rowmill.schemas.request import Request
from rowmill.tasks.answers.evidence_answer import unsupported
from rowmill.tasks.answers.validator import Accepted


@dataclass(frozen=True, slots=True)
class Offer:
    """An answer that meets the schema, some of whose fields have no support: it stands where no better one comes.

    `bought` is what it cost, None where that is unknown.
    """

    accepted: Accepted
    answer: Answer
    evidence: tuple[FieldEvidence, ...]
    bought: Cost | None = None

    @property
    def lacking(self) -> list[FieldEvidence]:
        return unsupported(self.evidence)


@dataclass(slots=True)
class RowState:
    """A row on its way: the body to send next, and what happened so far.

    `offered` is the last answer that lacks support for some fields, `standing` the best of them.
    `throttled` is how often it was refused as too fast since another row was last answered.
    `upstream_at` are the times of its upstream failures, `unconnected`, `incomplete`, `refused` and `alone` numbers of
    its other failures. `answers_seen` and `throttled_seen` are what the evidence counted when it was last sent or
    throttled.
    """

    request: Request
    body: dict[str, Any]
    spent: Spent
    failures: dict[str, int]
    upstream_at: list[float] = field(default_factory=list)
    unconnected: int = 0
    incomplete: int = 0
    refused: int = 0
    alone: int = 0
    answers_seen: int | None = None
    throttled_seen: int = 0
    throttled: int = 0
    throttled_since: float | None = None
    transport: int = 0
    content: int = 0
    answer: Answer | None = None
    last: Failure | None = None
    hopeless: bool = False
    started_at: int | None = None
    seconds: float = 0.0
    offered: Offer | None = None
    standing: Offer | None = None

    def fail(self, failure: Failure) -> None:
        """Note a failed attempt."""
        self.last = failure
        self.failures[failure.kind.value] = self.failures.get(failure.kind.value, 0) + 1

    def offer(self, bought: Cost | None) -> None:
        """Keep what was just offered, with its cost, where it is better supported than what stands."""
        if self.offered is None:
            return
        if self.standing is None or len(self.offered.lacking) < len(self.standing.lacking):
            self.standing = replace(self.offered, bought=bought)
        self.offered = None
