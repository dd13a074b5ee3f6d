"""Named output: the output that somebody means, also where the job that writes it is named."""

from __future__ import annotations

import os
from pathlib import Path

from rowmill.schemas.errors import JobError, OutputError

JOB_ENDINGS = (".yaml", ".yml", ".toml", ".json")
# Files of an output that people open, and may hand over in place of it.
IN_AN_OUTPUT = ("run.json", "report.html", "estimate.json")


def output_of(told: str) -> str:
    """The output that is meant: by its own name, by a file that stands in it, or by the job that writes it."""
    path = Path(told)
    if "://" in told or not path.exists():
        return told
    if path.is_dir():
        return told if (path / "run.json").exists() else _of_job_in(path) or told
    if path.name in IN_AN_OUTPUT and (path.parent / "run.json").exists():
        return str(path.parent)
    if path.suffix.lower() not in JOB_ENDINGS:
        raise OutputError("this is a file", where=told, hint="name the output folder of a run, or the job file")
    return _of_job(path)


def _of_job_in(folder: Path) -> str | None:
    from rowmill.tasks.job.job_file import job_in

    return _of_job(found) if (found := job_in(folder)) is not None else None


def _of_job(path: Path) -> str:
    from rowmill.tasks.job.job_file import load_job

    try:
        output = load_job(path).output
    except JobError as error:
        hint = error.hint or "mend the job, or name the output folder itself"
        raise JobError(error.what, where=error.where, hint=hint) from None
    if "://" in output:
        return output
    if not Path(output).is_dir():
        raise OutputError(
            "this job has not been run yet: its output is not there",
            where=output,
            hint=f"run it: rowmill run {path}; or name the folder that was given with -o",
        )
    return os.path.relpath(output)
