"""Moved rows: rows whose line stands elsewhere in the input now. They pass from part to part as columns.

A line that is as it was makes the request that it made, so nothing of it has to be read, rendered or asked: its results
row needs another `row_index`, and another `row_id` where that is its place. Rows that are not ok, that share another's
answer, or whose line is not known go the way of all rows, by their request.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rowmill.schemas.errors import DamageError
from rowmill.schemas.job import Job
from rowmill.schemas.outcome import Outcome, Status
from rowmill.tasks.answers.validator import Validator
from rowmill.tasks.output.held_groups import HeldGroups
from rowmill.tasks.output.moved_shard import MovedShard
from rowmill.tasks.output.outcome_lookup import OutcomeLookup
from rowmill.tasks.output.part_footer import read_footer
from rowmill.tasks.output.part_notes import NotedRows, Positions, lines_in, noted_rows

# Rows that are known by their line at a time, at 12 bytes each; those beyond are found by their request.
KNOWN_MOST = 16_000_000
PARTS_HELD = 64
# Where rows come from more row groups than this, and fewer of each, passing them one by one is no dearer.
GROUPS_AT_ONCE, ROWS_OF_GROUP = 8, 16
Lines = npt.NDArray[np.uint64]


def may_move(job: Job) -> bool:
    """Whether what stands in a results row of this job depends on its line alone: not on files beside the input, on
    people's labels, or on gold that is graded anew.
    """
    return not job.attachments and job.label is None and job.gold is None


@dataclass(frozen=True, slots=True)
class _Former:
    """A part that was set aside: its file, which row of all its first one is, where its row groups begin."""

    path: Path
    first: int
    rows: int
    group_starts: Positions


class MovedRows:
    """The rows of parts that were set aside, by what their lines are known by."""

    def __init__(self, paths: Iterable[Path], schema: pa.Schema, validator: Validator, *, named: bool) -> None:
        """Parts of other columns than `schema` are left out. `named`: a column tells each row's id."""
        self._schema, self._named = pa.schema(list(schema)), named
        # Shards are found, counted and written by several threads.
        self._lock = threading.RLock()
        self._lookup = OutcomeLookup(validator)
        self._formers: list[_Former] = []
        self._groups_held = HeldGroups()
        # What the parts that were looked at last tell beside their columns.
        self._told: OrderedDict[int, tuple[Lines, NotedRows]] = OrderedDict()
        known: list[npt.NDArray[np.uint64]] = []
        places: list[npt.NDArray[np.uint32]] = []
        first = 0
        for path in paths:
            if first >= KNOWN_MOST or (found := self._take_up(path, first)) is None:
                continue
            lines, at = found
            known.append(lines[at, 0].copy())
            places.append((at + first).astype(np.uint32))
            first += len(lines)
        self._known = np.concatenate(known) if known else np.empty(0, np.uint64)
        order = np.argsort(self._known, kind="stable")
        self._known = self._known[order]
        self._places = np.concatenate(places)[order] if places else np.empty(0, np.uint32)

    def _take_up(self, path: Path, first: int) -> tuple[Lines, Positions] | None:
        """The line digests of a part, and which of its rows may be moved. None: its rows are found by their requests,
        and any damage is told where they are.
        """
        try:
            return self._taken_up(path, first)
        except (OSError, pa.ArrowException, DamageError, ValueError):
            return None

    def _taken_up(self, path: Path, first: int) -> tuple[Lines, Positions] | None:
        with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as part:
            if not pa.schema(list(part.schema_arrow)).equals(self._schema):
                return None
            rows = part.metadata.num_rows
            lines = lines_in(part.metadata.metadata, rows)
            if lines is None:
                return None
            starts = np.cumsum([0, *(part.metadata.row_group(at).num_rows for at in range(part.num_row_groups))])
            table = part.read(columns=["request_key", "reused_from", "status"], use_threads=False)
        wanted = pc.and_(pc.is_valid(table.column("request_key")), pc.is_null(table.column("reused_from")))
        # A row without an answer may have had one since, told in another file that was set aside.
        wanted = pc.and_(wanted, pc.equal(table.column("status"), Status.OK.value))
        known = lines.any(axis=1) & wanted.combine_chunks().to_numpy(zero_copy_only=False)
        self._formers.append(_Former(path, first, rows, starts))
        return lines, np.flatnonzero(known)

    def find(self, lines: bytes, first_row: int, besides: Iterable[int]) -> MovedShard | None:
        """Those of a shard's rows that are known by their lines; `besides` are rows that are not to be looked for."""
        if not len(self._known):
            return None
        wanted = np.frombuffer(lines, "<u8").reshape(-1, 2)
        at = np.minimum(np.searchsorted(self._known, wanted[:, 0]), len(self._known) - 1)
        found = (self._known[at] == wanted[:, 0]) & wanted.any(axis=1)
        inside = [row - first_row for row in besides if 0 <= row - first_row < len(wanted)]
        found[inside] = False
        rows = np.flatnonzero(found)
        places = self._places[at[rows]].astype(np.int64)
        # Of equal lines one may move; the others share its answer.
        _, firsts = np.unique(places, return_index=True)
        rows, places = rows[np.sort(firsts)], places[np.sort(firsts)]
        numbers = self._numbers(places)
        groups = self._groups(numbers, places)
        if len(set(zip(numbers.tolist(), groups.tolist(), strict=True))) > max(
            GROUPS_AT_ONCE, len(rows) // ROWS_OF_GROUP
        ):
            return None
        same = np.zeros(len(rows), bool)
        for number in np.unique(numbers).tolist():
            of = numbers == number
            held, _ = self._told_of(number)
            same[of] = (held[places[of] - self._formers[number].first] == wanted[rows[of]]).all(axis=1)
        return MovedShard(self, rows[same] + first_row, places[same]) if same.any() else None

    def _told_of(self, number: int) -> tuple[Lines, NotedRows]:
        """What the rows of a part are known by, and its notes."""
        with self._lock:
            if number not in self._told:
                path, rows = self._formers[number].path, self._formers[number].rows
                metadata = pq.read_metadata(path).metadata
                lines = lines_in(metadata, rows)
                assert lines is not None
                self._told[number] = lines, noted_rows(metadata, read_footer(path).shard.first_row, rows)
                if len(self._told) > PARTS_HELD:
                    self._told.popitem(last=False)
            self._told.move_to_end(number)
            return self._told[number]

    def _numbers(self, places: Positions) -> Positions:
        firsts = np.array([former.first for former in self._formers])
        return np.searchsorted(firsts, places, side="right").astype(np.int64) - 1

    def _groups(self, numbers: Positions, places: Positions) -> Positions:
        groups = np.empty(len(places), np.int64)
        for number in np.unique(numbers):
            of, former = numbers == number, self._formers[number]
            groups[of] = np.searchsorted(former.group_starts, places[of] - former.first, side="right") - 1
        return groups

    def take(self, places: Positions) -> tuple[pa.Table, NotedRows]:
        """These rows in this order, as they stand in the parts that were set aside."""
        numbers = self._numbers(places)
        groups = self._groups(numbers, places)
        taken, order, noted = [], [], []
        for number, group in dict.fromkeys(zip(numbers.tolist(), groups.tolist(), strict=True)):
            of = np.flatnonzero((numbers == number) & (groups == group))
            former = self._formers[number]
            inside = places[of] - former.first
            taken.append(self._groups_held.group(former.path, group).take(inside - former.group_starts[group]))
            noted.append(self._told_of(number)[1].take(inside))
            order.append(of)
        back = np.argsort(np.concatenate(order), kind="stable")
        table = pa.concat_tables(taken)
        in_order = bool((back == np.arange(len(back))).all())
        return table if in_order else table.take(back), NotedRows.together(noted).take(back)

    def renumbered(self, table: pa.Table, rows: Positions) -> pa.Table:
        """A table whose rows stand at these positions of the input now."""
        index = pa.array(rows, pa.int64())
        if not self._named:
            held = table.column("row_id")
            placed = pc.equal(held, pc.cast(table.column("row_index"), pa.string()))
            ids = pc.if_else(placed, pc.cast(index, pa.string()), held)
            table = table.set_column(table.schema.get_field_index("row_id"), "row_id", ids)
        return table.set_column(table.schema.get_field_index("row_index"), "row_index", index)

    def outcomes(self, rows: Positions, places: Positions) -> Iterator[Outcome]:
        """These rows as the outcomes that they were written from, at their positions now."""
        numbers = self._numbers(places)
        groups = self._groups(numbers, places)
        told = zip(rows.tolist(), places.tolist(), numbers.tolist(), groups.tolist(), strict=True)
        for row, place, number, group in told:
            former = self._formers[number]
            inside = place - former.first - int(former.group_starts[group])
            with self._lock:
                outcome = self._lookup.outcome(former.path, group, inside)
            yield self._at(outcome, row)

    def _at(self, outcome: Outcome, row: int) -> Outcome:
        placed = not self._named and outcome.row_id == str(outcome.row_index)
        return msgspec.structs.replace(outcome, row_id=str(row) if placed else outcome.row_id, row_index=row)

    def close(self) -> None:
        self._groups_held.close()
        self._lookup.close()
