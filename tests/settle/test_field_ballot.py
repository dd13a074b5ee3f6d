"""The ballot asks a vote only where it could change a field, the fields in doubt, or whether the stronger model is asked."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rowmill.schemas.account import Voted
from rowmill.schemas.fields import FieldVotes
from rowmill.schemas.label import Escalate
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row
from rowmill.tasks.answers.validator import Validator
from rowmill.tasks.settle.field_ballot import FieldBallot

WEAK, STRONG = "weak", "strong"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "t": {"type": "array", "items": {"type": "integer"}}},
    "required": ["n"],
}
VALIDATOR = Validator(SCHEMA)
REQUEST = Request(Row(0, "r", {}, "f", 1), b"", {})
ANSWER = st.fixed_dictionaries(
    {"n": st.integers(0, 2)}, optional={"t": st.lists(st.integers(0, 1), max_size=2)}
) | st.none()  # fmt: skip


def cast(model: str, answer: Any) -> Voted:
    text = None if answer is None else json.dumps(answer)
    return Voted(0, model, Outcome("r", 0, Status.FAILED if text is None else Status.OK, text, text))


def outcome(votes: FieldVotes, weak: list[Any], strong: list[Any], *, every: bool) -> tuple[Any, Any, Any, int]:
    """Output, fields to review, whether the stronger model was asked, and calls. `every`: no vote is spared."""
    ballot = FieldBallot(votes, WEAK, VALIDATOR)
    said: list[Voted] = [cast(WEAK, answer) for answer in weak[: votes.most]] if every else []
    while (model := ballot.next_model(said)) is not None:
        number = sum(one.model == model for one in said)
        said.append(cast(model, (weak if model == WEAK else strong)[number]))
    escalated = any(one.model == STRONG for one in said)
    if every and escalated:
        said = [one for one in said if one.model == WEAK] + [
            cast(STRONG, one) for one in strong[: votes.escalate.votes]
        ]
    found = ballot.decided(said, REQUEST)
    shares = found.voting.agreement
    doubt = None if escalated else [share < votes.review_below for share in shares]
    output = None if found.output_text is None else VALIDATOR.shape.convert(json.loads(found.output_text))
    return output, doubt, escalated, len(said)


@settings(max_examples=600)
@given(
    st.integers(2, 5),
    st.sampled_from([0.0, 0.51, 0.67, 0.8, 1.0]),
    st.none() | st.sampled_from([0.4, 0.67, 1.0]),
    st.lists(ANSWER, min_size=5, max_size=5),
    st.lists(ANSWER, min_size=3, max_size=3),
)
def test_stopping_early_changes_nothing(most, review_below, below, weak, strong):
    """Output, fields in doubt and escalation are those of all votes; there are never more calls than that."""
    escalate = None if below is None else Escalate(model=STRONG, below=below, votes=3)
    votes = FieldVotes(most=most, review_below=review_below, escalate=escalate)
    *early, calls = outcome(votes, weak, strong, every=False)
    *whole, most_calls = outcome(votes, weak, strong, every=True)
    assert early == whole
    assert calls <= most_calls


def test_votes_that_agree_are_asked_as_seldom_as_told():
    """`fewest` is what a row of equal answers takes, under every threshold."""
    for most in range(1, 8):
        for review_below in (0.0, 0.3, 0.51, 0.67, 0.9, 1.0):
            votes = FieldVotes(most=most, review_below=review_below)
            assert outcome(votes, [{"n": 1}] * most, [], every=False)[3] == votes.fewest


def test_three_votes_usually_are_two():
    """With the default threshold the third is asked where the first two differ in any field."""
    votes = FieldVotes(most=3)
    assert outcome(votes, [{"n": 1}, {"n": 1}, {"n": 2}], [], every=False)[3] == 2
    assert outcome(votes, [{"n": 1}, {"n": 1, "t": [1]}, {"n": 1}], [], every=False)[3] == 3
    assert outcome(votes, [None, {"n": 1}, {"n": 1}], [], every=False)[3] == 3


def test_rows_without_an_answer_keep_their_last_error():
    """Where no vote was accepted the row is what the last one is, and holds all votes."""
    said = [cast(WEAK, None), cast(WEAK, None)]
    found = FieldBallot(FieldVotes(most=2), WEAK, VALIDATOR).decided(said, REQUEST)
    assert found.status is Status.FAILED
    assert len(found.voting.votes) == 2
    assert found.voting.agreement == ()
