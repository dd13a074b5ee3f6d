"""Export: `rowmill export OUT FILE`, the rows of an output as a table, and labels for a labelling tool."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from rowmill.schemas.catalogue import find_model
from rowmill.schemas.display_text import counted, one_line
from rowmill.schemas.errors import ExitCode, JobError, OutputError
from rowmill.schemas.job import Job
from rowmill.schemas.label import Label
from rowmill.schemas.manifest import Manifest
from rowmill.tasks.job.job_file import catalogue_of, job_of
from rowmill.tasks.output.location import output_to_read
from rowmill.tasks.output.manifest_file import manifest_of

LABEL_STUDIO = ".json"
ENDINGS = (".csv", ".jsonl", ".xlsx", ".parquet", LABEL_STUDIO)


def export_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill export OUT FILE [--ok | --all | --review]`. Raises OutputError, JobError, InputError, StorageError."""
    path = Path(args.file)
    if path.suffix.lower() not in ENDINGS:
        raise JobError(
            f"unknown kind of file {path.suffix or '(no ending)'}",
            where=str(path),
            hint="name a file that ends in .csv, .jsonl, .xlsx, .parquet, or .json (labels for Label Studio)",
        )
    with output_to_read(args.out) as root:
        return _export(root, path, args.selection)


def _export(root: Path, path: Path, selection: str | None) -> ExitCode:
    manifest = manifest_of(root)
    job = job_of(manifest.job, str(root / "run.json"))
    kind = path.suffix.lower()
    if path.absolute().parent == (root / "results").absolute():
        raise JobError("this folder is the results' own", where=str(path), hint="write the file somewhere else")
    if kind == LABEL_STUDIO and job.label is None:
        raise OutputError("this run has no labels, and .json is for Label Studio", where=str(root),
                          hint="end the file's name in .jsonl, .csv, .xlsx or .parquet")  # fmt: skip
    if job.label is not None and _is_sheet(kind, selection):
        return _export_sheet(root, path, job, label=job.label, every=selection != "review")
    review_below = job.votes.review_below if job.votes is not None else None
    count, cut = _write_table(root, path, selection, review_below=review_below)
    print(one_line(f"wrote {counted(count, 'row')} to {path}{_unfinished(manifest)}"))
    if cut:
        print(f"{counted(cut, 'cell')} longer than Excel holds, and cut: .csv and .parquet hold them whole")
    return ExitCode.OK


def _is_sheet(kind: str, selection: str | None) -> bool:
    """Of labels, rows to review are what people fill in and hand back; Label Studio's tasks always are."""
    return selection == "review" or kind == LABEL_STUDIO


def _export_sheet(root: Path, path: Path, job: Job, *, label: Label, every: bool) -> ExitCode:
    """Rows with their texts and a column `gold` to be filled in."""
    from rowmill.tasks.export.label_sheet import sheet
    from rowmill.tasks.labelling.export import every_row, to_review, write_label_studio

    model = find_model(job.model, catalogue_of(job, os.environ.get("ROWMILL_CATALOGUE")))
    rows = every_row(root, job, model, label=label) if every else to_review(root)
    if path.suffix.lower() == LABEL_STUDIO:
        count = write_label_studio(path, rows, label)
    else:
        count, _ = _written(path, sheet(rows))
    print(
        one_line(
            f"wrote {counted(count, 'row')} to {path}; bring corrected labels back with: rowmill label JOB --gold FILE"
        )
    )
    return ExitCode.OK


def _write_table(root: Path, path: Path, selection: str | None, *, review_below: float | None) -> tuple[int, int]:
    from rowmill.tasks.export.rows import Selection, flat_table

    return _written(path, flat_table(root, Selection(selection or "all"), review_below))


def _written(path: Path, table: Any) -> tuple[int, int]:
    """Write a table by its file's ending. Returns how many rows, and how many cells were cut."""
    kind = path.suffix.lower()
    if kind == ".xlsx":
        from rowmill.tasks.export.workbook import write_xlsx

        return write_xlsx(path, table)
    if kind == ".parquet":
        from rowmill.tasks.export.parquet_file import write_parquet

        return write_parquet(path, table), 0
    from rowmill.tasks.export.text_files import write_csv, write_jsonl

    return (write_csv if kind == ".csv" else write_jsonl)(path, table), 0


def _unfinished(manifest: Manifest) -> str:
    """What the rows that are not there yet are told as."""
    missing = manifest.ledger.not_attempted
    return f"; {counted(missing, 'row')} of the input without an outcome yet" if missing else ""
