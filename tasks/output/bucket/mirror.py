"""Mirror: an output whose truth is in a bucket, worked on in a folder of this machine.

A row's answer counts once its lines are in the bucket: each sync of the journal puts them there as one small object
that is never changed. Parts and the manifest are put as they are published, each only over what was seen before, so
that nobody writes over what another run has written. The folder is a copy that may be thrown away at any time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from rowmill.schemas.errors import OutputError, StorageError
from rowmill.tasks.journal.replay import replay
from rowmill.tasks.output.bucket.conditions import arbiter_for
from rowmill.tasks.output.bucket.copy_state import CopyState, state_of
from rowmill.tasks.output.bucket.lease import HINT, BucketLease
from rowmill.tasks.output.bucket.names import GONE, NOT_FETCHED, files_in, is_piece, is_segment
from rowmill.tasks.output.bucket.objects import Conflict, Object, Objects
from rowmill.tasks.output.bucket.pull import Pull
from rowmill.tasks.output.bucket.worker_pieces import AWAY, fetch_all
from rowmill.tasks.system.clock import elapsed

RENEW_S = 5.0
PULLS = 3


class Mirror:
    """One output in a bucket, held by one run, and its copy in `folder`."""

    def __init__(self, objects: Objects, folder: Path, *, now: Callable[[], float] = elapsed) -> None:
        self.url, self.folder, self.objects = objects.url, folder, objects
        # What coordinators and workers of a cluster had left there when it was fetched.
        self.workers: list[Object] = []
        self._state = CopyState(folder)
        # Where the piece of a segment was to end that nobody knows the fate of.
        self._tried: dict[str, int] = {}
        self.hold = BucketLease(objects, folder, now)
        self._ended = threading.Event()
        self._later: Path | None = None
        self._busy = threading.Lock()
        self._thread = threading.Thread(target=self._renew, name="rowmill-bucket", daemon=True)

    def lock(self) -> None:
        """Hold the output. Raises OutputError where another run does, or where the bucket cannot be used."""
        self.hold.arbiter = arbiter_for(self.objects)
        self.hold.take()
        self._thread.start()

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
            # What was to be put before, and no answer came, may stand there: the same again is known as that.
            for until in (self._tried.get(name, end), end):
                self._append(path, name, until)

    def _append(self, path: Path, name: str, end: int) -> None:
        start = self._state.sent.get(name, 0)
        if end <= start:
            return
        with open(path, "rb") as file:
            content = os.pread(file.fileno(), end - start, start)
        self.hold.refuse_unless_held()
        self._tried[name] = end
        piece = f"{name}/{start:012d}"
        self._state.tags[piece] = self.objects.put(piece, content, over=None)
        self._state.sent[name] = self._tried.pop(name)

    def pieces(self, path: Path) -> tuple[list[str], int]:
        """The objects that hold a segment, in their order, and its bytes that are in them."""
        name = self._name(path)
        with self._busy:
            return sorted(one for one in self._state.tags if one.startswith(f"{name}/")), self._state.sent.get(name, 0)

    def keep(self, path: Path) -> None:
        """Put a published file. Raises StorageError."""
        name = self._name(path)
        with self._busy:
            try:
                state = state_of(path)
                if self._state.equal.get(name) == state:
                    return
                self.hold.refuse_unless_held()
                self._state.tags[name] = self.objects.put(name, path.read_bytes(), over=self._state.tags.get(name))
                self._state.equal[name] = state
            except OSError as error:
                raise StorageError(
                    f"it cannot be put into the bucket: {error.strerror}", where=f"{self.url}/{name}", hint=HINT
                ) from None

    def holds(self, path: Path) -> bool:
        """Whether a file stands in the bucket as it is here."""
        with self._busy:
            return self._state.equal.get(self._name(path)) == state_of(path)

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
            self._state.sent.pop(name, None)
            self._state.equal.pop(name, None)
            if not is_segment(name):
                self._delete([name])
                return
            mark = f"{name}/{GONE}"
            if pieces := [one for one in self._state.tags if one.startswith(f"{name}/") and one != mark]:
                # Pieces go in no order: who finds some of them must know that the others are not missed.
                self._state.tags[mark] = self.objects.put(mark, b"", over=None)
                self._delete(pieces)
            self._delete([mark])

    def _delete(self, names: Sequence[str]) -> None:
        """Those of them that are in the bucket. Raises OSError."""
        known = [name for name in names if name in self._state.tags]
        self.objects.delete(known)
        for name in known:
            del self._state.tags[name]

    def push(self) -> None:
        """Make the bucket equal to the folder: what is new is put, then what is gone deleted. Raises StorageError."""
        files = {name: path for path in files_in(self.folder) if not (name := self._name(path)).startswith(AWAY)}
        for name, path in files.items():
            if is_segment(name):
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
        for name in list(self._state.tags):
            stands = name.rpartition("/")[0] if is_piece(name) else name
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
        try:
            self.workers = Pull(self.objects, self.folder, self._state, goes_on=self.hold.goes_on).fetch()
            if workers:
                fetch_all(self.objects, self.workers, self.folder)
            self._remember()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise OutputError(f"it cannot be fetched: {error.strerror}", where=self.url, hint=HINT) from None

    def _remember(self) -> None:
        with self._busy:
            self._state.remember()

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def close(self) -> None:
        """Let go of the hold. The next start makes good what is missing in the bucket by then."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._remember()
        self.hold.release()
