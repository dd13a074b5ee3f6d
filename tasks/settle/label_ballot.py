"""Label ballot: votes about the labels of a row."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rowmill.schemas.account import Voted
from rowmill.schemas.label import Label, Vote
from rowmill.schemas.outcome import Outcome
from rowmill.schemas.request import Request
from rowmill.tasks.plan.label_prompt import labels_in
from rowmill.tasks.plan.vote_rules import labelling, next_model
from rowmill.tasks.settle.voter import vote_of


class LabelBallot:
    """Decides rows by the labels that their votes name."""

    def __init__(self, label: Label, model: str) -> None:
        self._label, self._model = label, model

    def next_model(self, cast: Sequence[Voted]) -> str | None:
        return next_model(self._label, self._model, [self._vote(one) for one in cast])

    def decided(self, cast: Sequence[Voted], request: Request) -> Outcome:
        """The last vote for the row's label (the stronger model's where it was asked); else one that was accepted; else
        the last.
        """
        votes = [self._vote(one) for one in cast]
        told = labelling(self._label, votes, request.gold)
        for wanted in (told.labels, None):
            for one, vote in zip(reversed(cast), reversed(votes), strict=True):
                if vote.labels is not None and (wanted is None or vote.labels == wanted):
                    return msgspec.structs.replace(one.outcome, labelling=told)
        return msgspec.structs.replace(cast[-1].outcome, labelling=told)

    def _vote(self, cast: Voted) -> Vote:
        text = cast.outcome.output_text
        return msgspec.structs.replace(vote_of(cast), labels=labels_in(text, self._label) if text else None)
