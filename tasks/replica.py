"""Replica: an output whose truth is in a bucket, worked on in a folder of this machine.

A row's answer counts once its lines are in the bucket: each sync of the journal puts them there as one small object
that is never changed. Parts and the manifest are put as they are published, each only over what was seen before, so
that nobody writes over what another run has written. The folder is a copy that may be thrown away at any time.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from schemas.errors import DamageError, OutputError, StorageError
from tasks.journal import replay
from tasks.objects import Conflict, Object, Objects

log = logging.getLogger("rowmill")
LOCK, HELD, STATE = ".lock", ".held.lock", ".replica.json"
RENEW_S = 5.0
# Who has not renewed its lock for so long writes nothing more; after a while more another may take it.
HOLD_S, TAKE_S = 20.0, 30.0
LOOK_S = 1.0
SEGMENT = "journal/shard-"
# Never copied: what only this machine's processes use, and what was set aside and is read by nobody.
NOT_COPIED = (".lock", ".tmp", ".sqlite", STATE)
NOT_FETCHED = "previous/"
MEND = "mend the bucket or its credentials and run the same command again: what was settled stands"


class Replica:
    """One output in a bucket, held by one run, and its copy in `folder`."""

    def __init__(self, objects: Objects, folder: Path, *, now: Callable[[], float] = time.monotonic) -> None:
        self.url, self.folder = objects.url, folder
        self._objects, self._now = objects, now
        # Tags of objects, and of each file its size and time of change when it was last equal to its object.
        self._tags: dict[str, str] = {}
        self._equal: dict[str, tuple[int, int]] = {}
        # Bytes of each segment that are in the bucket.
        self._sent: dict[str, int] = {}
        self._token = secrets.token_hex(8)
        # Whether the run before was of this copy and was killed: what it wrote here is newer than the bucket.
        self._goes_on = False
        self._lock_tag: str | None = None
        self._held = -1
        self.held_until = float("-inf")
        self._ended = threading.Event()
        self._later: set[Path] = set()
        self._busy = threading.Lock()
        self._thread = threading.Thread(target=self._renew, name="rowmill-bucket", daemon=True)

    # The lock: an object that its holder changes again and again.

    def lock(self) -> None:
        """Hold the output. Raises OutputError where another run does, or where the bucket cannot be used."""
        before = self._hold_copy()
        try:
            self._take(over=None)
        except Conflict:
            self._take_over(before)
        except OSError as error:
            raise OutputError(str(error.strerror), where=self.url, mend=MEND) from None
        os.ftruncate(self._held, 0)
        os.pwrite(self._held, self._token.encode(), 0)
        self._thread.start()

    def _hold_copy(self) -> str:
        """One process a copy. Returns the token of the run that held it before."""
        self._held = os.open(self.folder / HELD, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise self._in_use(f"on this machine, in {self.folder}") from None
        return os.read(self._held, 100).decode("ascii", "replace")

    def _in_use(self, who: str) -> OutputError:
        return OutputError(
            f"another run works on this output ({who})",
            where=self.url,
            mend="wait for it, stop it, or name another output",
        )

    def _take(self, over: str | None) -> None:
        since = self._now()
        owner = f"process {os.getpid()} on {socket.gethostname()}"
        content = json.dumps({"owner": owner, "token": self._token, "renewed": secrets.token_hex(4)}).encode()
        self._lock_tag = self._objects.put(LOCK, content, over=over)
        self.held_until = since + HOLD_S

    def _take_over(self, before: str) -> None:
        """Take a lock that its holder does not renew any more, or that a run of this copy left when it was killed."""
        owner = "owner unknown"
        try:
            if (first := self._seen()) is None:
                self._take(over=None)
                return
            tag, owner, token = first
            if token == before:
                self._goes_on = True
            elif not self._stays(tag, owner):
                raise Conflict
            self._take(over=tag)
        except Conflict:
            raise self._in_use(owner) from None
        except OSError as error:
            raise OutputError(str(error.strerror), where=self.url, mend=MEND) from None

    def _stays(self, tag: str, owner: str) -> bool:
        """Whether nobody renews that lock for as long as its holder may live."""
        log.warning("%s is locked by %s: waiting %g s to see whether that lives", self.url, owner, TAKE_S)
        until = self._now() + TAKE_S
        while self._now() < until:
            time.sleep(LOOK_S)
            if (seen := self._seen()) is None or seen[0] != tag:
                return False
        return True

    def _seen(self) -> tuple[str, str, str] | None:
        """The lock's tag, its owner and token; None where there is none."""
        try:
            content, tag = self._objects.get_tagged(LOCK)
            told = json.loads(content)
            return tag, str(told["owner"]), str(told["token"])
        except FileNotFoundError:
            return None

    def _renew(self) -> None:
        """Renew the lock, and put what may wait, until the end."""
        while not self._ended.wait(RENEW_S):
            try:
                self._take(over=self._lock_tag)
                self._put_later()
            except Conflict:
                self.held_until = float("-inf")
                return
            except (OSError, StorageError):
                # Tried again; meanwhile the hold runs out by itself.
                continue

    def _refuse_unless_held(self) -> None:
        if self._now() >= self.held_until:
            raise OSError(11, "the lock of this output was lost: another run may have taken it", self.url)

    # Writing.

    def append(self, path: Path, end: int) -> None:
        """Put the lines of a segment that are not there yet, up to `end`. Raises OSError: they are then not durable."""
        name = self._name(path)
        with self._busy:
            start = self._sent.get(name, 0)
            if end <= start:
                return
            with open(path, "rb") as file:
                content = os.pread(file.fileno(), end - start, start)
            self._refuse_unless_held()
            piece = f"{name}/{start:012d}"
            self._tags[piece] = self._objects.put(piece, content, over=None)
            self._sent[name] = end

    def keep(self, path: Path) -> None:
        """Put a published file. Raises StorageError."""
        name = self._name(path)
        with self._busy:
            try:
                state = _state(path)
                if self._equal.get(name) == state:
                    return
                self._refuse_unless_held()
                self._tags[name] = self._objects.put(name, path.read_bytes(), over=self._tags.get(name))
                self._equal[name] = state
            except OSError as error:
                raise StorageError(
                    f"it cannot be put into the bucket: {error.strerror}", where=f"{self.url}/{name}", mend=MEND
                ) from None

    def keep_later(self, path: Path) -> None:
        """Put a file within seconds, as it is then."""
        self._later.add(path)

    def _put_later(self) -> None:
        later, self._later = self._later, set()
        for path in later:
            if path.exists():
                self.keep(path)

    def drop(self, path: Path) -> None:
        """Delete a file's objects, whose content stands elsewhere by now; the next start deletes what stays."""
        name = self._name(path)
        self._sent.pop(name, None)
        self._equal.pop(name, None)
        gone = [one for one in self._tags if one == name or one.startswith(f"{name}/")]
        with suppress(OSError):
            if gone:
                self._objects.delete(gone)
            for one in gone:
                del self._tags[one]

    def push(self) -> None:
        """Make the bucket equal to the folder: what is new is put, then what is gone deleted. Raises StorageError."""
        files = {self._name(path): path for path in self._files()}
        for name, path in files.items():
            if _is_segment(name):
                # A killed run leaves room behind its last whole line.
                found = replay(path)
                try:
                    self.append(path, found.end if found is not None else 0)
                except OSError as error:
                    raise StorageError(
                        f"the journal cannot be put into the bucket: {error.strerror}", where=self.url, mend=MEND
                    ) from None
            else:
                self.keep(path)
        for name in list(self._tags):
            stands = name.rpartition("/")[0] if _is_piece(name) else name
            if stands not in files and not name.startswith(NOT_FETCHED):
                self.drop(self.folder / stands)

    # Reading.

    def pull(self) -> None:
        """Make the folder equal to the bucket. Raises OutputError, DamageError."""
        known = self._remembered()
        try:
            found = {one.name: one for one in self._objects.list() if one.name != LOCK}
            self._tags = {name: one.etag for name, one in found.items()}
            wanted = {name for name in found if not name.startswith(NOT_FETCHED) and not _is_piece(name)}
            segments = {name.rpartition("/")[0] for name in found if _is_piece(name)}
            for path in self._files():
                name = self._name(path)
                if name not in wanted and not name.startswith(NOT_FETCHED) and not self._newer(name, segments):
                    path.unlink()
            for name in sorted(wanted):
                self._fetch(found[name], known.get(name))
            for name in sorted(segments):
                self._fetch_segment(name, [one for one in found.values() if one.name.startswith(f"{name}/")])
        except OSError as error:
            raise OutputError(f"it cannot be fetched: {error.strerror}", where=self.url, mend=MEND) from None

    def _fetch(self, one: Object, known: tuple[str, int, int] | None) -> None:
        path = self.folder / one.name
        if known is None or not path.exists() or known != (one.etag, *_state(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(path.name + ".tmp")
            temporary.write_bytes(self._objects.get(one.name))
            os.replace(temporary, path)
        self._equal[one.name] = _state(path)

    def _newer(self, name: str, segments: set[str]) -> bool:
        """Whether a segment here may hold more than the bucket: what a killed run wrote and had not put yet."""
        return _is_segment(name) and (self._goes_on or name in segments)

    def _fetch_segment(self, name: str, pieces: list[Object]) -> None:
        """A segment from its pieces; one that a killed run left here stays where it holds the same and more."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        held = path.read_bytes() if self._goes_on and path.exists() else b""
        at = 0
        with open(path, "wb") as file:
            for piece in sorted(pieces, key=lambda one: one.name):
                if piece.name != f"{name}/{at:012d}":
                    raise DamageError(
                        f"a piece of the journal is missing: {name}/{at:012d}",
                        where=self.url,
                        mend="restore it from a version of the bucket, or run with --fresh-part",
                    )
                content = self._objects.get(piece.name)
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
        told = {name: [self._tags[name], *state] for name, state in self._equal.items() if name in self._tags}
        with suppress(OSError):
            (self.folder / STATE).write_text(json.dumps(told))

    def _files(self) -> Iterator[Path]:
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and not path.name.endswith(NOT_COPIED):
                yield path

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def close(self) -> None:
        """Let go of the lock, where it was held. The next start makes good what is missing in the bucket by then."""
        self._ended.set()
        if self._lock_tag is not None:
            self._thread.join()
            if self._now() < self.held_until:
                with suppress(OSError):
                    self._objects.delete([LOCK])
        if self._held >= 0:
            os.close(self._held)
        self._remember()


def _is_segment(name: str) -> bool:
    return name.startswith(SEGMENT) and name.endswith(".jsonl")


def _is_piece(name: str) -> bool:
    return _is_segment(name.rpartition("/")[0])


def _state(path: Path) -> tuple[int, int]:
    told = path.stat()
    return told.st_size, told.st_mtime_ns
