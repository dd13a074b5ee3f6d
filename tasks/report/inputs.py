"""Inputs: whether two outputs were made from the same rows, as a comparison of their answers supposes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from rowmill.schemas.errors import RowmillError
from rowmill.schemas.job import Job
from rowmill.schemas.json_text import encode_json
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.row import Row
from rowmill.tasks.input.formats import input_state
from rowmill.tasks.input.reader import job_files, shard_rows
from rowmill.tasks.job.job_file import job_of
from rowmill.tasks.output.manifest_file import manifest_of
from rowmill.tasks.output.part_footer import read_footer
from rowmill.tasks.output.results_frame import result_parts

# Rows of each input that are read, at most.
ROWS_READ = 100_000


def compared_inputs(before: Path, after: Path) -> dict[str, Any]:
    """How many rows that share an id have another input in each output; `note` where that cannot be told.

    Only columns that both inputs have are compared. The paths are output folders.
    """
    manifests = manifest_of(before), manifest_of(after)
    if manifests[0].input.files == manifests[1].input.files:
        return {"same_files": True, "rows_compared": None, "rows_differ": 0, "note": None}
    told: dict[str, Any] = {"same_files": False, "rows_compared": 0, "rows_differ": 0, "note": None}
    sides = []
    for root, manifest in zip((before, after), manifests, strict=True):
        try:
            sides.append(_rows(root, manifest))
        except (RowmillError, OSError, ValueError) as error:
            return {**told, "note": f"the input of {root} cannot be read as it was, so it may be another one: {error}"}
    left = dict(sides[0])
    for row_id, columns in sides[1]:
        if (other := left.get(row_id)) is not None:
            told["rows_compared"] += 1
            told["rows_differ"] += any(other[name] != value for name, value in columns.items() if name in other)
    return told


def inputs_text(told: Mapping[str, Any]) -> list[str]:
    """What people should know before they read what changed; nothing where the inputs are the same."""
    if told["note"] is not None:
        return [f"inputs: {told['note']}"]
    if not told["rows_differ"]:
        return []
    return [
        f"inputs: different ones: {told['rows_differ']:,} of {told['rows_compared']:,} rows that share an id are other "
        "rows, and their answers differ for that reason too"
    ]


def _rows(root: Path, manifest: Manifest) -> list[tuple[str, dict[str, int]]]:
    """Ids of an output's rows, each with a hash of every column of its input. Raises InputError, ValueError."""
    job: Job = job_of(manifest.job, str(root / "run.json"))
    files = job_files(job, root)
    if input_state(files) != manifest.input.files:
        raise ValueError(f"{job.input_name} has changed since")

    def every() -> Iterator[Row]:
        for part in result_parts(root / "results"):
            for row in shard_rows(read_footer(part).shard, files, job.id, max_line_bytes=job.limits.max_line_bytes):
                if isinstance(row, Row):
                    yield row

    hashed = islice(every(), ROWS_READ)
    return [(row.row_id, {name: hash(encode_json(value)) for name, value in row.columns.items()}) for row in hashed]
