"""Survey: the input cut into shards, with what must be known of it before the first call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from rowmill.schemas.results import KeepTypes
from rowmill.schemas.row import Cursor, Row, Shard, Unreadable
from rowmill.tasks.input.files import InputFile, Line, name_of, size_of
from rowmill.tasks.input.formats import typed_of
from rowmill.tasks.input.kept_types import is_typed
from rowmill.tasks.input.key_index import KeyIndex
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


@dataclass(slots=True)
class Survey:
    """What one streamed pass told: shards, readable sample rows, columns, ids that stand twice.

    `bytes` is the content of its rows. `duplicates` maps the second row with an id to the first, `file_rows` counts the
    rows met in each file. `complete` is False while rows beyond the checked million are still to be met.
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


@dataclass(slots=True)
class _Cut:
    """A shard while its rows are met."""

    number: int
    first_row: int
    start: Cursor
    rows: int = 0
    hash: Any = field(default_factory=lambda: blake2b(digest_size=16))

    def add(self, line: Line) -> None:
        self.rows += 1
        self.hash.update(len(line.raw).to_bytes(8, "little"))
        self.hash.update(line.raw)
        if line.context:
            self.hash.update(line.context)

    def shard(self) -> Shard:
        return Shard(self.number, self.first_row, self.rows, self.start, self.hash.hexdigest())


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
    ) -> None:
        """`digests` takes down what each row is known by. Rows beyond `looked_at` are counted and cut, and no more."""
        self.survey = Survey()
        self._files, self._id = files, id_column
        # Files of typed columns state the types themselves.
        self._keep = () if is_typed(files) else tuple(keep)
        self._keys, self._sizes = keys, sizes
        self._limit, self._max_line_bytes = limit, max_line_bytes
        self._shard_rows = shard_size(files)
        self._digests, self._looked_at = digests, looked_at
        # Rows whose ids are looked up together.
        self._ids: list[tuple[str, int]] = []
        self._walk = self._shards()

    def run_checked(self) -> Survey:
        """Everything up to the checked million: enough to refuse a bad small input before the first call."""
        # Rows that a part stands for are met here however many they are: whether it holds is known by their content.
        standing = max(self._sizes, default=-1)
        for shard in self._walk:
            self.survey.shards.append(shard)
            if self.survey.rows >= CHECKED_ROWS and shard.number >= standing:
                return self.survey
        self.survey.complete = True
        return self.survey

    def rest(self) -> Iterator[Shard]:
        """The shards beyond the checked rows, as they are met."""
        yield from self._walk
        self.survey.complete = True

    def _shards(self) -> Iterator[Shard]:
        cut: _Cut | None = None
        number = 0
        for line, file in self._lines():
            if cut is None:
                cut = _Cut(number, self.survey.rows, Cursor(file, line.offset, line.number - 1))
            cut.add(line)
            self.survey.bytes += len(line.raw)
            if self._looked_at is None or self.survey.rows < self._looked_at:
                row = judge(line, self.survey.rows, file, id_column=self._id)
                self._note(row)
                if self._digests is not None:
                    self._digests.add(self._digest(line, row))
            self.survey.rows += 1
            self.survey.file_rows[file] = line.number
            if cut.rows == self._size(number):
                self._note_ids()
                yield cut.shard()
                cut, number = None, number + 1
        if cut is not None:
            self._note_ids()
            yield cut.shard()

    def _digest(self, line: Line, row: Row | Unreadable) -> bytes:
        if not isinstance(row, Row):
            return UNKNOWN
        return line_digest(line, is_named=self._id is not None or row.row_id != str(row.index))

    def _size(self, number: int) -> int:
        return self._sizes.get(number, self._shard_rows)

    def _lines(self) -> Iterator[tuple[Line, str]]:
        left = self._limit if self._limit is not None else -1
        for file in self._files:
            if left == 0:
                return
            for line in lines(file, file.start, self._max_line_bytes):
                yield line, name_of(file)
                left -= 1
                if left == 0:
                    return

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
        for (_, index), first in zip(self._ids, self._keys.firsts_with_id(self._ids), strict=True):
            if first != index:
                self.survey.duplicates[index] = first
        self._ids.clear()


def digest_of(shard: Shard, files: list[InputFile], max_line_bytes: int) -> str:
    """The digest of a shard's rows as they stand now. Raises InputError, ValueError where its file is gone."""
    cut = _Cut(shard.number, shard.first_row, shard.start)
    for line, _ in shard_lines(shard, files, max_line_bytes):
        cut.add(line)
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
