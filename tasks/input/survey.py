"""Survey: the input cut into shards, with what must be known of it before the first call."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

import numpy as np

from rowmill.schemas.kept_values import KeepTypes
from rowmill.schemas.row import Cursor, Row, Shard, Unreadable
from rowmill.tasks.input.files import InputFile, Line
from rowmill.tasks.input.kept_types import is_typed
from rowmill.tasks.input.key_index import KeyIndex, id_key
from rowmill.tasks.input.key_table import Keys, Numbers, key_array
from rowmill.tasks.input.line_batch import LineBatch
from rowmill.tasks.input.line_digests import UNKNOWN, LineDigests, line_digest
from rowmill.tasks.input.reader import judge
from rowmill.tasks.input.shard_cut import RowFeed, ShardCut, shard_size

CHECKED_ROWS = 1_000_000
SAMPLE_ROWS = 100
IDS_AT_ONCE = 1_024
# Bytes of a shard's lines that are held until it is known whether they have to be read.
HELD_MOST = 64 * 2**20


@dataclass(slots=True)
class Survey:
    """What one streamed pass told: shards, readable sample rows, columns, ids that stand twice.

    `bytes` is the content of its rows. `duplicates` maps the second row with an id to the first, `file_rows` counts the
    rows met in each file. `complete` is False while rows beyond the checked million are still to be met. Of rows that a
    part of the output knows only shards, counts and ids are told.
    """

    shards: list[Shard] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    unreadable: int = 0
    first_unreadable: Unreadable | None = None
    sample: list[Row] = field(default_factory=list)
    columns: set[str] = field(default_factory=set)
    duplicates: dict[int, int] = field(default_factory=dict)
    keep_types: KeepTypes = field(default_factory=KeepTypes)
    file_rows: dict[str, int] = field(default_factory=dict)
    complete: bool = False


@dataclass(frozen=True, slots=True)
class KnownRows:
    """What is told of a shard's rows by a part that was made of the same: the ids of those that could be read (what
    each is known by, and its position), and what each row is known by (see `LineDigests`).
    """

    ids: Keys
    rows: Numbers
    digests: bytes


class TellsRows(Protocol):
    """Who knows rows that were read before."""

    def known(self, shard: Shard, types: KeepTypes | None) -> KnownRows | None:
        """What is known of a shard; None where its rows have to be read: one of them may widen `types`."""
        ...


class Surveyor:
    """Walks the input once. `run_checked` stops after the checked million; `rest` goes on from there, shard by shard.

    `sizes` are the rows of the parts that stand already, by number: shards are cut where those were, the others every
    `shard_rows`.
    """

    def __init__(
        self,
        files: Sequence[InputFile],
        *,
        id_column: str | None,
        keep: Sequence[str],
        keys: KeyIndex,
        sizes: Mapping[int, int],
        limit: int | None,
        max_line_bytes: int,
        digests: LineDigests | None = None,
        looked_at: int | None = None,
        standing: TellsRows | None = None,
        named: Collection[str] = (),
    ) -> None:
        """`digests` takes down what each row is known by. Rows beyond `looked_at` are counted and cut, and no more.

        Rows that `standing` knows are not read again, once every column of `named` was met.
        """
        self.survey = Survey()
        self._id = id_column
        # Files of typed columns state the types themselves.
        self._keep = () if is_typed(files) else tuple(keep)
        self._keys, self._sizes = keys, sizes
        self._shard_rows = shard_size(files)
        self._digests, self._looked_at = digests, looked_at
        self._standing, self._named = standing, frozenset(named)
        # Rows whose ids are looked up together.
        self._ids: list[tuple[str, int]] = []
        self._is_checked = False
        self._walk = self._shards(RowFeed(files, max_line_bytes, limit))

    def run_checked(self) -> Survey:
        """Everything up to the checked million: enough to refuse a bad small input before the first call."""
        # Rows that a part stands for are met here however many they are: whether it holds is known by their content.
        standing = max(self._sizes, default=-1)
        for shard in self._walk:
            self.survey.shards.append(shard)
            if self.survey.rows >= CHECKED_ROWS and shard.number >= standing:
                break
        else:
            self.survey.complete = True
        self.survey.duplicates.update(self._keys.repeated_ids())
        self._is_checked = True
        return self.survey

    def rest(self) -> Iterator[Shard]:
        """The shards beyond the checked rows, as they are met."""
        yield from self._walk
        self.survey.complete = True

    def _shards(self, feed: RowFeed) -> Iterator[Shard]:
        for number in count():
            cut = self._cut(number, feed)
            if cut is None:
                return
            self._note_ids()
            yield cut

    def _cut(self, number: int, feed: RowFeed) -> Shard | None:
        """The next shard, its rows looked at; None where no line is left."""
        cut: ShardCut | None = None
        # Lines that need not be looked at if it turns out that they are known.
        held: list[tuple[LineBatch, str]] | None = [] if self._may_be_known(number) else None
        for batch, file in feed.take(self._sizes.get(number) or self._shard_rows):
            if cut is None:
                cut = ShardCut(number, self.survey.rows, Cursor(file, batch.offset, batch.before))
            if held is None:
                self._look_at([(batch, file)], cut.first_row + cut.rows)
            else:
                held.append((batch, file))
            cut.add(batch, file)
            if held is not None and cut.length > HELD_MOST:
                self._look_at(held, cut.first_row)
                held = None
        if cut is None:
            return None
        shard = cut.shard()
        if held is not None and not self._is_known(shard):
            self._look_at(held, shard.first_row)
        self.survey.rows += cut.rows
        self.survey.bytes += cut.length
        self.survey.file_rows |= cut.files
        return shard

    def _may_be_known(self, number: int) -> bool:
        """Whether all that a survey tells beside its shards can do without this one's rows."""
        told = self._standing is not None and number in self._sizes
        return told and len(self.survey.sample) >= SAMPLE_ROWS and self._named <= self.survey.columns

    def _is_known(self, shard: Shard) -> bool:
        """Take over what is known of a shard's rows, where it is."""
        assert self._standing is not None
        # Beyond the checked rows no value widens a type.
        types = self.survey.keep_types if shard.first_row < CHECKED_ROWS and self._keep else None
        known = self._standing.known(shard, types)
        if known is None:
            return False
        if self._id is not None:
            self._keys.add_ids(known.ids, known.rows)
        if self._digests is not None:
            self._digests.add(known.digests)
        return True

    def _look_at(self, batches: Sequence[tuple[LineBatch, str]], first_row: int) -> None:
        placed = ((line, file) for batch, file in batches for line in batch.each())
        for index, (line, file) in enumerate(placed, first_row):
            if self._looked_at is not None and index >= self._looked_at:
                return
            row = judge(line, index, file, id_column=self._id)
            self._note(row)
            if self._digests is not None:
                self._digests.add(self._digest(line, row))

    def _digest(self, line: Line, row: Row | Unreadable) -> bytes:
        if not isinstance(row, Row):
            return UNKNOWN
        return line_digest(line, is_named=self._id is not None or row.row_id != str(row.index))

    def _note(self, row: Row | Unreadable) -> None:
        if not isinstance(row, Row):
            self.survey.unreadable += 1
            self.survey.first_unreadable = self.survey.first_unreadable or row
            return
        if self._id is not None:
            self._ids.append((row.row_id, row.index))
            if len(self._ids) == IDS_AT_ONCE:
                self._note_ids()
        if row.index >= CHECKED_ROWS:
            return
        self.survey.columns.update(row.columns)
        if len(self.survey.sample) < SAMPLE_ROWS:
            self.survey.sample.append(row)
        for name in self._keep:
            if name in row.columns:
                self.survey.keep_types.meet(name, row.columns[name])

    def _note_ids(self) -> None:
        if not self._is_checked:
            # Which of them stand twice is asked when all are there.
            rows = np.fromiter((row for _, row in self._ids), np.int64, len(self._ids))
            self._keys.add_ids(key_array([id_key(row_id) for row_id, _ in self._ids]), rows)
            self._ids.clear()
            return
        for (_, index), first in zip(self._ids, self._keys.firsts_with_id(self._ids), strict=True):
            if first != index:
                self.survey.duplicates[index] = first
        self._ids.clear()
