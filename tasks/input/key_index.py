"""Keys: which id and which request was seen first, on disk with bounded memory.

An embedded SQLite file beside the journal, rebuilt from the input and the parts whenever it is needed: never the truth.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

from rowmill.schemas.errors import StorageError
from rowmill.tasks.system.durable import PRIVATE_FILE

CACHE_KIB = 16 * 1024


class KeyIndex:
    """Two maps on disk: id → first row, request_key → owning row. About 40 bytes a row and map."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.unlink(missing_ok=True)
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=OFF")
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
            self._db.execute("CREATE TABLE ids (key BLOB PRIMARY KEY, row INTEGER) WITHOUT ROWID")
            self._db.execute("CREATE TABLE requests (key BLOB PRIMARY KEY, row INTEGER) WITHOUT ROWID")
            self._db.execute("BEGIN")
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"the key index cannot be written: {error}",
                where=str(path),
                hint="free disk space and run the same command again",
            ) from None

    def firsts_with_id(self, rows: Sequence[tuple[str, int]]) -> list[int]:
        """The row that has each of these ids first: the row itself unless an earlier one was told."""
        return self._claimed("ids", [(blake2b(row_id.encode(), digest_size=16).digest(), row) for row_id, row in rows])

    def owner(self, request_key: bytes, row: int) -> int:
        """Row that owns this request: `row` itself unless an earlier one claimed it."""
        return self._claim("requests", request_key, row)

    def owners(self, requests: Sequence[tuple[bytes, int]]) -> list[int]:
        """`owner` of many requests at once, in their order."""
        return self._claimed("requests", requests)

    def has(self, request_key: bytes) -> bool:
        """Whether a row of the input asks this."""
        return self._db.execute("SELECT 1 FROM requests WHERE key = ?", (request_key,)).fetchone() is not None

    def claim_all(self, owners: Iterable[tuple[bytes, int]]) -> None:
        """Claim many requests at once; the first claim of a key stands."""
        self._guarded("INSERT OR IGNORE INTO requests VALUES (?, ?)", owners)

    def _claimed(self, table: str, rows: Sequence[tuple[bytes, int]]) -> list[int]:
        before = self._db.total_changes
        self._guarded(f"INSERT OR IGNORE INTO {table} VALUES (?, ?)", rows)
        if self._db.total_changes - before == len(rows):
            return [row for _, row in rows]
        return [self._claim(table, key, row) for key, row in rows]

    def _claim(self, table: str, key: bytes, row: int) -> int:
        try:
            added = self._db.execute(f"INSERT OR IGNORE INTO {table} VALUES (?, ?)", (key, row))
            if added.rowcount == 1:
                return row
            found = self._db.execute(f"SELECT row FROM {table} WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._refused(error) from None
        return int(found[0])

    def _guarded(self, statement: str, rows: Iterable[tuple[bytes, int]]) -> None:
        try:
            self._db.executemany(statement, rows)
        except sqlite3.Error as error:
            raise self._refused(error) from None

    def _refused(self, error: sqlite3.Error) -> StorageError:
        return StorageError(
            f"the key index cannot be written: {error}",
            where=str(self._path),
            hint="free disk space and run the same command again: what was settled stands",
        )

    def close(self) -> None:
        self._db.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
