"""Segment: the open journal of one shard, appended to while its rows are asked.

A head, an intent before each send and a bill after it, each vote about a row that is labelled by several, and each
outcome. What is appended in one turn of the loop is written together, at the latest at its end, and acknowledged when
the syncer's thread has made it durable; all that wait share one sync (group commit).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from rowmill.schemas.account import Account, Voted
from rowmill.schemas.errors import DamageError, StorageError
from rowmill.schemas.outcome import Outcome
from rowmill.tasks.journal.entries import (
    Bill,
    Entry,
    Head,
    Intent,
    Opened,
    PackBill,
    PackIntent,
    decode_line,
    decode_outcomes,
    encode_line,
)
from rowmill.tasks.journal.group_commit import Syncer, refused
from rowmill.tasks.journal.replay import Replay, replay
from rowmill.tasks.system.durable import PRIVATE_FILE, sync_folder
from rowmill.tasks.system.in_thread import in_thread

CHUNK = 4 * 2**20
# Room kept for each call in flight, so that an answer that was paid for can be stored.
ANSWER_ROOM = 64 * 1024
# Outcomes that lie within so many bytes are read back in one piece.
SPAN_MOST = 64 * 2**20


class Segment:
    """The open journal of one shard. Appended lines are gathered and written together, before the next call is sent."""

    def __init__(self, path: Path, head: Head, syncer: Syncer, *, room: int) -> None:
        """Opens or creates the segment, replays it and cuts a torn tail. Raises DamageError, StorageError."""
        self.path, self._syncer, self._room = path, syncer, room
        found = replay(path) if path.exists() else None
        self.replayed = found or Replay(head)
        self.settled = self.replayed.settled
        self._end = self._written = self.replayed.end
        self._unwritten: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._flush_is_due = self._intent_is_sent = False
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
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
        if not hasattr(os, "posix_fallocate"):
            # macOS has none: there a full disk is met by the write itself.
            return
        try:
            os.posix_fallocate(self._fd, self._end, wanted)
        except OSError as error:
            raise refused(self.path, error) from None
        self._allocated = self._end + wanted

    def intend(self, intent: Intent | PackIntent) -> None:
        """Write an intent. It survives this process; it need not survive the machine, so it is not waited for. Where
        the journal is kept elsewhere too, it comes there with the next sync.

        Raises StorageError: nothing was intended then.
        """
        self._append(intent)
        try:
            self.flush()
        except StorageError:
            self._end -= len(self._unwritten.pop())
            raise
        self.replayed.see(intent, 0, 0)
        if self._syncer.keeps_elsewhere:
            self._syncer.sync(self.path, self._fd, self._written, waiting=[])

    async def intent_stored(self) -> None:
        """Where the journal is kept elsewhere too, wait for the first intent to be there. By it whoever takes over
        knows that calls were sent, and bounds those whose intents did not get there.

        Raises StorageError: nothing was sent then.
        """
        if self._syncer.keeps_elsewhere and not self._intent_is_sent:
            self._intent_is_sent = True
            await self._durable()

    def open_account(self, row: int, account: Account, *, stands: bool) -> None:
        """Append what a row's request had cost elsewhere, so that it goes on from there. `stands`: also as what another
        open row has cost.
        """
        opened = Opened(row, account, stands)
        self._append(opened)
        self._flush_soon()
        self.replayed.see(opened, 0, 0)

    def bill(self, bill: Bill | PackBill) -> None:
        """Append what an attempt cost, so that it counts whatever becomes of its row. Not waited for."""
        self._append(bill)
        self._flush_soon()
        self.replayed.see(bill, 0, 0)

    async def durable(self) -> None:
        """Wait until all that was appended is durable. Raises StorageError."""
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

    def outcomes(self, rows: Sequence[int]) -> list[Outcome]:
        """The settled outcomes of these rows. Raises DamageError.

        They are read in one piece where they lie near each other, as they do when rows are settled nearly in order.
        """
        places = [self.settled[row] for row in rows]
        start, (last, length) = min(places)[0], max(places)
        span = last + length - start
        if span > SPAN_MOST:
            return [self.outcome(row) for row in rows]
        held = os.pread(self._fd, span, start)
        lines = [held[offset - start : offset - start + length] for offset, length in places]
        try:
            return decode_outcomes(lines)
        except (ValueError, msgspec.MsgspecError):
            # Read one by one, the damaged one tells where it stands.
            return [_outcome_of(line, self.path, offset) for line, (offset, _) in zip(lines, places, strict=True)]

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
            self._syncer.sync(self.path, self._fd, self._written, waiting=self._waiting)
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


async def opened_segment(path: Path, head: Head, syncer: Syncer, *, room: int) -> Segment:
    """A segment, opened in a thread: it may have to be replayed, and its name is made durable. Raises as it does."""
    found: list[Segment] = []

    def open_it() -> None:
        found.append(Segment(path, head, syncer, room=room))

    try:
        await in_thread(open_it)
    except asyncio.CancelledError:
        for segment in found:
            segment.close()
        raise
    return found[0]


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


def outcome_at(path: Path, offset: int, length: int) -> Outcome:
    """A settled outcome of a segment that is closed. Raises DamageError where it is not as it was written."""
    with open(path, "rb") as file:
        file.seek(offset)
        return _outcome_of(file.read(length), path, offset)
