"""Export: the `export` command writes labelled rows for a labelling tool or a spreadsheet."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rowmill.schemas.catalogue import find_model
from rowmill.schemas.errors import ExitCode, JobError, OutputError
from rowmill.tasks.job.job_file import catalogue_of, job_of
from rowmill.tasks.output.folder import manifest_of
from rowmill.tasks.output.location import output_to_read

ENDINGS = {".csv": "CSV", ".json": "Label Studio"}


def export_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill export OUT FILE [--all]`. Raises OutputError, JobError, InputError, StorageError."""
    path = Path(args.file)
    if path.suffix.lower() not in ENDINGS:
        raise JobError(f"unknown kind of file {path.suffix or '(no ending)'}", where=str(path),
                       hint="name a file that ends in .json (Label Studio) or .csv")  # fmt: skip
    with output_to_read(args.out) as root:
        return _export(root, path, every=args.all)


def _export(root: Path, path: Path, *, every: bool) -> ExitCode:
    from rowmill.tasks.labelling.export import every_row, to_review, write_csv, write_label_studio

    job = job_of(manifest_of(root)["job"], str(root / "run.json"))
    if job.label is None:
        raise OutputError("this run has no labels to export", where=str(root), hint="read results/ directly")
    model = find_model(job.model, catalogue_of(job, os.environ.get("ROWMILL_CATALOGUE")))
    rows = every_row(root, job, model, job.label) if every else to_review(root)
    count = write_csv(path, rows) if path.suffix.lower() == ".csv" else write_label_studio(path, rows, job.label)
    print(f"wrote {count:,} rows to {path}; bring corrected labels back with: rowmill label JOB --gold FILE")
    return ExitCode.OK
