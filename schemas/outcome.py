"""Outcome: a row's final state, as it stands in the journal and, a column each, in the results."""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b

import msgspec

from rowmill.schemas.attempt import FailureKind, Spent, ToolCall
from rowmill.schemas.evidence import FieldEvidence
from rowmill.schemas.fields import FieldVoting
from rowmill.schemas.label import Labelling


class Status(StrEnum):
    """How a row ended. One line per status: see CONTRACT in the README."""

    OK = "ok"
    INVALID = "invalid"
    REFUSED = "refused"
    FAILED = "failed"
    UNREADABLE = "unreadable"


ANY = "any"
# Error kinds of rows for which no call was made.
NEVER_ASKED = ("template", "media", "kept_column", "duplicate_id", "unreadable")


def retry_kinds() -> tuple[str, ...]:
    """What `--retry-failed` takes: any row that is not ok, a status, or an error kind."""
    statuses = (status.value for status in Status if status is not Status.OK)
    return tuple(dict.fromkeys([ANY, *statuses, *(kind.value for kind in FailureKind), *NEVER_ASKED]))


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """One settled row. Times are microseconds since 1970 UTC, money 10⁻¹² units inside `spent`.

    `output_text` is the accepted answer as JSON text (plain text where the job has no schema), null unless ok.
    `answer_digest` binds the raw answer to the request that it was given to (see `answer_digest`).
    `evidence` is that of the output's values, where the job asks for it.
    `wasted_usd` is the part of the cost that bought no accepted answer. `failures` counts failed attempts by kind.
    """

    row_id: str
    row_index: int
    status: Status
    output_text: str | None = None
    response_text: str | None = None
    repair: str | None = None
    error_kind: str | None = None
    error_message: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    spent: Spent = Spent()
    wasted_usd: int | None = 0
    reused_from: str | None = None
    latency_ms: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    request_key: str | None = None
    answer_digest: str | None = None
    price_version: str | None = None
    run_id: str = ""
    thoughts: str | None = None
    grounding: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    failures: dict[str, int] = msgspec.field(default_factory=dict)
    labelling: Labelling | None = None
    evidence: tuple[FieldEvidence, ...] | None = None
    voting: FieldVoting | None = None


def answer_digest(request_key: str, response_text: str) -> str:
    """blake2b-64 (hex) over request key and raw answer, taken when the answer comes: a row that holds another request's
    answer is found by it.
    """
    return blake2b(f"{request_key}\n{response_text}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
