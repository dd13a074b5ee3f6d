"""Shared output: where coordinator and workers meet: a folder that all machines mount, or a bucket."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from rowmill.schemas.errors import StorageError
from rowmill.tasks.cluster.bucket_mailbox import BucketMailbox
from rowmill.tasks.cluster.mailbox import FolderMailbox, Mailbox
from rowmill.tasks.cluster.messages import ShardWork
from rowmill.tasks.cluster.worker_segments import WorkerLayout, adopt
from rowmill.tasks.output.bucket.lease import HINT
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.output.bucket.worker_pieces import AWAY, found_in, segment_name
from rowmill.tasks.output.folder import Output
from rowmill.tasks.output.layout import Layout, number_of

# A shard's journal of so many bytes travels with the work: mostly it is one line, and a request of the worker's saved.
CARRIED_MOST = 64 * 1024


class SharedOutput(Protocol):
    """Where a run's workers write their journals, as its coordinator sees it."""

    mailbox: Mailbox

    def lend(self, work: ShardWork) -> ShardWork:
        """The work with where the shard's journal is found so far. Raises StorageError."""

    def fetch(self, work: ShardWork) -> Path | None:
        """The worker's segment as a file; None where it has written nothing. Raises StorageError."""

    def adopt(self, away: Path, *, closed: bool) -> None:
        """Make a worker's segment the shard's own. Raises StorageError, DamageError."""

    def sweep(self) -> None:
        """All leases have ended: delete what nobody will read."""


class SharedFolder:
    """An output on a file system that all machines mount."""

    def __init__(self, layout: Layout) -> None:
        self._root = layout.root
        self.mailbox: Mailbox = FolderMailbox(layout.root)

    def lend(self, work: ShardWork) -> ShardWork:
        return work

    def fetch(self, work: ShardWork) -> Path | None:
        away = WorkerLayout(self._root, work.token).segment_path(work.shard.number)
        return away if away.exists() else None

    def adopt(self, away: Path, *, closed: bool) -> None:
        adopt(away, closed=closed)

    def sweep(self) -> None:
        """Late lines are in a file without a name."""


class SharedBucket:
    """An output in a bucket. What a worker wrote is adopted into the coordinator's copy, put as a piece of the shard's
    own journal, and only then deleted.
    """

    def __init__(self, mirror: Mirror) -> None:
        self._mirror, self._objects = mirror, mirror.objects
        self._layout = Layout(mirror.folder)
        self.mailbox: Mailbox = BucketMailbox(
            mirror.objects, mirror.hold.refuse_unless_held, None if mirror.objects.conditional else mirror.hold.claim
        )

    def lend(self, work: ShardWork) -> ShardWork:
        own = self._layout.segment_path(work.shard.number)
        try:
            if own.exists():
                self._mirror.append(own, own.stat().st_size)
        except OSError as error:
            raise _refused(self._mirror.url, error) from None
        names, base = self._mirror.pieces(own)
        before = own.read_bytes()[:base] if own.exists() and base <= CARRIED_MOST else None
        return replace(
            work, address=self._mirror.url, journal=tuple(names), base=base, before=before,
            conditional=self._objects.conditional,
        )  # fmt: skip

    def fetch(self, work: ShardWork) -> Path | None:
        name = segment_name(work.shard.number, work.token, work.base)
        try:
            found = found_in(self._objects.list(name))
            path = found[0].fetch(self._objects, self._mirror.folder) if found else None
            if found and path is None:
                self.forget(name)
            return path
        except OSError as error:
            raise _refused(self._mirror.url, error) from None

    def adopt(self, away: Path, *, closed: bool) -> None:
        name = away.relative_to(self._mirror.folder).as_posix()
        own = self._layout.segment_path(number_of(away))
        adopt(away, closed=closed)
        try:
            self._mirror.append(own, own.stat().st_size)
            self.forget(name)
        except OSError as error:
            raise _refused(self._mirror.url, error) from None

    def forget(self, name: str) -> None:
        """Delete a worker's pieces. What comes later is found by nobody. Raises OSError."""
        self._objects.delete([one.name for one in self._objects.list(name)])

    def fetch_left(self) -> list[Path]:
        """What workers that nobody heard to the end have written, as files: the fullest of each shard. The rest is of
        no use, and deleted.

        Raises StorageError.
        """
        fullest: dict[int, Path] = {}
        try:
            found = found_in(self._objects.list(AWAY.partition("/")[0]))
            for one in found:
                path = one.fetch(self._objects, self._mirror.folder)
                if path is not None and _size(path) > _size(fullest.get(one.number)):
                    fullest[one.number] = path
            kept = {path.name for path in fullest.values()}
            for one in found:
                if (name := one.name.rpartition("/")[2]) not in kept:
                    (self._layout.journal / name).unlink(missing_ok=True)
                    self.forget(one.name)
        except OSError as error:
            raise _refused(self._mirror.url, error) from None
        return sorted(fullest.values())

    def sweep(self) -> None:
        """Delete what workers wrote after their leases had ended; the next start deletes what comes later still."""
        with suppress(OSError):
            self._mirror.hold.refuse_unless_held()
            for one in found_in(self._objects.list(AWAY.partition("/")[0])):
                self.forget(one.name)

    @property
    def was_left(self) -> bool:
        """Whether anything of an earlier run's workers is there."""
        return bool(self._mirror.workers)

    @property
    def closed_leases(self) -> set[str]:
        """The leases whose holders have said that no call of theirs is in flight. Raises StorageError."""
        try:
            return {one.token for one in found_in(self._objects.list(AWAY.partition("/")[0])) if one.closed}
        except OSError as error:
            raise _refused(self._mirror.url, error) from None


def shared_output(output: Output) -> SharedFolder | SharedBucket:
    """Where the workers of a run over this output write."""
    return SharedFolder(output) if output.mirror is None else SharedBucket(output.mirror)


def _size(path: Path | None) -> int:
    return -1 if path is None else path.stat().st_size


def _refused(url: str, error: OSError) -> StorageError:
    return StorageError(f"the workers' journals cannot be used: {error.strerror}", where=url, hint=HINT)
