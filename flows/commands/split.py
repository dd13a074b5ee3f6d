"""Split: the `split` and `merge` commands. One makes jobs of parts of a job, the other one output of theirs."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from rowmill.flows.commands.arguments import overrides
from rowmill.flows.orchestration.merging import merged
from rowmill.flows.orchestration.run_report import leave_report
from rowmill.flows.orchestration.split_job import split_job
from rowmill.flows.text.summary import summary
from rowmill.schemas.display_text import counted, one_line
from rowmill.schemas.errors import ExitCode
from rowmill.schemas.job import Job
from rowmill.tasks.job.job_file import load_job
from rowmill.tasks.output.location import in_bucket, output_held
from rowmill.tasks.split import place
from rowmill.tasks.split.place import Split, part_name, parts_of, write_job


def split_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill split JOB --parts N`: exit 0. Raises RowmillError for what cannot be split. Sends nothing."""
    job = load_job(Path(args.job), overrides(args))
    split, jobs = split_job(job, args.parts, args.at_once)
    into = Path(args.into) if args.into is not None else _folder_of(job, Path(args.job))
    paths = [into / f"{part_name(number)}.yaml" for number in range(1, len(jobs) + 1)]
    into.mkdir(parents=True, exist_ok=True)
    for one, path in zip(jobs, paths, strict=True):
        write_job(one, path)
    if args.json:
        rows = [extent.rows for extent in split.extents]
        print(json.dumps({"name": split.name, "jobs": [str(path) for path in paths], "rows": rows}))
        return ExitCode.OK
    print("\n".join(map(one_line, _told(split, paths, job))))
    return ExitCode.OK


def _folder_of(job: Job, file: Path) -> Path:
    """Where the part jobs' files go: beside their outputs on disk, else beside the job's own file."""
    return Path(parts_of(job.output)) if not in_bucket(job.output) else file.with_name(f"{file.stem}-parts")


def _told(split: Split, paths: list[Path], job: Job) -> list[str]:
    rows = [extent.rows for extent in split.extents]
    least = min(filter(None, rows), default=0)
    each = f"{counted(least, 'row')} or more each" if None not in rows else "whole files each"
    together = f", for {split.at_once} at a time" if split.at_once < len(paths) else ""
    lines = [f"{job.name}: {counted(len(paths), 'part')}{together}, {each}"]
    lines += [f"  rowmill run {shlex.quote(str(path))}" for path in paths[:3]] + (["  ..."] if len(paths) > 3 else [])
    return [*lines, f"then: {place.merge_command(split.output)}"]


async def merge_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill merge OUT`: the exit code of the whole. Raises RowmillError. Sends nothing."""
    address = args.out if "://" in args.out else str(Path(args.out).absolute())
    manifest = await merged(address)
    if not args.no_report and manifest.is_complete:
        with output_held(address) as (root, _):
            leave_report(root)
    if args.json:
        print(json.dumps({**manifest.as_dict(), "output": address, "exit_code": int(manifest.exit_code)}))
    else:
        print(summary(manifest, address), file=sys.stderr)
    return manifest.exit_code
