"""Reuse: the outcome of one row that is another's too, because their requests are the same."""

from __future__ import annotations

import msgspec

from rowmill.schemas.attempt import FailureKind, Spent
from rowmill.schemas.json_text import decode_json
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.request import Request
from rowmill.tasks.answers.evidence_answer import unsupported, unsupported_message
from rowmill.tasks.answers.validator import Accepted, Validator
from rowmill.tasks.fields.vote_evidence import evidence_of_votes


def carried(found: Outcome, request: Request, validator: Validator) -> Outcome:
    """An outcome that is this row's too: the row tells its id, its place, its gold, and the texts of its evidence."""
    told = found.labelling
    same = msgspec.structs.replace(
        found,
        row_id=request.row.row_id,
        row_index=request.row.index,
        labelling=None if told is None else msgspec.structs.replace(told, gold=request.gold),
    )
    return same if found.evidence is None else _with_evidence(same, request, validator)


def reused(owner: Outcome, request: Request, run_id: str, *, validator: Validator) -> Outcome:
    """The outcome of a row whose identical request was paid for by another: same answer, no cost."""
    same = carried(owner, request, validator)
    if same.labelling is not None:
        unpaid = tuple(msgspec.structs.replace(vote, spent=Spent()) for vote in same.labelling.votes)
        same = msgspec.structs.replace(same, labelling=msgspec.structs.replace(same.labelling, votes=unpaid))
    if same.voting is not None:
        unpaid = tuple(msgspec.structs.replace(vote, spent=Spent()) for vote in same.voting.votes)
        same = msgspec.structs.replace(same, voting=msgspec.structs.replace(same.voting, votes=unpaid))
    return msgspec.structs.replace(
        same,
        spent=Spent(),
        wasted_usd=0,
        reused_from=owner.row_id,
        failures={},
        run_id=run_id,
    )


def _with_evidence(outcome: Outcome, request: Request, validator: Validator) -> Outcome:
    """The outcome with its quotes looked up in this row's columns: rows whose prompts are equal may differ in them."""
    texts = (
        [outcome.response_text, *(vote.text for vote in outcome.voting.votes)]
        if outcome.voting
        else [outcome.response_text]
    )
    verdicts = [validator.judge(text) for text in texts if text is not None]
    accepted = [verdict for verdict in verdicts if isinstance(verdict, Accepted)]
    if not accepted or outcome.output_text is None:
        return outcome
    supported = [(decode_json(one.text), validator.evidence(one, request.row.columns)) for one in accepted]
    evidence = evidence_of_votes(decode_json(outcome.output_text), supported)
    lacking = unsupported(evidence)
    if not lacking or not validator.requires_evidence:
        return msgspec.structs.replace(outcome, evidence=evidence)
    return msgspec.structs.replace(
        outcome,
        status=Status.INVALID,
        output_text=None,
        evidence=None,
        error_kind=FailureKind.UNSUPPORTED_FIELD.value,
        error_message=unsupported_message(lacking),
    )
