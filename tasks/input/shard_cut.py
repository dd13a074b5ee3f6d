"""Shard cut: where a shard begins and ends, and the digest of its rows, made as they are met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from rowmill.schemas.row import Cursor, Shard
from rowmill.tasks.input.files import InputFile, name_of, size_of
from rowmill.tasks.input.formats import typed_of
from rowmill.tasks.input.line_batch import LineBatch, together
from rowmill.tasks.input.reader import line_batches, lines, shard_lines

SMALL_SHARD = 5_000
MAX_SHARDS = 1_000
# How much JSON Lines text grows when decompressed, only to guess a shard size before the input was read.
COMPRESSION_GUESS = 5
PEEK_BYTES = 256 * 1024


@dataclass(slots=True)
class ShardCut:
    """A shard while its rows are met. `length` is the bytes of their lines, `files` the last line of each file."""

    number: int
    first_row: int
    start: Cursor
    rows: int = 0
    length: int = 0
    files: dict[str, int] = field(default_factory=dict)
    _hash: Any = field(default_factory=lambda: blake2b(digest_size=16))

    def add(self, batch: LineBatch, file: str) -> None:
        """The next lines. They are hashed together."""
        self.files[file] = batch.before + len(batch)
        self.rows += len(batch)
        self.length += batch.size()
        self._hash.update(batch.content())

    def shard(self) -> Shard:
        return Shard(self.number, self.first_row, self.rows, self.start, self._hash.hexdigest())


class RowFeed:
    """The lines of several files one after the other, as many at a time as are wanted."""

    def __init__(self, files: Sequence[InputFile], max_line_bytes: int, limit: int | None) -> None:
        """No more than `limit` rows are given in all."""
        self._batches = _batches_of(files, max_line_bytes)
        self._left = limit
        # What was read beyond what was wanted.
        self._rest: tuple[LineBatch, str] | None = None

    def take(self, rows: int) -> Iterator[tuple[LineBatch, str]]:
        """The next so many lines, with their file; fewer at the end."""
        rows = rows if self._left is None else min(rows, self._left)
        while rows:
            found = self._rest or next(self._batches, None)
            self._rest = None
            if found is None:
                return
            batch, file = found
            if len(batch) > rows:
                batch, beyond = batch.cut(rows)
                self._rest = beyond, file
            rows -= len(batch)
            if self._left is not None:
                self._left -= len(batch)
            yield batch, file


def _batches_of(files: Sequence[InputFile], max_line_bytes: int) -> Iterator[tuple[LineBatch, str]]:
    for file in files:
        name = name_of(file)
        for batch in line_batches(file, file.start, max_line_bytes):
            yield batch, name


def digest_of(shard: Shard, files: list[InputFile], max_line_bytes: int) -> str:
    """The digest of a shard's rows as they stand now. Raises InputError, ValueError where its file is gone."""
    cut = ShardCut(shard.number, shard.first_row, shard.start)
    for batch in together(line for line, _ in shard_lines(shard, files, max_line_bytes)):
        cut.add(batch, shard.start.file)
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
