"""At hand: an output's folder, wherever the output stands: on disk it is the folder itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from rowmill.schemas.errors import OutputError
from rowmill.schemas.job import Job
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.output.bucket.objects import Objects
from rowmill.tasks.output.bucket.stores import output_scheme
from rowmill.tasks.output.manifest_file import no_run, read_manifest
from rowmill.tasks.system.durable import private_folder


def work_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where this machine keeps copies of what is in buckets; any of them may be thrown away when no run is on."""
    root = environment.get("ROWMILL_WORK_DIR") or environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "rowmill"


def copy_of(url: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Where this machine keeps the copy of an output in a bucket."""
    name = blake2b(url.rstrip("/").encode(), digest_size=10).hexdigest()
    return work_folder(environment) / f"{url.rstrip('/').rpartition('/')[2]}-{name}"


def in_bucket(address: str) -> bool:
    """Whether an output stands in a bucket. Raises OutputError for an address of another kind."""
    scheme = output_scheme(address)
    if "://" in address and scheme is None:
        told = "name a folder, s3://bucket/folder, gs://bucket/folder or az://container/folder"
        raise OutputError("no address of an output", where=address, hint=told)
    return scheme is not None


@contextmanager
def output_to_write(job: Job) -> Iterator[tuple[Job, Mirror | None]]:
    """The job with its output at hand, and, where that is a copy, what keeps the bucket equal to it.

    Raises as `output_held`.
    """
    with output_held(job.output) as (folder, mirror):
        yield job.model_copy(update={"output": str(folder)}), mirror


@contextmanager
def output_held(address: str) -> Iterator[tuple[Path, Mirror | None]]:
    """An output's folder to write in; nobody else writes in its bucket meanwhile.

    Raises OutputError where the bucket cannot be used or another run holds it, StorageError at the end where something
    could not be put there.
    """
    if not in_bucket(address):
        yield Path(address), None
        return
    mirror = Mirror(Objects(address), _made(copy_of(address)))
    try:
        mirror.lock()
        mirror.pull()
        yield mirror.folder, mirror
        mirror.push()
    finally:
        mirror.close()


@contextmanager
def output_to_read(address: str) -> Iterator[Path]:
    """An output's folder. What a run on this machine works on is read as it is there. Raises OutputError."""
    if not in_bucket(address):
        yield Path(address)
        return
    mirror = Mirror(Objects(address), _made(copy_of(address)))
    try:
        if mirror.hold.take_copy():
            mirror.pull(workers=True)
    finally:
        mirror.close()
    if read_manifest(mirror.folder) is None:
        raise no_run(address)
    yield mirror.folder


def _made(folder: Path) -> Path:
    try:
        private_folder(folder)
    except OSError as error:
        raise OutputError(
            f"the working copy cannot be made: {error.strerror}",
            where=str(folder),
            hint="set ROWMILL_WORK_DIR to a folder that may be written",
        ) from None
    return folder
