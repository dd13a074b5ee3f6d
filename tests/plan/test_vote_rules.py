"""What many answers make of a row, and when no further one is asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.label import Label, Vote
from rowmill.tasks.plan.vote_rules import agreement, labelling, next_model, winner

NAMES = ["a", "b", "c", "d"]
FIRST, SECOND = "cheap", "strong"


def label(**keys: Any) -> Label:
    return Label.model_validate({"labels": NAMES, **keys})


def votes(*said: str | None, model: str = FIRST) -> list[Vote]:
    return [Vote(model, None if one is None else tuple(one), "ok" if one is not None else "failed") for one in said]


def ask(told: Label, first: list[Vote], second: list[Vote]) -> list[Vote]:
    """The votes that would be asked of those that would be given."""
    cast: list[Vote] = []
    left = {FIRST: iter(first), SECOND: iter(second)}
    while (model := next_model(told, FIRST, cast)) is not None:
        cast.append(next(left[model]))
    return cast


singles = st.sampled_from(["a", "b", "c", "d", None])
sets = st.one_of(
    st.none(), st.lists(st.sampled_from(NAMES), unique=True, max_size=3).map(lambda one: "".join(sorted(one)))
)
thresholds = st.sampled_from([0.0, 0.34, 0.5, 0.51, 0.66, 0.67, 0.75, 1.0])


@given(st.lists(singles, min_size=1, max_size=9), st.sampled_from(["first", "review"]), thresholds)
def test_early_stopping_gives_the_label_and_the_review_of_all_votes(said, ties, review):
    """Whatever is voted, the row has the same label, and goes to review or not, as if every vote had been asked."""
    told = label(votes=len(said), ties=ties, review_below=review)
    every = votes(*said)
    asked = ask(told, every, [])
    assert asked == every[: len(asked)]
    whole, early = labelling(told, every, None), labelling(told, asked, None)
    assert early.labels == whole.labels
    if whole.agreement is not None:
        assert (early.agreement < review) == (whole.agreement < review)


@given(st.lists(sets, min_size=1, max_size=7), st.sampled_from(["first", "review"]), thresholds)
def test_early_stopping_of_several_labels_gives_those_of_all_votes(said, ties, review):
    """The same where a row may have several labels, or none."""
    told = label(multi=True, votes=len(said), ties=ties, review_below=review)
    every = votes(*said)
    asked = ask(told, every, [])
    assert labelling(told, asked, None).labels == labelling(told, every, None).labels


@given(st.lists(singles, min_size=1, max_size=7), st.lists(singles, min_size=3, max_size=3), thresholds.filter(bool))
def test_a_row_is_escalated_where_all_votes_would_have_it(said, stronger, below):
    """The stronger model is asked exactly where the agreement of all the first model's votes is below the threshold."""
    told = label(votes=len(said), review_below=0.0, escalate={"model": SECOND, "below": below, "votes": 3})
    first, second = votes(*said), votes(*stronger, model=SECOND)
    asked = ask(told, first, second)
    won = winner(told, first, ties_first=True)
    disagree = won is None or agreement(first, won) < below
    assert any(vote.model == SECOND for vote in asked) == disagree
    assert len(asked) <= told.votes + told.escalate.votes
    if disagree and any(vote.labels for vote in second):
        assert labelling(told, asked, None).labels == winner(told, second)
    elif not disagree:
        assert labelling(told, asked, None).labels == winner(told, first)


def test_two_alike_of_three_settle_a_row():
    """With three votes the third is asked only where the first two differ."""
    told = label(votes=3)
    assert len(ask(told, votes("a", "a", "b"), [])) == 2
    assert len(ask(told, votes("a", "b", "b"), [])) == 3
    assert labelling(told, votes("a", "b", "b"), None).agreement == pytest.approx(2 / 3)


def test_a_row_that_is_escalated_for_sure_is_not_asked_on():
    """Two of three that differ can reach no two thirds: the stronger model is asked at once."""
    told = label(votes=3, escalate={"model": SECOND, "below": 0.67})
    asked = ask(told, votes("a", "b", "a"), votes("b", model=SECOND))
    assert [vote.model for vote in asked] == [FIRST, FIRST, SECOND]
    assert labelling(told, asked, None).labels == ("b",)


@pytest.mark.parametrize(
    ("ties", "said", "chosen"),
    [("first", "bac", ("b",)), ("review", "bac", None), ("first", "abba", ("a",)), ("review", "aab", ("a",))],
)
def test_ties_are_broken_by_the_rule_that_is_named(ties, said, chosen):
    """`first` takes the label voted for first, `review` takes none."""
    assert labelling(label(votes=len(said), ties=ties), votes(*said), None).labels == chosen


def test_votes_that_failed_do_not_count_as_agreeing():
    """One answer of three says what the row is labelled; its agreement is a third."""
    told = labelling(label(votes=3), votes("a", None, None), ("a",))
    assert (told.labels, told.agreement, told.correct) == (("a",), pytest.approx(1 / 3), True)
    nothing = labelling(label(votes=2), votes(None, None), ("a",))
    assert (nothing.labels, nothing.agreement, nothing.correct) == (None, None, None)
