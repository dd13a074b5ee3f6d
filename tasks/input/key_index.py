"""Key index: which id and which request was seen first, on disk with bounded memory.

Made from the input and the parts whenever it is needed: never the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from rowmill.tasks.input.key_table import UNKNOWN, Keys, KeyTable, Marks, Numbers

# Added to the number of a row that shared an answer.
_SHARED = 1 << 62
# The halves of an id's key, and what stands before the id in the second one's text.
_HALVES, _OTHER = Struct("<qq"), b"\0"


def id_key(row_id: str) -> bytes:
    """What an id is known by within this process: SipHash, which Python has at hand for bytes, of two texts."""
    held = row_id.encode()
    return _HALVES.pack(hash(held), hash(_OTHER + held))


def id_keys(column: pa.ChunkedArray) -> Keys:
    """What each id of a results column is known by; none of them is null."""
    held: list[bytes] = column.cast(pa.binary()).to_pylist()
    keys = np.empty((len(held), 2), np.int64)
    keys[:, 0] = np.fromiter(map(hash, held), np.int64, len(held))
    keys[:, 1] = np.fromiter(map(hash, map(_OTHER.__add__, held)), np.int64, len(held))
    return keys.view(np.uint64)


class KeyIndex:
    """Two tables: id → first row, request_key → owning row. 24 bytes a row and table. Raises StorageError."""

    def __init__(self, folder: Path) -> None:
        """`folder` is where the tables stand while they are needed."""
        self._ids, self._requests = KeyTable(folder), KeyTable(folder)

    def add_ids(self, ids: Keys, rows: Numbers) -> None:
        """Take in what the ids of rows are known by; which stand twice is told by `repeated_ids`."""
        self._ids.add(ids, rows)

    def repeated_ids(self) -> Iterator[tuple[int, int]]:
        """Of the ids taken in so far: each row whose id an earlier one has, and the first such row."""
        return self._ids.repeated()

    def firsts_with_id(self, rows: Sequence[tuple[str, int]]) -> list[int]:
        """The row that has each of these ids first: the row itself unless an earlier one was told."""
        return self._ids.claim([id_key(row_id) for row_id, _ in rows], [row for _, row in rows])

    def owner(self, request_key: bytes, row: int) -> int:
        """Row that owns this request: `row` itself unless an earlier one claimed it."""
        return self.owners([(request_key, row)])[0]

    def owners(self, requests: Sequence[tuple[bytes, int]]) -> list[int]:
        """`owner` of many requests at once, in their order."""
        owners = self._requests.claim([key for key, _ in requests], [row for _, row in requests])
        return [owner if owner < _SHARED else owner - _SHARED for owner in owners]

    def own(self, requests: Keys, rows: Numbers, is_shared: Marks) -> None:
        """Many settled requests at once. Of rows that asked the same the first owns it, one that paid for it before
        those that shared its answer (`is_shared`).
        """
        self._requests.add(requests, np.where(is_shared, rows + _SHARED, rows))

    def asks(self, requests: Keys) -> Marks:
        """Whether a row of the input asks each of these."""
        found: Marks = self._requests.find(requests) != UNKNOWN
        return found

    def close(self) -> None:
        self._ids.close()
        self._requests.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
