"""Cascade: whether a stronger model asked only in doubt can cost less than the same asked always. Pure.

The least a row costs is the votes of the first model after which nothing can change, if they all agree. What is left of
the stronger model's price is the share of rows that may be escalated before the cascade costs more than it alone.
"""

from __future__ import annotations

from rowmill.schemas.catalogue import Model
from rowmill.schemas.display_text import counted
from rowmill.schemas.label import Label, Vote
from rowmill.schemas.label_quality import Escalation
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.usage import Usage
from rowmill.tasks.plan.vote_rules import is_decided


def can_escalate(label: Label) -> bool:
    """Whether votes that all bring a label can differ so much that the stronger model is asked."""
    if label.escalate is None or label.votes < 2:
        return False
    if label.multi:
        return True
    most_alike = -(-label.votes // len(label.names))
    return most_alike / label.votes < label.escalate.below


def least_votes(label: Label) -> int:
    """First votes that every row takes, though they all agree."""
    said = label.names[:1]
    for count in range(1, label.votes):
        if is_decided(label, [Vote("", labels=said)] * count, label.votes - count):
            return count
    return label.votes


def escalations_afforded(label: Label, first_usd: float, stronger_usd: float) -> float:
    """Share of rows that may be escalated before the cascade costs more than the stronger model alone; below 0: none.

    `first_usd` and `stronger_usd` are the costs of one vote each.
    """
    assert label.escalate is not None
    alone = stronger_usd * label.escalate.votes
    return 1 - least_votes(label) * first_usd / alone if alone else 1.0


def cascade_notes(label: Label, first: Model, stronger: Model, *, usage: Usage, before: Manifest) -> list[str]:
    """What `check` and `estimate` say of a job that escalates. `usage` is one call's, guessed alike for both models.

    `before` is the manifest of an earlier run into the same output: what it measured counts for more than a guess.
    """
    if label.escalate is None:
        return []
    notes = []
    if not can_escalate(label):
        notes.append(
            f"no row can be escalated: {_fewest_alike(label)}, which is not below label.escalate.below "
            f"({label.escalate.below:g}); only rows whose votes bring no label are. Raise it, or ask for more votes"
        )
    measured = (before.label and before.label.escalation) or Escalation()
    alone, saved = measured.stronger_alone_usd, measured.saved_usd
    if alone and saved is not None:
        word = "more" if saved < 0 else "less"
        notes.append(
            f"the cascade cost {abs(saved) / alone:.0%} {word} than {stronger.name} alone would have, as measured in "
            f"this output on {counted(measured.rows, 'escalated row')}"
            + (_CHEAPER.format(stronger.name) if saved < 0 else "")
        )
    elif first.price is not None and stronger.price is not None:
        notes += _by_price(label, stronger, first.price.of(usage).usd, stronger_usd=stronger.price.of(usage).usd)
    return notes


_CHEAPER = ": label by {} alone, or ask for fewer votes first"


def _by_price(label: Label, stronger: Model, first_usd: float, *, stronger_usd: float) -> list[str]:
    afforded = escalations_afforded(label, first_usd, stronger_usd)
    least = least_votes(label)
    votes = "1 vote" if least == 1 else f"{least} votes"
    if afforded <= 0:
        return [
            f"the cascade costs more than {stronger.name} alone, however few rows are escalated: every row takes at "
            f"least {votes} of the first model, {1 - afforded:.0%} of the price of {stronger.name}"
            + _CHEAPER.format(stronger.name)
        ]
    if not can_escalate(label):
        return []
    return [
        f"the cascade costs more than {stronger.name} alone once more than {afforded:.0%} of the rows are escalated "
        f"(every row takes at least {votes} of the first model; tokens of both guessed alike): try it with --pilot"
    ]


def _fewest_alike(label: Label) -> str:
    if label.votes < 2:
        return "one vote always agrees with itself"
    alike = -(-label.votes // len(label.names))
    return f"of {label.votes} votes over {len(label.names)} labels at least {alike} agree ({alike / label.votes:.2f})"
