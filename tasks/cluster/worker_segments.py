"""Away: the segment of a shard while a worker elsewhere asks its rows: a copy of the shard's own, and what follows.

A worker writes to a file of its own that bears its lease. What a worker writes that has lost its lease goes into a file
that nobody reads any more: so a late commit is refused without asking anyone.
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from rowmill.schemas.errors import StorageError
from rowmill.schemas.row import Shard
from rowmill.tasks.journal.entries import Entry, Intent, PackIntent, encode_line
from rowmill.tasks.journal.replay import replay
from rowmill.tasks.journal.segment import CHUNK
from rowmill.tasks.output.answer_cache import bound_usd
from rowmill.tasks.output.bucket.worker_pieces import WORKER_PREFIX, segment_name
from rowmill.tasks.output.layout import Layout, number_of
from rowmill.tasks.system.durable import published, sync_folder


class WorkerLayout(Layout):
    """An output as the holder of a lease sees it: its segment is its own."""

    def __init__(self, root: Path, token: str, base: int | None = None) -> None:
        """`base` is where the shard's own journal ends, which a name in a bucket tells."""
        super().__init__(root)
        self._token, self._base = token, base

    def segment_path(self, number: int) -> Path:
        if self._base is not None:
            return self.root / segment_name(number, self._token, self._base)
        return self.journal / f"{WORKER_PREFIX}-{number:06d}-{self._token}.jsonl"


def begin(layout: WorkerLayout, shard: Shard) -> None:
    """What was settled before, for a worker to go on from. Raises StorageError."""
    before = Layout(layout.root).segment_path(shard.number)
    if before.exists():
        _copy(before, layout.segment_path(shard.number), before.stat().st_size)


def _copy(source: Path, target: Path, size: int) -> None:
    """The first `size` bytes, whole or not at all. Raises StorageError."""
    with open(source, "rb") as file, published(target, target.name) as into:
        while size and (chunk := file.read(min(size, CHUNK))):
            into.write(chunk)
            size -= len(chunk)


def adopt(away: Path, *, closed: bool) -> None:
    """Make a worker's segment the shard's own. Raises StorageError, DamageError.

    One that was not `closed` is copied, so that a worker that lives on unheard writes into a file without a name.
    """
    own = Layout(away.parent.parent).segment_path(number_of(away))
    if not closed:
        found = replay(away)
        if found is not None:
            _copy(away, own, found.end)
        away.unlink()
        return
    try:
        os.replace(away, own)
        sync_folder(away.parent)
    except OSError as error:
        raise StorageError(
            f"the journal cannot be renamed: {error.strerror}",
            where=str(away),
            hint="mend the disk and run the same command again: what was settled stands",
        ) from None


def left_away(journal: Path) -> list[Path]:
    """Segments whose workers were not heard to the end."""
    return sorted(journal.glob(f"{WORKER_PREFIX}-*.jsonl"))


def adopt_all(journal: Path) -> None:
    """Make every such segment its shard's own; of two for one shard the one that holds more. Raises as `adopt` does."""
    found = left_away(journal)
    for away in sorted(found, key=lambda path: path.stat().st_size):
        adopt(away, closed=False)


def lease_of(away: Path) -> str:
    """The lease whose holder wrote a segment, by its name in a bucket."""
    return away.stem.split("-", 2)[2].rpartition("-")[0]


def assume_in_flight(away: Path, calls: int, otherwise_usd: int = 0) -> int:
    """Write down that so many calls of this segment's holder may be in flight whose intents nobody has seen: a bucket
    hears of an intent within a tenth of a second, and a process that is killed takes its last ones with it. Returns the
    most that one of its calls may cost, in 10⁻¹² USD; `otherwise_usd` where none is seen.

    Which rows they were for is not known: the next ones that are not settled stand for them.
    """
    seen: list[int] = []

    def see(entry: Entry, _offset: int, _length: int) -> None:
        if isinstance(entry, Intent):
            seen.append(entry.worst_usd)
        elif isinstance(entry, PackIntent):
            seen.append(sum(part.worst_usd for part in entry.rows))

    found = replay(away, on_entry=see)
    if found is None:
        return otherwise_usd
    worst_usd = max(seen, default=otherwise_usd)
    known = sum(not intent.joined for intent in found.in_flight.values())
    shard = found.head.shard
    rows = (
        row
        for row in range(shard.first_row, shard.last_row + 1)
        if row not in found.settled and row not in found.in_flight
    )
    lines = []
    for row in islice(rows, max(0, calls - known)):
        account = found.account(row)
        lines.append(encode_line(Intent(row, account.total.attempts + 1, worst_usd, account.key)))
    if lines:
        with open(away, "r+b") as file:
            file.truncate(found.end)
            file.seek(found.end)
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
    return worst_usd


def bound_of(path: Path) -> int:
    """What the attempts of a segment have cost or may have, in 10⁻¹² USD."""
    found = replay(path) if path.exists() else None
    return bound_usd(found.sent) if found is not None else 0
