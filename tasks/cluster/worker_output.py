"""Worker output: a run's output as the holder of a lease writes to it: a folder that is mounted, or a bucket."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rowmill.schemas.errors import OutputError, StorageError
from rowmill.tasks.cluster.bucket_mailbox import BucketMailbox
from rowmill.tasks.cluster.mailbox import FolderMailbox, Mailbox
from rowmill.tasks.cluster.messages import ShardWork
from rowmill.tasks.cluster.worker_segments import WorkerLayout, begin
from rowmill.tasks.journal.group_commit import Keep
from rowmill.tasks.output.bucket.lease import HINT
from rowmill.tasks.output.bucket.objects import Objects
from rowmill.tasks.output.bucket.redis_lease import claims_in_redis
from rowmill.tasks.output.bucket.worker_pieces import PieceWriter
from rowmill.tasks.system.durable import private_folder, published


@dataclass(frozen=True, slots=True)
class WorkerOutput:
    """Where the segment of a lease is written; `pieces` are its lines in a bucket, None where the disk is shared."""

    layout: WorkerLayout
    pieces: PieceWriter | None = None

    @property
    def keep(self) -> Keep | None:
        """What makes the segment's lines durable elsewhere."""
        return self.pieces.append if self.pieces is not None else None

    def close(self, number: int) -> None:
        """Say that no call is in flight any more. Raises StorageError."""
        if self.pieces is not None:
            with _stored(str(self.layout.root)):
                self.pieces.close(self.layout.segment_path(number))


def mailbox_of(work: ShardWork) -> Mailbox:
    """Where this process hears the coordinator of a run. Raises OutputError, JobError."""
    if work.address is None:
        return FolderMailbox(Path(work.job.output))
    objects = Objects(work.address, conditional=work.conditional)
    return BucketMailbox(objects, claims=None if work.conditional else claims_in_redis(work.address, os.environ))


@contextmanager
def worker_output(work: ShardWork) -> Iterator[WorkerOutput]:
    """The output with what was settled of the shard before. Raises StorageError, OutputError."""
    if work.address is None:
        layout = WorkerLayout(Path(work.job.output), work.token)
        begin(layout, work.shard)
        yield WorkerOutput(layout)
        return
    objects = Objects(work.address, conditional=work.conditional)
    with tempfile.TemporaryDirectory(prefix="rowmill-") as scratch:
        layout = WorkerLayout(Path(scratch), work.token, work.base)
        path = layout.segment_path(work.shard.number)
        with _stored(work.address):
            private_folder(layout.journal)
            before = work.before if work.before is not None else b"".join(objects.get_all(work.journal))
        with published(path, path.name) as file:
            file.write(before[: work.base])
        name = path.relative_to(layout.root).as_posix()
        yield WorkerOutput(layout, PieceWriter(objects, name, work.base))


@contextmanager
def _stored(where: str) -> Iterator[None]:
    """What the bucket refuses, as a StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the journal cannot be put into the bucket: {error.strerror}", where=where, hint=HINT
        ) from None


def refused_by(work: ShardWork) -> str | None:
    """Why this process cannot write to the run's output; None where it can."""
    try:
        mailbox = mailbox_of(work)
        if isinstance(mailbox, BucketMailbox):
            mailbox.knock()
    except OutputError as error:
        return str(error)
    except OSError as error:
        return f"it cannot write to {work.address}: {error.strerror}"
    return None
