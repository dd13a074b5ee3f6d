"""Votes: many answers about a row → one label, how many agree, and whether one more could change anything. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rowmill.schemas.label import Label, Labelling, Labels, Vote


def labelling(label: Label, votes: Sequence[Vote], gold: Labels | None) -> Labelling:
    """What the votes make of a row. Where the stronger model was asked and answered, its votes decide.

    The agreement is the share of all votes that say what the row is labelled; of several labels their mean Jaccard
    similarity. Without a label it is that of the strongest side.
    """
    first, second = stages(label, votes)
    decided = second if any(vote.labels is not None for vote in second) else first
    won = winner(label, decided)
    side = won if won is not None else winner(label, decided, ties_first=True)
    return Labelling(won, tuple(votes), None if side is None else agreement(votes, side), gold)


def stages(label: Label, votes: Sequence[Vote]) -> tuple[list[Vote], list[Vote]]:
    """The votes of the job's model, and those of the model it escalates to."""
    stronger = label.escalate.model if label.escalate else None
    return [vote for vote in votes if vote.model != stronger], [vote for vote in votes if vote.model == stronger]


def winner(label: Label, votes: Sequence[Vote], *, ties_first: bool = False) -> Labels | None:
    """The labels that the votes choose; None where none named any, or on a tie that goes to review."""
    said = [vote.labels for vote in votes if vote.labels is not None]
    if not said:
        return None
    by_rule = ties_first or label.ties == "first"
    if label.multi:
        return _each_by_majority(label, said, by_rule)
    counts = Counter(said)
    most = max(counts.values())
    leading = [labels for labels, count in counts.items() if count == most]
    # A Counter keeps the order in which it met its keys: the first leader was voted for first.
    return leading[0] if len(leading) == 1 or by_rule else None


def _each_by_majority(label: Label, said: Sequence[Labels], by_rule: bool) -> Labels | None:
    chosen = []
    for name in label.names:
        twice = 2 * sum(name in labels for labels in said)
        if twice == len(said) and not by_rule:
            return None
        if twice > len(said) or (twice == len(said) and name in said[0]):
            chosen.append(name)
    return tuple(chosen)


def agreement(votes: Sequence[Vote], labels: Labels) -> float:
    """Mean likeness of the votes to a row's labels; a vote that brought none is unlike."""
    return sum(_likeness(vote.labels, labels) for vote in votes) / len(votes)


def _likeness(said: Labels | None, labels: Labels) -> float:
    if said is None:
        return 0.0
    either = set(said) | set(labels)
    return len(set(said) & set(labels)) / len(either) if either else 1.0


def next_model(label: Label, model: str, votes: Sequence[Vote]) -> str | None:
    """Whose vote is asked next; None where the row is decided."""
    first, second = stages(label, votes)
    if not second and len(first) < label.votes and not is_decided(label, first, label.votes - len(first)):
        return model
    if label.escalate is None or not _disagree(label, first, label.escalate.below):
        return None
    left = label.escalate.votes - len(second)
    return label.escalate.model if left and not _label_is_sure(label, second, left) else None


def _disagree(label: Label, votes: Sequence[Vote], below: float) -> bool:
    won = winner(label, votes, ties_first=True)
    return won is None or agreement(votes, won) < below


def is_decided(label: Label, votes: Sequence[Vote], left: int) -> bool:
    """Whether `left` more votes of the first model could change neither the label, nor whether the row is escalated,
    nor whether it goes to review. A row that is escalated whatever they say is decided too: the stronger model decides.
    """
    won = winner(label, votes, ties_first=True)
    if won is None:
        return False
    asked = len(votes) + left
    alike = sum(_likeness(vote.labels, won) for vote in votes)
    if label.escalate is not None:
        if not label.multi and (alike + left) / asked < label.escalate.below:
            return True
        if alike / asked < label.escalate.below:
            return False
    same_side = alike / asked >= label.review_below or (alike + left) / asked < label.review_below
    return same_side and _label_is_sure(label, votes, left)


def _label_is_sure(label: Label, votes: Sequence[Vote], left: int) -> bool:
    """Whether the winner stands whatever `left` more votes say, or whether they fail."""
    said = [vote.labels for vote in votes if vote.labels is not None]
    if not said:
        return False
    if label.multi:
        counts = [sum(name in labels for labels in said) for name in label.names]
        return all(2 * count > len(said) + left or 2 * count + left < len(said) for count in counts)
    won = winner(label, votes)
    # The most that a label can gain is all that is left; one that nobody named yet stands for all of those.
    unnamed = next(((name,) for name in label.names if (name,) not in said), said[0])
    rivals = {*said, unnamed}
    return all(winner(label, [*votes, *[Vote("", labels=rival)] * left]) == won for rival in rivals)
