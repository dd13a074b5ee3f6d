"""Weighing: what votes count, learned from an output's own rows: from those with gold, or from how far votes agree.

Gold rows that the weights are scored on are weighed by what other gold rows show: all is learned ten times more, each
time without a tenth of them. Rows with one request are one row here: they have the same answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rowmill.schemas.display_text import counted
from rowmill.schemas.label import Label
from rowmill.tasks.labelling.cast_votes import NOBODY, CastVotes, Voters, stacked
from rowmill.tasks.labelling.scores import krippendorff_alpha
from rowmill.tasks.labelling.vote_model import Cells, Shares, VoteModel, from_agreement, from_gold

FOLDS = 10
# Without so many gold rows, of two labels or more, their votes tell too little. Without so many rows on which votes
# differ, or so much agreement beyond chance (Krippendorff's α), votes alone tell nothing of who is right.
GOLD_LEAST, DIFFER_LEAST, ALPHA_LEAST = 30, 30, 0.2
# Rows that are learned from at the most, drawn by their requests: more of them say nothing more.
LEARNED_MOST, LEARNED_MOST_MULTI = 200_000, 20_000
GOLD, AGREEMENT = "gold", "agreement"


@dataclass(frozen=True, slots=True)
class LearnedRows:
    """Rows to learn from: their votes, the hash of each one's request, and the right labels where `has_gold`."""

    votes: CastVotes
    request: npt.NDArray[np.uint64]
    truth: npt.NDArray[Any]
    has_gold: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, several: Sequence[LearnedRows]) -> LearnedRows:
        return cls(
            stacked([one.votes for one in several]),
            *(np.concatenate([getattr(one, name) for one in several]) for name in ("request", "truth", "has_gold")),
        )

    def once(self) -> LearnedRows:
        """One row of each request, one with gold where there is one."""
        order = np.lexsort((~self.has_gold, self.request))
        _, first = np.unique(self.request[order], return_index=True)
        return self.take(order[first])

    def take(self, rows: npt.NDArray[Any]) -> LearnedRows:
        return LearnedRows(self.votes.take(rows), self.request[rows], self.truth[rows], self.has_gold[rows])


@dataclass(frozen=True, slots=True)
class Weighing:
    """What votes count: a model for each question, those of each fold of gold, and by what they were learned.

    `by` is None where nothing could be learned: each vote then counts one. `why` says so, and what was tried first.
    """

    by: str | None = None
    why: str | None = None
    models: tuple[VoteModel, ...] = ()
    folds: tuple[tuple[VoteModel, ...], ...] = ()
    rows: int = 0
    gold_rows: int = 0

    def posteriors(self, votes: CastVotes, fold: npt.NDArray[np.int64], labels: int, *, voters: int) -> Shares:
        """`[row, label]`: the probability of each label; of rows that may have several, that it applies.

        `fold` is the tenth of gold that a row belongs to, NOBODY for rows that nothing was learned from.
        """
        found = np.zeros((len(votes.voter), labels))
        for number, cells in enumerate(votes.questions(labels, voters)):
            kinds, back = np.unique(np.column_stack((fold, cells)), axis=0, return_inverse=True)
            shares = np.zeros((len(kinds), labels if len(self.models) == 1 and votes.said.ndim == 2 else 2))
            for one in np.unique(kinds[:, 0]):
                of = kinds[:, 0] == one
                models = self.models if one == NOBODY or not self.folds else self.folds[one]
                shares[of] = models[number].posterior(kinds[of, 1:].astype(np.int32))
            if votes.said.ndim == 2:
                return shares[back.ravel()]  # type: ignore[no-any-return]
            found[:, number] = shares[back.ravel(), 1]
        return found


def fold_of(request: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The tenth of gold that a request belongs to."""
    return (request % FOLDS).astype(np.int64)


def learned(asked: str, rows: LearnedRows | None, label: Label, *, voters: Voters) -> Weighing:
    """What the votes of these rows count, by `gold` or by `agreement`; by gold that is too little, by agreement."""
    if rows is None:
        return Weighing(why="no row has a vote that names a label")
    rows = rows.once()
    labels, count = len(label.names), voters.count
    why = None
    if asked == GOLD:
        gold = rows.take(rows.has_gold)
        why = _too_little_gold(gold, label)
        if why is None:
            every = [_kinds(cells) for cells in rows.votes.firsts().questions(labels, count)]
            fold = fold_of(gold.request)
            return Weighing(
                GOLD,
                None,
                _from_gold(gold, every, label, voters=count),
                tuple(_from_gold(gold.take(fold != one), every, label, voters=count) for one in range(FOLDS)),
                len(rows.request),
                len(gold.request),
            )
    found = _by_agreement(rows, label, voters)
    return replace(found, why=". ".join(one for one in (why, found.why) if one) or None)


def _too_little_gold(gold: LearnedRows, label: Label) -> str | None:
    count = len(gold.request)
    if count < GOLD_LEAST:
        return f"{count} answered gold rows that are a sample are too few to learn from (it takes {GOLD_LEAST})"
    kinds = len(np.unique(gold.truth, axis=0))
    if kinds < 2:
        return "all gold rows have one label: they do not tell which label is taken for which"
    return None


def _kinds(cells: Cells) -> tuple[Cells, npt.NDArray[np.int64]]:
    """Kinds of rows, and how many rows are of each."""
    kinds, rows = np.unique(cells, axis=0, return_counts=True)
    return kinds, rows.astype(np.int64)


def _from_gold(
    gold: LearnedRows, every: Sequence[tuple[Cells, npt.NDArray[np.int64]]], label: Label, *, voters: int
) -> tuple[VoteModel, ...]:
    names = len(label.names)
    return tuple(
        from_gold(
            cells,
            (gold.truth[:, number] if label.multi else gold.truth).astype(np.int64),
            firsts,
            rows=rows,
            labels=2 if label.multi else names,
            voters=voters,
        )
        for number, (cells, (firsts, rows)) in enumerate(zip(gold.votes.questions(names, voters), every, strict=True))
    )


def _by_agreement(rows: LearnedRows, label: Label, voters: Voters) -> Weighing:
    """Dawid and Skene's way, where it can tell who is right."""
    names, kinds = len(label.names), 2 if label.multi else len(label.names)
    patterns = [_kinds(cells) for cells in rows.votes.questions(names, voters.count)]
    why = _too_little_agreement(patterns, kinds, voters.count)
    if why is None:
        models = tuple(
            from_agreement(cells, rows_of_kind, kinds, voters=voters.count)[0] for cells, rows_of_kind in patterns
        )
        if all(map(_is_plain, models)):
            return Weighing(AGREEMENT, None, models, (), len(rows.request))
        why = (
            "by agreement alone a label would be called another more often than itself, which votes cannot tell from "
            "labels that are swapped (gold rows can)"
        )
    return Weighing(why=f"{why}, so each vote counts one", rows=len(rows.request))


def _too_little_agreement(
    patterns: Sequence[tuple[Cells, npt.NDArray[np.int64]]], kinds: int, voters: int
) -> str | None:
    """Why votes cannot tell by themselves who is right: three on a row, some that differ, and more alike than by
    chance are needed.
    """
    counts = np.concatenate([
        np.stack([(cells % kinds == kind).sum(1, where=cells < voters * kinds) for kind in range(kinds)], axis=1)
        for cells, _ in patterns
    ])  # fmt: skip
    rows = np.concatenate([count for _, count in patterns])
    if counts.sum(1).max(initial=0) < 3:
        return "it takes three votes on a row to learn from their agreement"
    differing = int(rows[(counts > 0).sum(1) > 1].sum())
    if differing < DIFFER_LEAST:
        return f"votes differ on {counted(differing, 'row')}, too few to learn from (it takes {DIFFER_LEAST})"
    alpha = krippendorff_alpha(counts, rows)
    if alpha is None or alpha < ALPHA_LEAST:
        return f"votes agree hardly more than by chance (α {alpha or 0:.2f}; it takes {ALPHA_LEAST})"
    return None


def _is_plain(model: VoteModel) -> bool:
    """Whether every label that is not rare is called by its name more often than by another, by each voter."""
    told = model.prior > 1 / (10 * len(model.prior))
    own = np.diagonal(model.confusion, axis1=1, axis2=2)
    return bool((own[:, told] >= model.confusion[:, told].max(2) - 1e-9).all())
