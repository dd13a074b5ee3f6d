"""Weighed parts: results rows labelled by what their votes count. Nothing is asked: the votes stand in the parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rowmill.schemas.label import Label, Labels
from rowmill.schemas.results import PROBABILITIES, PROBABILITY
from rowmill.tasks.labelling.basis import Basis
from rowmill.tasks.labelling.cast_votes import NOBODY, Voters, cast_votes, gold_codes
from rowmill.tasks.labelling.corrections import is_right, replaced, rewrite_part
from rowmill.tasks.labelling.judgements import Corrections
from rowmill.tasks.labelling.weighing import LEARNED_MOST, LEARNED_MOST_MULTI, LearnedRows, Weighing, fold_of
from rowmill.tasks.output.label_columns import labels_array, labels_of, vote_in
from rowmill.tasks.output.part_requests import request_keys
from rowmill.tasks.plan.vote_rules import agreement, labelling

BATCH_ROWS = 8_192
COLUMNS = [
    "row_id", "request_key", "reused_from", "status", "votes", "gold", "label", "voted_label", "agreement", "correct",
]  # fmt: skip
# Labels of a row that are told with their probability, and the least one that is.
TOLD_MOST, TOLD_LEAST = 20, 0.0005
# Probabilities that differ by less are one: what is equal is not written again, and rounding decides no tie.
ALIKE = 1e-9


@dataclass(slots=True)
class Weighed:
    """What weighing changed: rows whose label is other than with one count a vote; of those with gold how many were
    right by either.
    """

    rows: int = 0
    changed: int = 0
    gold_rows: int = 0
    right_unweighed: int = 0
    right_weighed: int = 0


def rows_to_learn(parts: Sequence[Path], label: Label, voters: Voters, *, basis: Basis) -> LearnedRows | None:
    """Rows with votes, drawn by their requests where there are very many; None where no row has any.

    Gold is that of the column, or of the audit where there is no column: rows that people chose are no sample, and
    votes on them are not those on others.
    """
    most = LEARNED_MOST_MULTI if label.multi else LEARNED_MOST
    rows = sum(pq.read_metadata(part).num_rows for part in parts)
    limit = min(1.0, most / rows) * 2.0**64 if rows else 0.0
    found = [
        one
        for part in parts
        for table in _batches(part)
        if (one := _learnt(table, label, voters, basis=basis, limit=limit))
    ]
    return LearnedRows.of(found) if found else None


def _batches(part: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(part, pre_buffer=False) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=COLUMNS, use_threads=False):
            yield pa.Table.from_batches([batch])


def _learnt(table: pa.Table, label: Label, voters: Voters, *, basis: Basis, limit: float) -> LearnedRows | None:
    has_votes = pc.greater(pc.list_value_length(table["votes"]), 0)
    table = table.filter(pc.and_(has_votes, pc.is_valid(table["request_key"])))
    request = _requests(table)
    sound = _has_sound_gold(table, label, basis)
    wanted = (request < limit) & (sound | np.asarray(pc.is_null(table["reused_from"])))
    if not wanted.any():
        return None
    table = table.filter(pa.array(wanted))
    votes = cast_votes(table["votes"], label, voters)
    rows = np.flatnonzero(votes.any_cast)
    truth = gold_codes(table["gold"], label)
    found = LearnedRows(votes, request[wanted], truth, sound[wanted]).take(rows)
    return found if len(rows) else None


def _requests(table: pa.Table) -> npt.NDArray[np.uint64]:
    return np.frombuffer(request_keys(table["request_key"]), ">u8")[::2].astype(np.uint64)


def _has_sound_gold(table: pa.Table, label: Label, basis: Basis) -> npt.NDArray[np.bool_]:
    """Of each row, whether it has gold that votes may be held against: a sample's."""
    ids = table["row_id"]
    of_basis = pc.invert(basis.is_of_people(ids)) if label.gold is not None else basis.is_audited(ids)
    return np.asarray(pc.and_(pc.is_valid(table["gold"]), of_basis))


def weigh_parts(
    parts: Iterable[Path], weighing: Weighing, label: Label, *, voters: Voters, basis: Basis, corrections: Corrections
) -> tuple[list[Path], Weighed]:
    """Label the rows of parts by what their votes count; where nothing was learned, by one count each.

    Returns the parts that changed. What people said stays. Raises StorageError.
    """
    changed, found = [], Weighed()
    for part in parts:
        if _weigh_part(part, weighing, label, voters=voters, basis=basis, corrections=corrections, found=found):
            changed.append(part)
    return changed, found


def _weigh_part(
    part: Path,
    weighing: Weighing,
    label: Label,
    *,
    voters: Voters,
    basis: Basis,
    corrections: Corrections,
    found: Weighed,
) -> bool:
    has_columns = PROBABILITY in pq.read_schema(part).names
    table = pq.read_table(part, columns=[*COLUMNS, *([PROBABILITY, PROBABILITIES] if has_columns else [])])
    asked = np.flatnonzero(np.asarray(pc.fill_null(pc.list_value_length(table["votes"]), 0)) > 0)
    some = table.take(pa.array(asked))
    votes = cast_votes(some["votes"], label, voters)
    rows = _Rows(some, label)
    if weighing.by is not None:
        sound = _has_sound_gold(some, label, basis) if weighing.folds else np.zeros(len(asked), bool)
        fold = np.where(sound, fold_of(_requests(some)), NOBODY) if sound.any() else np.full(len(asked), NOBODY)
        shares = weighing.posteriors(votes, fold, len(label.names), voters=voters.count)
        for place in np.flatnonzero(votes.any_cast).tolist():
            rows.weigh(place, shares[place])
    rows.count(found)
    values = rows.columns(table, asked, corrections, has_columns=has_columns)
    if all(_alike(table[name], column) for name, column in values.items()):
        return False
    rewrite_part(part, lambda whole: _with(whole, values))
    return True


def _with(table: pa.Table, values: dict[str, pa.Array]) -> pa.Table:
    for name, column in values.items():
        table = replaced(table, name, column)
    return table


class _Rows:
    """Rows of a part that have votes: what they are labelled with one count a vote, and then by weight."""

    def __init__(self, table: pa.Table, label: Label) -> None:
        self._label = label
        self._status, self._votes = table["status"].to_pylist(), table["votes"].to_pylist()
        self._gold = [labels_of(one) for one in table["gold"].to_pylist()]
        self.said: list[Labels | None] = []
        self.agreement: list[float | None] = []
        for votes in self._votes:
            said, share = _by_count(votes, label)
            self.said.append(said)
            self.agreement.append(share)
        self._unweighed = list(self.said)
        self.probability: list[float | None] = [None] * len(self.said)
        self.probabilities: list[list[dict[str, Any]] | None] = [None] * len(self.said)

    def weigh(self, row: int, shares: npt.NDArray[np.float64]) -> None:
        """Give a row the label of the highest probability; of several labels those that are likelier than not."""
        label, before = self._label, self.said[row]
        if label.multi:
            ties = np.abs(shares - 0.5) < ALIKE
            if ties.any() and before is None:
                chosen: Labels | None = None
            else:
                own = set(before or ())
                chosen = tuple(
                    name for name, share, tie in zip(label.names, shares.tolist(), ties.tolist(), strict=True)
                    if (name in own if tie else share > 0.5)
                )  # fmt: skip
            probability = float(np.prod(np.maximum(shares, 1 - shares)))
        else:
            best = [label.names[at] for at in np.flatnonzero(shares > shares.max() - ALIKE)]
            tied = len(best) > 1 and (before is None or before[0] in best)
            chosen = before if tied else (best[0],)
            probability = float(shares.max())
        self.probability[row] = probability
        order = np.argsort(-shares, kind="stable")[:TOLD_MOST]
        self.probabilities[row] = [
            {"label": label.names[at], "probability": float(shares[at])} for at in order if shares[at] >= TOLD_LEAST
        ]
        if chosen != before:
            self.said[row] = chosen
            votes = [vote_in(one) for one in self._votes[row]]
            self.agreement[row] = agreement(votes, chosen) if chosen is not None else self.agreement[row]

    def count(self, found: Weighed) -> None:
        found.rows += len(self.said)
        for status, before, after, gold in zip(self._status, self._unweighed, self.said, self._gold, strict=True):
            found.changed += before != after
            if gold is not None and (was := is_right(status, before, gold)) is not None:
                found.gold_rows += 1
                found.right_unweighed += was
                found.right_weighed += bool(is_right(status, after, gold))

    def columns(
        self, table: pa.Table, asked: npt.NDArray[np.int64], corrections: Corrections, *, has_columns: bool
    ) -> dict[str, pa.Array]:
        """The columns of the whole part that depend on the weighing."""
        ids = table["row_id"].to_pylist()
        voted, label = ([labels_of(one) for one in table[name].to_pylist()] for name in ("voted_label", "label"))
        share, correct = table["agreement"].to_pylist(), table["correct"].to_pylist()
        sure: list[float | None] = [None] * len(ids)
        each: list[list[dict[str, Any]] | None] = [None] * len(ids)
        for place, at in enumerate(asked.tolist()):
            voted[at], share[at] = self.said[place], self.agreement[place]
            label[at] = corrections.get(ids[at], self.said[place])
            gold = self._gold[place]
            correct[at] = None if gold is None else is_right(self._status[place], self.said[place], gold)
            sure[at], each[at] = self.probability[place], self.probabilities[place]
        values: dict[str, list[Any]] = {"voted_label": voted, "label": label}
        found = {name: labels_array(one, table.schema.field(name).type) for name, one in values.items()}
        found |= {"agreement": pa.array(share, pa.float64()), "correct": pa.array(correct, pa.bool_())}
        if has_columns:
            found[PROBABILITY] = pa.array(sure, pa.float64())
            found[PROBABILITIES] = pa.array(each, table.schema.field(PROBABILITIES).type)
        return found


def _by_count(votes: Sequence[dict[str, Any]], label: Label) -> tuple[Labels | None, float | None]:
    """What the votes say with one count each, and their agreement."""
    first = votes[0]["label"]
    if first is not None and all(one["label"] == first for one in votes):
        return labels_of(first), 1.0
    told = labelling(label, [vote_in(one) for one in votes], None)
    return told.labels, told.agreement


def _alike(had: pa.ChunkedArray, now: pa.Array) -> bool:
    had = had.combine_chunks()
    if pa.types.is_floating(now.type):
        if not pc.is_null(had).equals(pc.is_null(now)):
            return False
        far = pc.greater(pc.abs(pc.subtract(had, now)), ALIKE)
        return not pc.any(pc.fill_null(far, False)).as_py()
    if pa.types.is_list(now.type) and pa.types.is_struct(now.type.value_type):
        # The probabilities of labels follow that of the row's own.
        return pc.is_null(had).equals(pc.is_null(now)) is True
    return had.equals(now) is True
