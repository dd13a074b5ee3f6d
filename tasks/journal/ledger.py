"""Ledger: what the attempts of an output have cost over all its runs, whatever became of their rows.

Attempts stand one by one in the segment from which they were sent. When a segment is about to go (its part is written,
or its rows were set aside) its sum is appended here, under the segment's own id: so closing a segment twice counts it
once, and a kill between the two steps loses and doubles nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from rowmill.schemas.attempt import Spent
from rowmill.schemas.errors import DamageError
from rowmill.tasks.journal.entries import Closed, encode_line, entry_or_none
from rowmill.tasks.journal.group_commit import refused
from rowmill.tasks.journal.replay import Replay
from rowmill.tasks.system.durable import PRIVATE_FILE, published, sync_folder

LEDGER = "ledger.jsonl"
# Sums of segments that are long gone, in one line; and of outputs that are older than the ledger.
EARLIER = "earlier"
# Lines after which the file is written anew at its next opening.
LINES_MOST = 4_096


class Ledger:
    """The sums of closed segments, one line each, in one file of the output."""

    def __init__(self, path: Path, publish: Callable[[Path], None] = lambda _: None) -> None:
        """`publish` makes the file stand wherever else the output stands. Raises DamageError."""
        self.path, self._publish = path, publish
        # Shards end in threads of their own.
        self._writing = threading.Lock()
        self._closed: dict[str, Spent] = {}
        self._end = 0
        if path.exists():
            self._read()

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever written here."""
        return not self._end

    @property
    def spent(self) -> Spent:
        """All that closed segments have cost, calls of unknown bill at their bound."""
        return sum(self._closed.values(), Spent())

    def holds(self, segment: str) -> bool:
        """Whether this segment is closed: its attempts count here and nowhere else."""
        return segment in self._closed

    def close(self, name: str, replayed: Replay) -> None:
        """Count a segment for good, before its file goes. Raises StorageError.

        `name` stands in for the id of a segment that was written before segments had one.
        """
        segment = replayed.head.id or name
        with self._writing:
            if not self.holds(segment):
                self._append(Closed(segment, replayed.sent))

    def add(self, name: str, spent: Spent) -> None:
        """Count what was spent for this output elsewhere, once under this name. Raises StorageError."""
        with self._writing:
            if spent != Spent() and not self.holds(name):
                self._append(Closed(name, spent))

    def begin(self, earlier: Spent) -> None:
        """What an output cost before it had a ledger. Raises StorageError."""
        if self.is_new and earlier != Spent():
            self._append(Closed(EARLIER, earlier))

    def compact(self) -> None:
        """Fold the lines of closed segments into one, where there are many. Raises StorageError.

        Only while no segment of these ids is left: one that is could not be told from an open one any more.
        """
        if len(self._closed) <= LINES_MOST:
            return
        self._closed = {EARLIER: self.spent}
        with published(self.path, LEDGER) as file:
            file.write(encode_line(Closed(EARLIER, self.spent)))
        self._end = self.path.stat().st_size
        self._publish(self.path)

    def _read(self) -> None:
        """Later lines of one id stand for the earlier ones; a torn last line is left out."""
        bad_line = 0
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, 1):
                entry = entry_or_none(line)
                if not isinstance(entry, Closed):
                    bad_line = bad_line or number
                    continue
                if bad_line:
                    raise DamageError(
                        f"line {bad_line} is damaged, and good lines follow it: what this output has cost is not known",
                        where=str(self.path),
                        hint="restore it from a copy, or use --fresh: the output is then moved aside",
                    )
                self._closed[entry.id] = entry.spent
                self._end += len(line)

    def _append(self, entry: Closed) -> None:
        line = encode_line(entry)
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
            try:
                os.ftruncate(fd, self._end)
                os.pwrite(fd, line, self._end)
                os.fsync(fd)
            finally:
                os.close(fd)
            if self.is_new:
                sync_folder(self.path.parent)
        except OSError as error:
            raise refused(self.path, error) from None
        self._end += len(line)
        self._closed[entry.id] = entry.spent
        self._publish(self.path)
