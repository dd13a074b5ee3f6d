"""Survey: the input cut into shards, with what must be known of it before the first call."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import chain, count, islice, repeat
from typing import Any, Protocol

import numpy as np

from rowmill.schemas.results import KeepTypes
from rowmill.schemas.row import Cursor, Row, Shard, Unreadable
from rowmill.tasks.input.files import InputFile, Line, name_of, size_of
from rowmill.tasks.input.formats import typed_of
from rowmill.tasks.input.kept_types import is_typed
from rowmill.tasks.input.key_index import KeyIndex, id_key
from rowmill.tasks.input.key_table import Keys, Numbers, key_array
from rowmill.tasks.input.line_digests import UNKNOWN, LineDigests, line_digest
from rowmill.tasks.input.reader import judge, lines, shard_lines

CHECKED_ROWS = 1_000_000
SMALL_SHARD = 5_000
MAX_SHARDS = 1_000
SAMPLE_ROWS = 100
# How much JSON Lines text grows when decompressed, only to guess a shard size before the input was read.
COMPRESSION_GUESS = 5
IDS_AT_ONCE = 1_024
PEEK_BYTES = 256 * 1024
# Bytes of a shard's lines that are held until it is known whether they have to be read.
HELD_MOST = 64 * 2**20
# Lines that are looked at together, fewer where they are long.
AT_ONCE, AT_ONCE_BYTES = 512, 4 * 2**20


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


# A line and the file that it stands in.
Placed = tuple[Line, str]


@dataclass(slots=True)
class _Cut:
    """A shard while its rows are met."""

    number: int
    first_row: int
    start: Cursor
    rows: int = 0
    length: int = 0
    files: dict[str, int] = field(default_factory=dict)
    _hash: Any = field(default_factory=lambda: blake2b(digest_size=16))

    def add(self, placed: Sequence[Placed]) -> None:
        """The next lines. They are hashed together."""
        lengths = [len(line.raw) for line, _ in placed]
        # Equal files stand together: the last line of each is told.
        self.files |= {file: line.number for line, file in placed}
        self.rows += len(placed)
        self.length += sum(lengths)
        told = (
            piece
            for length, (line, _) in zip(lengths, placed, strict=True)
            for piece in (length.to_bytes(8, "little"), line.raw, line.context)
        )
        self._hash.update(b"".join(told))

    def shard(self) -> Shard:
        return Shard(self.number, self.first_row, self.rows, self.start, self._hash.hexdigest())


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
        self._files, self._id = files, id_column
        # Files of typed columns state the types themselves.
        self._keep = () if is_typed(files) else tuple(keep)
        self._keys, self._sizes = keys, sizes
        self._limit, self._max_line_bytes = limit, max_line_bytes
        self._shard_rows = shard_size(files)
        self._digests, self._looked_at = digests, looked_at
        self._standing, self._named = standing, frozenset(named)
        # Rows whose ids are looked up together.
        self._ids: list[tuple[str, int]] = []
        self._is_checked = False
        self._walk = self._shards()

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

    def _shards(self) -> Iterator[Shard]:
        lines = self._lines()
        for number in count():
            cut = self._cut(number, lines)
            if cut is None:
                return
            self._note_ids()
            yield cut

    def _cut(self, number: int, lines: Iterator[Placed]) -> Shard | None:
        """The next shard, its rows looked at; None where no line is left."""
        cut: _Cut | None = None
        # Lines that need not be looked at if it turns out that they are known.
        held: list[Placed] | None = [] if self._may_be_known(number) else None
        for few in _some(islice(lines, self._sizes.get(number) or self._shard_rows)):
            if cut is None:
                line, file = few[0]
                cut = _Cut(number, self.survey.rows, Cursor(file, line.offset, line.number - 1))
            if held is None:
                self._look_at(few, cut.first_row + cut.rows)
            else:
                held += few
            cut.add(few)
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

    def _look_at(self, placed: Sequence[Placed], first_row: int) -> None:
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

    def _lines(self) -> Iterator[Placed]:
        each = (zip(lines(file, file.start, self._max_line_bytes), repeat(name_of(file))) for file in self._files)
        return islice(chain.from_iterable(each), self._limit)

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


def _some(placed: Iterator[Placed]) -> Iterator[list[Placed]]:
    """Lines, AT_ONCE at a time; long ones one by one."""
    while some := list(islice(placed, 1)):
        if len(some[0][0].raw) * AT_ONCE <= AT_ONCE_BYTES:
            some += islice(placed, AT_ONCE - 1)
        yield some


def digest_of(shard: Shard, files: list[InputFile], max_line_bytes: int) -> str:
    """The digest of a shard's rows as they stand now. Raises InputError, ValueError where its file is gone."""
    cut = _Cut(shard.number, shard.first_row, shard.start)
    for few in _some(shard_lines(shard, files, max_line_bytes)):
        cut.add(few)
    return cut.shard().digest


def shard_size(files: Sequence[InputFile]) -> int:
    """Rows a shard: 5,000, or as many as keep a run within 1,000 shards (see docs/decisions.md)."""
    rows = 0
    for file in files:
        typed = typed_of(file)
        known = typed.rows(file) if typed is not None else _rows_guess(file)
        rows += max(0, (known if file.end is None else min(known, file.end)) - file.skipped)
    return max(SMALL_SHARD, -(-rows // MAX_SHARDS))


def _rows_guess(file: InputFile) -> int:
    """About how many lines a file has, from its size and its first lines."""
    size = size_of(file) * (COMPRESSION_GUESS if file.compression else 1)
    seen, count = 0, 0
    for line in lines(replace(file, end=None), Cursor(name_of(file), 0, 0), PEEK_BYTES):
        seen, count = line.offset + len(line.raw), count + 1
        if seen >= PEEK_BYTES:
            break
    return count if seen < PEEK_BYTES else size * count // seen
