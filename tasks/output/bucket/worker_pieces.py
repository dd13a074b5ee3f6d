"""Worker pieces: what a worker elsewhere writes of a shard's journal, in a bucket, under a name that bears its lease.

`journal/away-NNNNNN-LEASE-BASE.jsonl/OFFSET`: a piece is put once and never changed. BASE is where the shard's own
journal ended when the lease was given, so that a piece which comes late, from a holder who lost its lease, is known by
its name: the journal has gone on since, or pieces before it are missing. Nobody reads it then.

A holder that ends puts its whole segment once more, as one object (`closed`): who takes it over reads that, and not
some hundreds of pieces, each of which is a request.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rowmill.schemas.errors import StorageError
from rowmill.tasks.output.bucket.objects import Object, Objects
from rowmill.tasks.system.durable import published

# How the segment begins that a worker elsewhere writes.
WORKER_PREFIX = "away"
AWAY, BOARD = f"journal/{WORKER_PREFIX}-", ".board/"
CLOSED = "closed"


def is_workers(name: str) -> bool:
    """Whether an object is of the dealings between a coordinator and its workers, and no file of the output."""
    return name.startswith((AWAY, BOARD))


def segment_name(number: int, token: str, base: int) -> str:
    """The name of a worker's segment, as a file and as the folder of its pieces."""
    return f"journal/{WORKER_PREFIX}-{number:06d}-{token}-{base}.jsonl"


class PieceWriter:
    """The pieces of one lease, as its holder writes them."""

    def __init__(self, objects: Objects, name: str, base: int) -> None:
        self._objects, self._name, self._sent = objects, name, base
        # Where a piece was to end that nobody knows the fate of.
        self._tried: int | None = None

    def append(self, path: Path, end: int) -> None:
        """Put the lines of the segment that are not there yet, up to `end`. Raises OSError: they are not durable."""
        # What was to be put before, and no answer came, may stand there: the same again is known as that.
        for until in (end if self._tried is None else self._tried, end):
            if until <= self._sent:
                continue
            with open(path, "rb") as file:
                content = os.pread(file.fileno(), until - self._sent, self._sent)
            self._tried = until
            self._objects.put(f"{self._name}/{self._sent:012d}", content, over=None)
            self._sent, self._tried = until, None

    def close(self, path: Path) -> None:
        """Put the rest, then the whole, which tells that no call is in flight any more. Raises OSError."""
        self.append(path, path.stat().st_size)
        self._objects.write_file(f"{self._name}/{CLOSED}", path)


@dataclass(slots=True)
class WorkerPieces:
    """The pieces of one lease, as they were listed, by their offset."""

    name: str
    pieces: list[Object] = field(default_factory=list)
    closed: Object | None = None

    @property
    def base(self) -> int:
        return int(self.name.removesuffix(".jsonl").rpartition("-")[2])

    @property
    def token(self) -> str:
        """The lease whose holder wrote them."""
        return self.name.removeprefix(AWAY).partition("-")[2].rpartition("-")[0]

    @property
    def number(self) -> int:
        return int(self.name.removeprefix(AWAY).partition("-")[0])

    @property
    def unbroken(self) -> list[Object]:
        """The pieces from the base on, up to the first that is missing."""
        found: list[Object] = []
        at = self.base
        for piece in sorted(self.pieces, key=lambda one: one.name):
            if piece.name != f"{self.name}/{at:012d}":
                break
            found.append(piece)
            at += piece.size
        return found

    def fetch(self, objects: Objects, folder: Path) -> Path | None:
        """The worker's segment as a file of `folder`: its whole where it is closed, else the shard's own up to the
        base, then the pieces. None where the shard's own has gone on since, or holds less.

        Raises OSError, StorageError.
        """
        own = folder / "journal" / f"shard-{self.number:06d}.jsonl"
        held = own.read_bytes() if own.exists() else b""
        pieces = self.unbroken
        if len(held) != self.base or not pieces:
            return None
        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with published(path, path.name) as file:
            if self.closed is not None and self.closed.size:
                file.writelines(objects.chunks(self.closed.name, may_be_absent=True))
            else:
                file.write(held)
                file.writelines(objects.get_all([piece.name for piece in pieces]))
        return path


def found_in(listed: Iterable[Object]) -> list[WorkerPieces]:
    """The segments of workers among the objects of an output."""
    found: dict[str, WorkerPieces] = {}
    for one in listed:
        if not one.name.startswith(AWAY):
            continue
        name, _, place = one.name.rpartition("/")
        pieces = found.setdefault(name, WorkerPieces(name))
        if place == CLOSED:
            pieces.closed = one
        else:
            pieces.pieces.append(one)
    return [found[name] for name in sorted(found)]


def fetch_all(objects: Objects, listed: Sequence[Object], folder: Path) -> None:
    """Every worker's segment that goes on from the shard's own, as a file. Raises OSError: FileNotFoundError where one
    was taken over since it was listed.
    """
    for pieces in found_in(listed):
        try:
            pieces.fetch(objects, folder)
        except StorageError as error:
            if isinstance(error.__context__, FileNotFoundError):
                raise error.__context__ from None
            raise OSError(0, error.what, error.where) from None
