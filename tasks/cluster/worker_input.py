"""Worker input: the files of a run's input as the holder of a lease reads them.

Rows that cannot be read twice (standard input, a query, a workbook) are stored in the output. Where that stands in a
bucket, each machine takes a copy of them, which all of its workers read.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from rowmill.schemas.errors import InputError
from rowmill.tasks.cluster.messages import ShardWork, StoredInput
from rowmill.tasks.input import reader as read
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.formats import format_of
from rowmill.tasks.output.bucket.objects import Objects
from rowmill.tasks.output.location import work_folder
from rowmill.tasks.system.durable import private_folder

# A copy that nobody has read for so long is deleted with the next one that is taken.
KEPT_S = 7 * 86_400.0


def input_of(work: ShardWork, environment: Mapping[str, str] = os.environ) -> list[InputFile]:
    """The files that hold the run's rows. Raises InputError, OutputError."""
    if work.stored is None or work.address is None:
        return read.job_files(work.job)
    objects = Objects(work.address, conditional=work.conditional)
    folder = work_folder(environment) / "inputs"
    try:
        path = _copy(objects, work.stored, folder)
    except OSError as error:
        raise InputError(
            f"the stored rows cannot be copied to this machine: {error.strerror or error}",
            where=f"{work.address}/{work.stored.file}",
            hint=f"look at the bucket, and let the worker write in {folder} (ROWMILL_WORK_DIR names another place)",
        ) from None
    return [InputFile(path, format_of(InputFile(path, "")), csv=work.job.csv, known_as=work.stored.known_as)]


def _copy(objects: Objects, stored: StoredInput, folder: Path) -> Path:
    """This machine's copy of what is stored, taken from the bucket where it is not there."""
    path = folder / stored.digest / stored.file
    with suppress(FileNotFoundError):
        if path.stat().st_size == stored.size:
            os.utime(path.parent)
            return path
    private_folder(folder)
    _forget_old(folder)
    private_folder(path.parent)
    # Several workers of a machine may take it at a time: the last one's stays.
    handle, arriving = tempfile.mkstemp(prefix=".arriving-", dir=path.parent)
    try:
        digest = blake2b(digest_size=16)
        with os.fdopen(handle, "wb") as file:
            for chunk in objects.chunks(stored.file):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != stored.digest:
            raise InputError(
                "the rows that are stored there are others than the run's",
                where=f"{objects.url}/{stored.file}",
                hint="leave the output to its run, and start that again",
            )
        os.replace(arriving, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(arriving)
    return path


def _forget_old(folder: Path) -> None:
    for one in folder.iterdir():
        with suppress(OSError):
            if time.time() - one.stat().st_mtime > KEPT_S:
                shutil.rmtree(one, ignore_errors=True)
