"""Field ballot: votes about the fields of a row's output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rowmill.schemas.account import Voted
from rowmill.schemas.fields import FieldVotes, FieldVoting
from rowmill.schemas.json_text import decode_json
from rowmill.schemas.outcome import Outcome
from rowmill.schemas.request import Request
from rowmill.tasks.answers.validator import Validator
from rowmill.tasks.fields.majority import (
    NO_ANSWER,
    agreement,
    agreement_bounds,
    decision,
    is_settled,
    majority,
    most_agreement,
)
from rowmill.tasks.fields.tree import field_tree
from rowmill.tasks.fields.vote_evidence import evidence_of_votes
from rowmill.tasks.settle.voter import vote_of


class FieldBallot:
    """Decides rows field by field. A vote is asked as long as it could change a field of the output, which fields are
    in doubt, or whether the stronger model is asked.
    """

    def __init__(self, votes: FieldVotes, model: str, validator: Validator) -> None:
        self._votes, self._model = votes, model
        self._meets, self._tree = validator.meets, field_tree(validator.shape)

    def next_model(self, cast: Sequence[Voted]) -> str | None:
        votes, escalate = self._votes, self._votes.escalate
        first = [_said(one) for one in cast if one.model == self._model]
        second = [_said(one) for one in cast if one.model != self._model]
        more = votes.most - len(first)
        if not second and more and not self._is_decided(first, more):
            return self._model
        if escalate is None or not self._is_in_doubt(first, escalate.below):
            return None
        left = escalate.votes - len(second)
        if not is_settled(second, left, self._tree, meets=self._meets):
            return escalate.model
        # Where the stronger model brought no answer, the first one's votes decide after all.
        has_answered = any(one is not NO_ANSWER for one in second)
        return self._model if more and not has_answered and not self._stands(first, more) else None

    def _is_decided(self, said: Sequence[Any], left: int) -> bool:
        """Whether `left` more votes of the first model could change nothing. A row that is escalated whatever they say
        is decided too: the stronger model decides.
        """
        escalate = self._votes.escalate
        if escalate is not None and said and most_agreement(said, left, self._tree) < escalate.below:
            return True
        return self._stands(said, left)

    def _stands(self, said: Sequence[Any], left: int) -> bool:
        """Whether the output and the side of each threshold on which its fields are stand whatever more votes say."""
        if not is_settled(said, left, self._tree, meets=self._meets):
            return False
        escalate = self._votes.escalate
        limits = [self._votes.review_below, *([escalate.below] if escalate is not None else [])]
        bounds = agreement_bounds(said, left, self._tree)
        return not any(least < limit <= most for least, most in bounds for limit in limits)

    def _is_in_doubt(self, said: Sequence[Any], below: float) -> bool:
        """Whether the first model's votes agree too little on some field, or brought no answer."""
        found = majority(said, self._tree, self._meets)
        return found is None or min(agreement(said, found.value, self._tree), default=1.0) < below

    def decided(self, cast: Sequence[Voted], request: Request) -> Outcome:
        """The vote that is nearest to what the fields' majorities are together, with their output; where no vote was
        accepted, the last one.
        """
        votes = tuple(map(vote_of, cast))
        texts = [one.outcome.output_text for one in cast]
        found = decision([one.model for one in cast], texts, self._tree, meets=self._meets)
        if found is None:
            return msgspec.structs.replace(cast[-1].outcome, voting=FieldVoting(votes))
        nearest = cast[found.nearest].outcome
        evidence = nearest.evidence
        if evidence is not None:
            answers = [nearest, *(one.outcome for one in cast)]
            supported = [(_value(one), one.evidence) for one in answers if one.evidence is not None]
            evidence = evidence_of_votes(decode_json(found.text), supported)
        return msgspec.structs.replace(
            nearest, output_text=found.text, evidence=evidence, voting=FieldVoting(votes, found.agreement)
        )


def _said(cast: Voted) -> Any:
    return _value(cast.outcome)


def _value(outcome: Outcome) -> Any:
    return NO_ANSWER if outcome.output_text is None else decode_json(outcome.output_text)
