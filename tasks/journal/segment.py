"""Journal: the append-only truth of what is not yet in a part. Append, replay, the settled set.

One segment file per open shard, lines of `crc32 kind json`: a head, an intent before each send, what a failed attempt
cost, each vote about a row that is labelled by several, and each outcome. What is appended in one turn of the loop is
written together, at the latest at its end, and acknowledged when the syncer's thread has made it durable; all that wait
share one sync (group commit).
"""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from rowmill.schemas.attempt import Spent
from rowmill.schemas.errors import DamageError, StorageError
from rowmill.schemas.outcome import Outcome
from rowmill.schemas.row import NO_SHARD, Shard
from rowmill.tasks.journal.group_commit import Syncer, refused
from rowmill.tasks.system.durable import sync_folder

VERSION = 1
CHUNK = 4 * 2**20
# Room kept for each call in flight, so that an answer that was paid for can be stored.
ANSWER_ROOM = 64 * 1024
# Outcomes that lie within so many bytes are read back in one piece.
SPAN_MOST = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Head:
    """First line of a segment: whose rows these are."""

    version: int
    job: str
    shard: Shard


class Intent(msgspec.Struct, frozen=True):
    """Written before a call is sent. One without a later `Tried` or outcome of its row may have been paid."""

    row: int
    attempt: int
    worst_usd: int


class Tried(msgspec.Struct, frozen=True):
    """An attempt that did not settle its row: why, and what it cost."""

    row: int
    attempt: int
    kind: str
    spent: Spent


class Voted(msgspec.Struct, frozen=True):
    """One vote about a row that may need more of them: what its calls came to, all of its attempts together."""

    row: int
    model: str
    outcome: Outcome


NO_HEAD = Head(VERSION, "", NO_SHARD)
KINDS: dict[bytes, type] = {b"H": Head, b"I": Intent, b"T": Tried, b"V": Voted, b"O": Outcome}
LETTERS = {kind: letter for letter, kind in KINDS.items()}
_DECODERS: dict[bytes, msgspec.json.Decoder[Any]] = {
    letter: msgspec.json.Decoder(kind) for letter, kind in KINDS.items()
}
Entry = Head | Intent | Tried | Voted | Outcome
_encode = msgspec.json.Encoder().encode


def encode_line(entry: Entry) -> bytes:
    """One journal line: 8 hex digits of CRC-32, the kind's letter, JSON, a line feed."""
    body = LETTERS[type(entry)] + b" " + _encode(entry)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode_line(line: bytes) -> Entry:
    """The entry of a line without its line feed. Raises ValueError where a bit is not as it was written."""
    body = line[9:]
    # Compared as written: a flipped bit may make a digit's letter a capital, which means the same number.
    if len(line) < 11 or line[:9] != b"%08x " % zlib.crc32(body):
        raise ValueError("the checksum does not match")
    entry: Entry = _DECODERS[body[:1]].decode(body[2:])
    return entry


@dataclass(slots=True)
class Replay:
    """What a segment holds: offsets of outcomes by row, calls left in flight, and of unsettled rows the votes so far
    and what attempts since the last vote have cost.
    """

    head: Head
    end: int = 0
    settled: dict[int, tuple[int, int]] = field(default_factory=dict)
    tried: dict[int, Spent] = field(default_factory=dict)
    failures: dict[int, dict[str, int]] = field(default_factory=dict)
    votes: dict[int, list[Voted]] = field(default_factory=dict)
    in_flight: dict[int, Intent] = field(default_factory=dict)

    @property
    def unsettled(self) -> Spent:
        """What rows without an outcome have cost, calls left in flight left out."""
        votes = (vote.outcome.spent for told in self.votes.values() for vote in told)
        return sum((*self.tried.values(), *votes), Spent())

    def see(self, entry: Entry, offset: int, length: int) -> None:
        match entry:
            case Outcome(row_index=row):
                self.settled[row] = (offset, length)
                self.tried.pop(row, None)
                self.failures.pop(row, None)
                self.votes.pop(row, None)
                self.in_flight.pop(row, None)
            case Voted(row=row):
                self.votes.setdefault(row, []).append(entry)
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
    number = int(next((part for part in path.stem.split("-") if part.isdigit()), "0"))
    return DamageError(
        f"line {line} is damaged, and good lines follow it: something else changed this file",
        where=str(path),
        hint=f"restore it from a copy, or run with --fresh-part {number}: it is moved aside, and its rows are asked "
        "(and paid for) again",
    )


class Segment:
    """The open journal of one shard. Appended lines are gathered and written together, before the next call is sent."""

    def __init__(self, path: Path, head: Head, syncer: Syncer, room: int) -> None:
        """Opens or creates the segment, replays it and cuts a torn tail. Raises DamageError, StorageError."""
        self.path, self._syncer, self._room = path, syncer, room
        found = replay(path) if path.exists() else None
        self.replayed = found or Replay(head)
        self.settled = self.replayed.settled
        self._end = self._written = self.replayed.end
        self._unwritten: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._flush_is_due = False
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            os.ftruncate(self._fd, self._end)
            self._allocated = self._end
            if found is None:
                self._append(head)
                self.flush()
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
        """Write an intent. It survives this process; it need not survive the machine, so it is not waited for.

        Raises StorageError: nothing was intended then.
        """
        self._append(intent)
        try:
            self.flush()
        except StorageError:
            self._end -= len(self._unwritten.pop())
            raise

    def note_tried(self, tried: Tried) -> None:
        """Append what a failed attempt cost, so that it counts though its row is not settled."""
        self._append(tried)
        self._flush_soon()
        self.replayed.see(tried, 0, 0)

    async def tried(self, tried: Tried) -> None:
        """The same, and wait until it is durable where money was spent."""
        self.note_tried(tried)
        if tried.spent.usage.total or tried.spent.unknown:
            await self._durable()

    async def voted(self, vote: Voted) -> None:
        """Append a vote and wait until it is durable. Raises StorageError."""
        self._append(vote)
        await self._durable()
        self.replayed.see(vote, 0, 0)

    async def settle(self, outcome: Outcome) -> None:
        """Append an outcome and wait until it is durable. Raises StorageError: the row is then not settled."""
        offset, length = self._append(outcome)
        await self._durable()
        self.replayed.see(outcome, offset, length)

    def note(self, outcome: Outcome) -> None:
        """Append an outcome that cost nothing and can be made again; not waited for."""
        offset, length = self._append(outcome)
        self._flush_soon()
        self.replayed.see(outcome, offset, length)

    def outcome(self, row: int) -> Outcome:
        """The settled outcome of a row, read back. Raises DamageError where it is not as it was written."""
        self.flush()
        offset, length = self.settled[row]
        return _outcome_of(os.pread(self._fd, length, offset), self.path, offset)

    def outcomes(self, rows: Sequence[int]) -> Iterator[Outcome]:
        """The settled outcomes of these rows. Raises DamageError.

        They are read in one piece where they lie near each other, as they do when rows are settled nearly in order.
        """
        places = [self.settled[row] for row in rows]
        start = min(offset for offset, _ in places)
        span = max(offset + length for offset, length in places) - start
        if span > SPAN_MOST:
            yield from (self.outcome(row) for row in rows)
            return
        held = os.pread(self._fd, span, start)
        for offset, length in places:
            yield _outcome_of(held[offset - start : offset - start + length], self.path, offset)

    def _append(self, entry: Entry) -> tuple[int, int]:
        """Add a line to those that will be written next; its place in the file."""
        line, offset = encode_line(entry), self._end
        self._unwritten.append(line)
        self._end = offset + len(line)
        return offset, len(line)

    def _durable(self) -> asyncio.Future[None]:
        done: asyncio.Future[None] = self._syncer.loop.create_future()
        self._waiting.append(done)
        self._flush_soon()
        return done

    def _flush_soon(self) -> None:
        """At the end of this turn of the loop, unless an intent is written before."""
        if not self._flush_is_due:
            self._flush_is_due = True
            self._syncer.loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        """Whoever waits for a line that cannot be written is told by its future; the line is tried again later."""
        self._flush_is_due = False
        with suppress(StorageError):
            self.flush()

    def flush(self) -> None:
        """Write what was appended, and have it synced for those who wait. Raises StorageError."""
        if self._unwritten:
            lines = b"".join(self._unwritten)
            try:
                done = 0
                while done < len(lines):
                    done += os.pwrite(self._fd, lines[done:], self._written + done)
            except OSError as error:
                self._give_up_waiting(refused(self.path, error))
                raise refused(self.path, error) from None
            self._written += len(lines)
            self._unwritten.clear()
        if self._waiting:
            self._syncer.sync(self.path, self._fd, self._written, self._waiting)
            self._waiting = []

    def _give_up_waiting(self, error: StorageError) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            if not done.done():
                done.set_exception(error)

    def close(self) -> None:
        """Cut the preallocated room and close; the segment stays."""
        if self._fd >= 0:
            self._flush_now()
            self._syncer.forget(self._fd)
            try:
                os.ftruncate(self._fd, self._written)
            finally:
                os.close(self._fd)
                self._fd = -1


def _outcome_of(line: bytes, path: Path, offset: int) -> Outcome:
    """The outcome of a line that was read back. Raises DamageError."""
    try:
        entry = decode_line(line[:-1])
    except (ValueError, KeyError, msgspec.MsgspecError):
        entry = None
    if not isinstance(entry, Outcome):
        raise DamageError(
            f"the outcome at byte {offset} is damaged",
            where=str(path),
            hint="restore the file from a copy, or use --fresh-part",
        )
    return entry
