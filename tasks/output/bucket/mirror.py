"""Replica: an output whose truth is in a bucket, worked on in a folder of this machine.

A row's answer counts once its lines are in the bucket: each sync of the journal puts them there as one small object
that is never changed. Parts and the manifest are put as they are published, each only over what was seen before, so
that nobody writes over what another run has written. The folder is a copy that may be thrown away at any time.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from rowmill.schemas.errors import DamageError, OutputError, StorageError
from rowmill.tasks.journal.replay import replay
from rowmill.tasks.output.bucket.lease import HINT, LOCK, BucketLease
from rowmill.tasks.output.bucket.objects import Conflict, Object, Objects
from rowmill.tasks.output.bucket.probe import probe
from rowmill.tasks.output.bucket.redis_lease import VARIABLE, RedisLease
from rowmill.tasks.output.bucket.worker_pieces import AWAY, fetch_all, is_workers

log = logging.getLogger("rowmill")
STATE = ".replica.json"
VERSIONED = (
    "the bucket keeps old versions, and a run writes over its lock every 5 s and deletes its journal: add a lifecycle "
    "rule that lets noncurrent versions below this address expire"
)
RENEW_S = 5.0
PULLS = 3
SEGMENT, GONE = "journal/shard-", "gone"
# Never copied: what only this machine's processes use, and what was set aside and is read by nobody.
NOT_COPIED = (".lock", ".tmp", ".sqlite", STATE)
NOT_FETCHED = "previous/"


class Mirror:
    """One output in a bucket, held by one run, and its copy in `folder`."""

    def __init__(self, objects: Objects, folder: Path, *, now: Callable[[], float] = time.monotonic) -> None:
        self.url, self.folder, self.objects = objects.url, folder, objects
        # What coordinators and workers of a cluster had left there when it was fetched.
        self.workers: list[Object] = []
        # Tags of objects, and of each file its size and time of change when it was last equal to its object.
        self._tags: dict[str, str] = {}
        self._equal: dict[str, tuple[int, int]] = {}
        # Bytes of each segment that are in the bucket.
        self._sent: dict[str, int] = {}
        self.hold = BucketLease(objects, folder, now)
        self._ended = threading.Event()
        self._later: Path | None = None
        self._busy = threading.Lock()
        self._thread = threading.Thread(target=self._renew, name="rowmill-bucket", daemon=True)

    def lock(self) -> None:
        """Hold the output. Raises OutputError where another run does, or where the bucket cannot be used."""
        self._look_at_conditions()
        self.hold.take()
        self._thread.start()

    def _look_at_conditions(self) -> None:
        """Refuse a bucket that does not hold to the conditions of a write, or go by a Redis in its place."""
        try:
            found = probe(self.objects)
        except OSError as error:
            raise OutputError(str(error.strerror), where=self.url, hint=HINT) from None
        if found.keeps_versions:
            log.warning("%s: %s", self.url, VERSIONED)
        if found.ignored is None:
            return
        url = os.environ.get(VARIABLE)
        if not url:
            raise OutputError(
                f"its server does not hold to {found.ignored}, so two machines could pay for the same rows",
                where=self.url,
                hint=f"set {VARIABLE} to a Redis that all machines reach, which then keeps the lease; or name a bucket "
                "whose server has conditional writes (Amazon S3, MinIO, R2, Ceph)",
            )
        self.hold.arbiter = RedisLease(url, self.url)
        self.objects.conditional = False
        log.warning(
            "%s: its server does not hold to %s: the lease on this output is in Redis (%s)",
            self.url, found.ignored, self.hold.arbiter.address,
        )  # fmt: skip

    def _renew(self) -> None:
        """Renew the hold, and put what may wait, until the end."""
        while not self._ended.wait(RENEW_S):
            try:
                self.hold.renew()
                self._put_later()
                self._remember()
            except Conflict:
                return
            except (OSError, StorageError):
                # Tried again; meanwhile the hold runs out by itself.
                continue

    def append(self, path: Path, end: int) -> None:
        """Put the lines of a segment that are not there yet, up to `end`. Raises OSError: they are then not durable."""
        name = self._name(path)
        with self._busy:
            start = self._sent.get(name, 0)
            if end <= start:
                return
            with open(path, "rb") as file:
                content = os.pread(file.fileno(), end - start, start)
            self.hold.refuse_unless_held()
            piece = f"{name}/{start:012d}"
            self._tags[piece] = self.objects.put(piece, content, over=None)
            self._sent[name] = end

    def pieces(self, path: Path) -> tuple[list[str], int]:
        """The objects that hold a segment, in their order, and its bytes that are in them."""
        name = self._name(path)
        with self._busy:
            return sorted(one for one in self._tags if one.startswith(f"{name}/")), self._sent.get(name, 0)

    def keep(self, path: Path) -> None:
        """Put a published file. Raises StorageError."""
        name = self._name(path)
        with self._busy:
            try:
                state = _state(path)
                if self._equal.get(name) == state:
                    return
                self.hold.refuse_unless_held()
                self._tags[name] = self.objects.put(name, path.read_bytes(), over=self._tags.get(name))
                self._equal[name] = state
            except OSError as error:
                raise StorageError(
                    f"it cannot be put into the bucket: {error.strerror}", where=f"{self.url}/{name}", hint=HINT
                ) from None

    def holds(self, path: Path) -> bool:
        """Whether a file stands in the bucket as it is here."""
        with self._busy:
            return self._equal.get(self._name(path)) == _state(path)

    def keep_later(self, path: Path) -> None:
        """Put a file within seconds, as it is then; the last that was named."""
        self._later = path

    def _put_later(self) -> None:
        later, self._later = self._later, None
        if later is not None and later.exists():
            self.keep(later)

    def drop(self, path: Path) -> None:
        """Delete a file's objects, whose content stands elsewhere by now; the next start deletes what stays."""
        name = self._name(path)
        with self._busy, suppress(OSError):
            self._sent.pop(name, None)
            self._equal.pop(name, None)
            if not _is_segment(name):
                self._delete([name])
                return
            mark = f"{name}/{GONE}"
            if pieces := [one for one in self._tags if one.startswith(f"{name}/") and one != mark]:
                # Pieces go in no order: who finds some of them must know that the others are not missed.
                self._tags[mark] = self.objects.put(mark, b"", over=None)
                self._delete(pieces)
            self._delete([mark])

    def _delete(self, names: Sequence[str]) -> None:
        """Those of them that are in the bucket. Raises OSError."""
        known = [name for name in names if name in self._tags]
        self.objects.delete(known)
        for name in known:
            del self._tags[name]

    def push(self) -> None:
        """Make the bucket equal to the folder: what is new is put, then what is gone deleted. Raises StorageError."""
        files = {name: path for path in self._files() if not (name := self._name(path)).startswith(AWAY)}
        for name, path in files.items():
            if _is_segment(name):
                # A killed run leaves room behind its last whole line.
                found = replay(path)
                try:
                    self.append(path, found.end if found is not None else 0)
                except OSError as error:
                    raise StorageError(
                        f"the journal cannot be put into the bucket: {error.strerror}", where=self.url, hint=HINT
                    ) from None
            else:
                self.keep(path)
        for name in list(self._tags):
            stands = name.rpartition("/")[0] if _is_piece(name) else name
            if stands not in files and not name.startswith(NOT_FETCHED):
                self.drop(self.folder / stands)

    # Reading.

    def pull(self, *, workers: bool = False) -> None:
        """Make the folder equal to the bucket; with what `workers` have written of open shards and nobody has adopted.

        Raises OutputError, DamageError.
        """
        for _ in range(PULLS):
            # Without the lock, a run elsewhere may delete what it has just listed.
            with suppress(FileNotFoundError):
                self._pull(workers)
                return
        raise OutputError("it changes while it is fetched", where=self.url, hint="try again in a moment")

    def _pull(self, workers: bool) -> None:
        known = self._remembered()
        try:
            listed = [one for one in self.objects.list() if one.name != LOCK]
            self.workers = [one for one in listed if is_workers(one.name)]
            found = {one.name: one for one in listed if not is_workers(one.name)}
            self._tags = {name: one.etag for name, one in found.items()}
            wanted = {name for name in found if not name.startswith(NOT_FETCHED) and not _is_piece(name)}
            pieces = {name: name.rpartition("/")[0] for name in found if _is_piece(name)}
            segments = set(pieces.values()) - {pieces[name] for name in pieces if name.endswith(f"/{GONE}")}
            for path in self._files():
                name = self._name(path)
                if name not in wanted and not name.startswith(NOT_FETCHED) and not self._newer(name, segments):
                    path.unlink()
            for name in sorted(wanted):
                self._fetch(found[name], known.get(name))
            for name in sorted(segments):
                self._fetch_segment(name, [one for one in found.values() if one.name.startswith(f"{name}/")])
            if workers:
                fetch_all(self.objects, self.workers, self.folder)
            self._remember()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise OutputError(f"it cannot be fetched: {error.strerror}", where=self.url, hint=HINT) from None

    def _fetch(self, one: Object, known: tuple[str, int, int] | None) -> None:
        path = self.folder / one.name
        if known is None or not path.exists() or known != (one.etag, *_state(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(path.name + ".tmp")
            temporary.write_bytes(self.objects.get(one.name))
            os.replace(temporary, path)
        self._equal[one.name] = _state(path)

    def _newer(self, name: str, segments: set[str]) -> bool:
        """Whether a segment here may hold more than the bucket: what a killed run wrote and had not put yet."""
        return _is_segment(name) and (self.hold.goes_on or name in segments)

    def _fetch_segment(self, name: str, pieces: list[Object]) -> None:
        """A segment from its pieces; one that a killed run left here stays where it holds the same and more."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        held = path.read_bytes() if self.hold.goes_on and path.exists() else b""
        at = 0
        with open(path, "wb") as file:
            for piece in sorted(pieces, key=lambda one: one.name):
                if piece.name != f"{name}/{at:012d}":
                    raise DamageError(
                        f"a piece of the journal is missing: {name}/{at:012d}",
                        where=self.url,
                        hint="restore it from a version of the bucket, or run with --fresh-part",
                    )
                content = self.objects.get(piece.name)
                held = held if held[at : at + len(content)] == content else b""
                file.write(content)
                at += piece.size
            file.write(held[at:])
        self._sent[name] = at

    def _remembered(self) -> dict[str, tuple[str, int, int]]:
        """Tags, sizes and times of the files as they were left."""
        try:
            told = json.loads((self.folder / STATE).read_bytes())
            return {name: (str(tag), int(size), int(mtime)) for name, (tag, size, mtime) in told.items()}
        except (OSError, ValueError, TypeError):
            return {}

    def _remember(self) -> None:
        with self._busy, suppress(OSError):
            told = {name: [self._tags[name], *state] for name, state in self._equal.items() if name in self._tags}
            (self.folder / STATE).write_text(json.dumps(told))

    def _files(self) -> Iterator[Path]:
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and not path.name.endswith(NOT_COPIED):
                yield path

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def close(self) -> None:
        """Let go of the hold. The next start makes good what is missing in the bucket by then."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._remember()
        self.hold.release()


def _is_segment(name: str) -> bool:
    return name.startswith(SEGMENT) and name.endswith(".jsonl")


def _is_piece(name: str) -> bool:
    return _is_segment(name.rpartition("/")[0])


def _state(path: Path) -> tuple[int, int]:
    told = path.stat()
    return told.st_size, told.st_mtime_ns
