"""The cascade's arithmetic, held against every way in which votes can fall."""

from __future__ import annotations

from itertools import product

import pytest
from msgspec import convert

from rowmill.schemas.catalogue import find_model
from rowmill.schemas.job import Job
from rowmill.schemas.label import Label, Vote
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.usage import Usage
from rowmill.tasks.job.job_file import catalogue_of
from rowmill.tasks.labelling.cascade import can_escalate, cascade_notes, escalations_afforded, least_votes
from rowmill.tasks.plan.vote_rules import next_model

FIRST, STRONG = "gemini-3-flash", "gemini-3-pro"


def label(names: int, votes: int, below: float, second: int = 1) -> Label:
    return Label.model_validate(
        {"labels": [f"l{n}" for n in range(names)], "votes": votes,
         "escalate": {"model": STRONG, "below": below, "votes": second}}
    )  # fmt: skip


def is_escalated(told: Label, said: tuple[str, ...]) -> tuple[bool, int]:
    """Whether the stronger model is asked, and after how many first votes."""
    cast: list[Vote] = []
    while (model := next_model(told, FIRST, cast)) == FIRST:
        cast.append(Vote(FIRST, (said[len(cast)],)))
    return model is not None, len(cast)


@pytest.mark.parametrize("names", [2, 3, 4])
@pytest.mark.parametrize("votes", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("below", [0.34, 0.5, 0.51, 0.6, 0.66, 0.67, 0.8, 1.0])
def test_what_can_be_escalated_is_what_votes_can_do(names, votes, below):
    """`can_escalate` and `least_votes` say what trying every combination of votes says."""
    told = label(names, votes, below)
    ways = [is_escalated(told, said) for said in product(told.names, repeat=votes)]
    assert can_escalate(told) == any(escalated for escalated, _ in ways)
    assert least_votes(told) == min(count for escalated, count in ways if not escalated)


def test_the_share_that_pays():
    """At that share of escalated rows the cascade costs what the stronger model costs alone."""
    told = label(4, 3, 0.67, second=2)
    share = escalations_afforded(told, 1.0, 5.0)
    assert least_votes(told) * 1.0 + share * 2 * 5.0 == pytest.approx(2 * 5.0)
    assert escalations_afforded(told, 5.0, 5.0) < 0


def test_the_notes_say_what_does_not_pay():
    """A threshold that can never escalate, a cascade dearer than the strong model, and what an output has measured."""
    catalogue = catalogue_of(Job(model=FIRST, input="i", output="o"), None)
    first, strong = find_model(FIRST, catalogue), find_model(STRONG, catalogue)
    usage = Usage(400, 20)
    assert (
        "no row can be escalated" in cascade_notes(label(2, 3, 0.66), first, strong, usage=usage, before=Manifest())[0]
    )
    dear = cascade_notes(label(4, 15, 0.67), first, strong, usage=usage, before=Manifest())
    assert "costs more than gemini-3-pro alone, however few" in dear[0]
    assert (
        "once more than" in cascade_notes(label(4, 3, 0.67, second=3), first, strong, usage=usage, before=Manifest())[0]
    )
    before = convert({"label": {"escalation": {"stronger_alone_usd": 1.0, "saved_usd": -0.71, "rows": 40}}}, Manifest)
    assert (
        "cost 71% more than gemini-3-pro alone"
        in cascade_notes(label(4, 3, 0.67), first, strong, usage=usage, before=before)[0]
    )
    assert (
        cascade_notes(Label.model_validate({"labels": ["a", "b"]}), first, strong, usage=usage, before=Manifest()) == []
    )
