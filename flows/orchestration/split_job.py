"""Split job: a job in parts, its output free of a run of the whole."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from rowmill.schemas.display_text import counted
from rowmill.schemas.errors import OutputError
from rowmill.schemas.job import Job
from rowmill.tasks.output.folder_lock import refuse_in_use
from rowmill.tasks.output.location import in_bucket
from rowmill.tasks.output.manifest_file import read_manifest
from rowmill.tasks.split.part_jobs import part_jobs, split_of
from rowmill.tasks.split.place import Split, write_split

log = logging.getLogger("rowmill")


def split_job(job: Job, parts: int | None, at_once: int | None = None) -> tuple[Split, list[Job]]:
    """Split a job, or find it split already; what is written down of it follows the job as it is now. Its part jobs.

    Raises RowmillError.
    """
    if not in_bucket(job.output):
        _refuse_own_run(Path(job.output))
    split = split_of(job, parts, at_once, redis=bool(os.environ.get("ROWMILL_REDIS_URL")))
    jobs = part_jobs(job, split)
    if len(jobs) < split.asked:
        rows, into = counted(len(jobs), "row"), counted(len(jobs), "part")
        log.warning("the input has no more than %s: it is split into %s", rows, into)
    write_split(split)
    return split, jobs


def _refuse_own_run(root: Path) -> None:
    """Raises OutputError where a run of the whole job stands in the output already."""
    refuse_in_use(root)
    if (manifest := read_manifest(root)) is not None and not manifest.split:
        raise OutputError(
            "this output holds a run of the whole job, which goes on where it stopped",
            where=str(root),
            hint="run the job, or name another output for its parts with -o",
        )
