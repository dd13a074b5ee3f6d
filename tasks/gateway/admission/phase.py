"""Phase: whether calls go together, as a table of what changes it."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Whether calls go together. They go alone until one has shown that key, address and model are right."""

    UNTRIED = "no call was sent yet"
    ALONE = "one call at a time"
    PROBING = "one call decides whether a refusal without a readable body was about pace"
    TOGETHER = "as many as the limits allow"

    # Each call looks two of these pairs up, and an enum's own hash is that of its name.
    __hash__ = object.__hash__


class Event(Enum):
    """What changes the phase."""

    SENT = "a call was sent"
    PROVED = "a call has shown that key, address and model are right"
    DOUBTED = "a refusal without a readable body may be a spend limit"
    VERIFIED = "another process has shown it for the same key"
    REOPENED = "the run goes on after a halt"

    __hash__ = object.__hash__


# What is not named changes nothing.
TRANSITIONS = {
    (Phase.UNTRIED, Event.SENT): Phase.ALONE,
    (Phase.UNTRIED, Event.VERIFIED): Phase.TOGETHER,
    (Phase.UNTRIED, Event.REOPENED): Phase.ALONE,
    (Phase.ALONE, Event.PROVED): Phase.TOGETHER,
    (Phase.ALONE, Event.VERIFIED): Phase.TOGETHER,
    (Phase.TOGETHER, Event.DOUBTED): Phase.PROBING,
    (Phase.TOGETHER, Event.REOPENED): Phase.ALONE,
    (Phase.PROBING, Event.PROVED): Phase.TOGETHER,
    (Phase.PROBING, Event.REOPENED): Phase.ALONE,
}


def phase_after(phase: Phase, event: Event) -> Phase:
    """The phase that an event leads to."""
    return TRANSITIONS.get((phase, event), phase)
