"""Journal: the append-only truth of what is not yet in a part. Append, replay, the settled set.

One segment file per open shard, lines of `crc32 kind json`: a head, an intent before each send, what a failed attempt
cost, and each outcome. An append is written at once and acknowledged when a writer thread has synced it; all appends
that wait share one sync (natural group commit).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from schemas.attempt import Spent
from schemas.errors import DamageError
from schemas.outcome import Outcome
from schemas.row import Cursor, Shard
from tasks.publish import sync_folder
from tasks.syncer import Syncer, refused

VERSION = 1
CHUNK = 4 * 2**20
# Room kept for each call in flight, so that an answer that was paid for can be stored.
ANSWER_ROOM = 64 * 1024


@dataclass(frozen=True, slots=True)
class Head:
    """First line of a segment: whose rows these are."""

    version: int
    job: str
    shard: Shard


@dataclass(frozen=True, slots=True)
class Intent:
    """Written before a call is sent. One without a later `Tried` or outcome of its row may have been paid."""

    row: int
    attempt: int
    worst_usd: int


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt that did not settle its row: why, and what it cost."""

    row: int
    attempt: int
    kind: str
    spent: Spent


NO_HEAD = Head(VERSION, "", Shard(0, 0, 0, Cursor("", 0, 0), ""))
KINDS: dict[bytes, type] = {b"H": Head, b"I": Intent, b"T": Tried, b"O": Outcome}
LETTERS = {kind: letter for letter, kind in KINDS.items()}
_DECODERS: dict[bytes, msgspec.json.Decoder[Any]] = {
    letter: msgspec.json.Decoder(kind) for letter, kind in KINDS.items()
}
Entry = Head | Intent | Tried | Outcome
_encode = msgspec.json.Encoder().encode


def encode_line(entry: Entry) -> bytes:
    """One journal line: 8 hex digits of CRC-32, the kind's letter, JSON, a line feed."""
    body = LETTERS[type(entry)] + b" " + _encode(entry)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode_line(line: bytes) -> Entry:
    """The entry of a line without its line feed. Raises ValueError where a bit is not as it was written."""
    body = line[9:]
    if len(line) < 11 or line[8:9] != b" " or int(line[:8], 16) != zlib.crc32(body):
        raise ValueError("the checksum does not match")
    entry: Entry = _DECODERS[body[:1]].decode(body[2:])
    return entry


@dataclass(slots=True)
class Replay:
    """What a segment holds: offsets of outcomes by row, cost of unsettled rows' attempts, calls left in flight."""

    head: Head
    end: int = 0
    settled: dict[int, tuple[int, int]] = field(default_factory=dict)
    tried: dict[int, Spent] = field(default_factory=dict)
    failures: dict[int, dict[str, int]] = field(default_factory=dict)
    in_flight: dict[int, Intent] = field(default_factory=dict)

    def see(self, entry: Entry, offset: int, length: int) -> None:
        match entry:
            case Outcome(row_index=row):
                self.settled[row] = (offset, length)
                self.tried.pop(row, None)
                self.failures.pop(row, None)
                self.in_flight.pop(row, None)
            case Tried(row=row, kind=kind, spent=spent):
                self.tried[row] = self.tried.get(row, Spent()) + spent
                counts = self.failures.setdefault(row, {})
                counts[kind] = counts.get(kind, 0) + 1
                self.in_flight.pop(row, None)
            case Intent(row=row):
                self.in_flight[row] = entry
            case Head():
                pass


def replay(path: Path, on_outcome: Callable[[Outcome], None] | None = None, *, headless: bool = False) -> Replay | None:
    """Read a segment back; None where it ends before its head was written (`headless` files have none).

    A torn tail (a last line cut short, or the zeros of preallocated room) is left out. A bad line followed by a good
    one is damage: raises DamageError with file and line.
    """
    found: Replay | None = None
    offset, bad_line = 0, 0
    with open(path, "rb", buffering=1 << 20) as file:
        for number, line in enumerate(file, 1):
            entry = _entry_or_none(line)
            if entry is None:
                if not line.strip(b"\0"):
                    break
                bad_line = bad_line or number
                continue
            if bad_line:
                raise _damage(path, bad_line)
            if found is None:
                if isinstance(entry, Head) == headless:
                    raise _damage(path, number)
                found = Replay(entry if isinstance(entry, Head) else NO_HEAD)
            found.see(entry, offset, len(line))
            if on_outcome is not None and isinstance(entry, Outcome):
                on_outcome(entry)
            offset += len(line)
            found.end = offset
    return found


def _entry_or_none(line: bytes) -> Entry | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return decode_line(line[:-1])
    except (ValueError, KeyError, msgspec.MsgspecError):
        return None


def _damage(path: Path, line: int) -> DamageError:
    number = path.stem.split("-")[-1].lstrip("0") or "0"
    return DamageError(
        f"line {line} is damaged, and good lines follow it: something else changed this file",
        where=str(path),
        mend=f"restore it from a copy, or run with --fresh-part {number}: it is moved aside, and its rows are asked "
        "(and paid for) again",
    )


class Segment:
    """The open journal of one shard."""

    def __init__(self, path: Path, head: Head, syncer: Syncer, room: int) -> None:
        """Opens or creates the segment, replays it and cuts a torn tail. Raises DamageError, StorageError."""
        self.path, self._syncer, self._room = path, syncer, room
        found = replay(path) if path.exists() else None
        self.replayed = found or Replay(head)
        self._end = self.replayed.end
        self.settled = self.replayed.settled
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            os.ftruncate(self._fd, self._end)
            self._allocated = self._end
            if found is None:
                self._write(encode_line(head))
                os.fsync(self._fd)
                sync_folder(path.parent)
            self.make_room()
        except OSError as error:
            raise refused(path, error) from None

    def make_room(self) -> None:
        """Preallocate, so that what is in flight can be stored when it arrives. Raises StorageError when it cannot."""
        if self._allocated - self._end >= self._room:
            return
        wanted = CHUNK + self._room
        try:
            os.posix_fallocate(self._fd, self._end, wanted)
        except OSError as error:
            raise refused(self.path, error) from None
        self._allocated = self._end + wanted

    def intend(self, intent: Intent) -> None:
        """Write an intent. It survives this process; it need not survive the machine, so it is not waited for."""
        self._append(intent)

    def note_tried(self, tried: Tried) -> None:
        """Append what a failed attempt cost, so that it counts though its row is not settled."""
        self._append(tried)
        self.replayed.see(tried, 0, 0)

    async def tried(self, tried: Tried) -> None:
        """The same, and wait until it is durable where money was spent."""
        self.note_tried(tried)
        if tried.spent.usage.total or tried.spent.unknown:
            await self._syncer.synced(self._fd)

    async def settle(self, outcome: Outcome) -> None:
        """Append an outcome and wait until it is durable. Raises StorageError: the row is then not settled."""
        offset, line = self._append(outcome)
        await self._syncer.synced(self._fd)
        self.replayed.see(outcome, offset, len(line))

    def note(self, outcome: Outcome) -> None:
        """Append an outcome that cost nothing and can be made again; not waited for."""
        offset, line = self._append(outcome)
        self.replayed.see(outcome, offset, len(line))

    def outcome(self, row: int) -> Outcome:
        """The settled outcome of a row, read back. Raises DamageError where it is not as it was written."""
        offset, length = self.settled[row]
        return read_outcome(self._fd, self.path, offset, length)

    def _append(self, entry: Entry) -> tuple[int, bytes]:
        line = encode_line(entry)
        try:
            offset = self._write(line)
        except OSError as error:
            raise refused(self.path, error) from None
        return offset, line

    def _write(self, line: bytes) -> int:
        offset = self._end
        written = 0
        while written < len(line):
            written += os.pwrite(self._fd, line[written:], offset + written)
        self._end = offset + len(line)
        return offset

    def close(self) -> None:
        """Cut the preallocated room and close; the segment stays."""
        if self._fd >= 0:
            self._syncer.forget(self._fd)
            try:
                os.ftruncate(self._fd, self._end)
            finally:
                os.close(self._fd)
                self._fd = -1


def read_outcome(fd: int, path: Path, offset: int, length: int) -> Outcome:
    """One outcome by its place in a segment. Raises DamageError."""
    try:
        entry = decode_line(os.pread(fd, length, offset)[:-1])
    except (ValueError, KeyError, msgspec.MsgspecError):
        entry = None
    if not isinstance(entry, Outcome):
        raise DamageError(f"the outcome at byte {offset} is damaged", where=str(path))
    return entry
