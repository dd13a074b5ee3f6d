"""Pack answer: an answer for several rows, taken apart: what each row's entry is worth as an answer of its own."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from rowmill.schemas.attempt import Answer, Failure, FailureKind
from rowmill.schemas.json_text import JsonTextError
from rowmill.tasks.answers.entries import Entries, Entry, plain_text, read_entries
from rowmill.tasks.plan.pack_planner import Pack
from rowmill.tasks.settle.defect import defect
from rowmill.tasks.settle.pack_billing import account_of
from rowmill.tasks.settle.pack_former import Seat
from rowmill.tasks.settle.row_state import RowState
from rowmill.tasks.settle.settler import Read, Settler


@dataclass(frozen=True, slots=True)
class PackPart:
    """A row's part of an answer, as an answer of its own (None where there is none), and what it is worth. What the row
    is asked next, where it is worth nothing, stands in `state`.
    """

    verdict: Read | Failure
    answer: Answer | None
    state: RowState


def read_pack_answer(answer: Answer, pack: Pack) -> Entries | Failure:
    """The entries of an answer, or why it brings nothing to any row."""
    if answer.blocked:
        return Failure(FailureKind.BLOCKED, f"blocked by the provider: {answer.blocked}")
    if answer.broken:
        return Failure(FailureKind.INCOMPLETE, f"the answer is not whole: {answer.broken}")
    if answer.cut:
        # Never mended: what seems whole in a cut answer need not be what was meant.
        return Failure(FailureKind.CUT, "the answer for several rows was cut")
    if answer.tool_calls:
        return Failure(FailureKind.UNEXPECTED_TOOL_CALL, "the model called a function that it was not offered")
    try:
        entries = read_entries(answer.text, pack.tokens)
    except JsonTextError as error:
        return Failure(FailureKind.INVALID_JSON, str(error))
    if answer.unfinished and entries.repair:
        return Failure(FailureKind.INCOMPLETE, "nothing says that the answer is whole: it has no finish reason")
    return entries


def judge_entry(single: Settler, seat: Seat, entry: Entry, *, answer: Answer) -> PackPart:
    """An entry as the row's own answer, and what it is worth."""
    state = single.begin(seat.request, account_of(seat))
    if entry.wrong is not None:
        return PackPart(Failure(entry.kind, entry.wrong), None, state)
    # An entry of a whole value is whole.
    own = msgspec.structs.replace(answer, text=entry.text, usage=None, unfinished=False)
    common = seat.request.common
    if common is not None and common.schema is None:
        text = plain_text(entry.text)
        if text is None:
            return PackPart(Failure(FailureKind.SCHEMA_VIOLATION, "the answer is no text"), own, state)
        own = msgspec.structs.replace(own, text=text)
    try:
        return PackPart(single.judge(state, own), own, state)
    except Exception as error:
        return PackPart(defect(error, seat.request.row.row_id), own, state)
