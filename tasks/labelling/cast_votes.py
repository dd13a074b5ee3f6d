"""Cast votes: the votes of results rows as arrays, by who cast them. For a vote model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rowmill.schemas.label import Label
from rowmill.tasks.labelling.vote_model import Cells

NOBODY = -1


@dataclass(frozen=True, slots=True)
class Voters:
    """Who votes: one for each model; one for each vote of a model where all rows see the labels of that vote in one
    order, since a favour for places is then a favour for labels.
    """

    models: tuple[str, ...]
    votes_each: int
    by_vote: bool

    @classmethod
    def of(cls, model: str, label: Label) -> Voters:
        escalate = label.escalate
        models = dict.fromkeys([model, *([escalate.model] if escalate is not None else [])])
        most = max(label.votes, escalate.votes if escalate is not None else 0)
        return cls(tuple(models), most, by_vote=label.shuffle and not label.orders_by_row)

    @property
    def count(self) -> int:
        return len(self.models) * (self.votes_each if self.by_vote else 1)

    def named(self) -> list[tuple[str, int | None]]:
        """Model of each voter, and the number of its vote where that counts."""
        if not self.by_vote:
            return [(model, None) for model in self.models]
        return [(model, number) for model in self.models for number in range(self.votes_each)]


@dataclass(frozen=True, slots=True)
class CastVotes:
    """Votes of rows: `voter[row, vote]` (NOBODY where there is none that names labels), and what each says.

    `said` is `[row, vote]`, a label's place; of rows that may have several labels `[row, vote, label]`, whether it is
    named.
    """

    voter: npt.NDArray[np.int32]
    said: npt.NDArray[np.int32] | npt.NDArray[np.bool_]

    @property
    def any_cast(self) -> npt.NDArray[np.bool_]:
        """Of each row, whether a vote of it names labels."""
        found: npt.NDArray[np.bool_] = (self.voter != NOBODY).any(1)
        return found

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> CastVotes:
        return CastVotes(self.voter[rows], self.said[rows])

    def questions(self, labels: int, voters: int) -> list[Cells]:
        """What a vote model takes, each row's votes in order: one question of all labels, or one of each label whether
        it applies.
        """
        if self.said.ndim == 2:
            return [_cells(self.voter, self.said, labels, voters=voters)]
        return [_cells(self.voter, self.said[:, :, name], 2, voters=voters) for name in range(labels)]

    def firsts(self) -> CastVotes:
        """Of each row the first vote that names labels."""
        rows, first = np.arange(len(self.voter)), np.argmax(self.voter != NOBODY, axis=1)
        return CastVotes(self.voter[rows, first][:, None], self.said[rows, first][:, None])


def _cells(voter: npt.NDArray[np.int32], said: npt.NDArray[np.generic], kinds: int, *, voters: int) -> Cells:
    cells = np.where(voter == NOBODY, voters * kinds, voter * kinds + said.astype(np.int32)).astype(np.int32)
    return np.sort(cells, axis=1)


def cast_votes(votes: pa.ChunkedArray, label: Label, voters: Voters) -> CastVotes:
    """The votes of a results column. Votes of models that the job does not name count for nothing."""
    column = votes.combine_chunks()
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0), np.int64)
    flat = column.flatten()
    rows = np.repeat(np.arange(len(column)), lengths)
    places = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    width = max(int(lengths.max(initial=0)), 1)
    named = pc.struct_field(flat, "label")
    model = _codes(pc.struct_field(flat, "model"), voters.models)
    voter = np.full((len(column), width), NOBODY, np.int32)
    known = (model != NOBODY) & np.asarray(pc.is_valid(named))
    if not label.multi:
        known &= (codes := _codes(named, label.names)) != NOBODY
        said = np.zeros((len(column), width), np.int32)
        said[rows, places] = np.maximum(codes, 0)
    voter[rows, places] = np.where(known, _voter(model, rows, voters), NOBODY)
    if not label.multi:
        return CastVotes(voter, said)
    applies = np.zeros((len(column), width, len(label.names)), bool)
    each = np.asarray(pc.list_parent_indices(named), np.int64)
    several = _codes(named.flatten(), label.names)
    inside = several != NOBODY
    applies[rows[each[inside]], places[each[inside]], several[inside]] = True
    return CastVotes(voter, applies)


def _voter(model: npt.NDArray[np.int32], rows: npt.NDArray[np.int64], voters: Voters) -> npt.NDArray[np.int32]:
    if not voters.by_vote:
        return model
    number = np.zeros(len(model), np.int32)
    for one in range(len(voters.models)):
        # The how-manyth vote of its model in its row.
        own = np.flatnonzero(model == one)
        _, first = np.unique(rows[own], return_index=True)
        begins = np.zeros(len(own), np.int64)
        begins[first] = first
        number[own] = np.arange(len(own)) - np.maximum.accumulate(begins)
    return (model * voters.votes_each + np.minimum(number, voters.votes_each - 1)).astype(np.int32)


def _codes(values: pa.Array, names: tuple[str, ...]) -> npt.NDArray[np.int32]:
    found = pc.fill_null(pc.index_in(values, value_set=pa.array(names, pa.string())), NOBODY)
    return np.asarray(found, np.int32)


def gold_codes(gold: pa.ChunkedArray, label: Label) -> npt.NDArray[np.int32] | npt.NDArray[np.bool_]:
    """Right labels of rows, as `said` has those of votes; NOBODY, or nothing, where there is none."""
    column = gold.combine_chunks()
    if not label.multi:
        return _codes(column, label.names)
    applies = np.zeros((len(column), len(label.names)), bool)
    codes = _codes(column.flatten(), label.names)
    rows = np.asarray(pc.list_parent_indices(column), np.int64)
    applies[rows[codes != NOBODY], codes[codes != NOBODY]] = True
    return applies


def stacked(votes: list[CastVotes]) -> CastVotes:
    """Votes of rows one after another, as wide as the widest."""
    width = max(one.voter.shape[1] for one in votes)

    def wide(array: npt.NDArray[np.generic], fill: int) -> npt.NDArray[np.generic]:
        more = [(0, 0), (0, width - array.shape[1]), *[(0, 0)] * (array.ndim - 2)]
        return np.pad(array, more, constant_values=fill)

    voter = np.concatenate([wide(one.voter, NOBODY) for one in votes])
    return CastVotes(voter, np.concatenate([wide(one.said, 0) for one in votes]))
