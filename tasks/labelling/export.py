"""Export: labelled rows with their texts, and the form that Label Studio imports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rowmill.schemas.catalogue import Model
from rowmill.schemas.errors import OutputError
from rowmill.schemas.job import Job
from rowmill.schemas.json_text import JsonTextError, decode_json, encode_json
from rowmill.schemas.label import Label
from rowmill.schemas.request import Request
from rowmill.schemas.results import PROBABILITY
from rowmill.schemas.row import Row
from rowmill.tasks.input.reader import job_files, shard_rows
from rowmill.tasks.labelling.judgements import REVIEW
from rowmill.tasks.labelling.label_studio import as_task, interface
from rowmill.tasks.labelling.review import reason
from rowmill.tasks.output.part_footer import read_footer
from rowmill.tasks.output.results_frame import result_parts
from rowmill.tasks.plan.planner import Planner, shown_text
from rowmill.tasks.system.durable import published

RESULTS = ["row_id", "row_index", "status", "error_message", "voted_label", "agreement", "votes", "gold"]


def to_review(root: Path) -> Iterator[Mapping[str, Any]]:
    """The lines of review.jsonl. Raises OutputError where there is none."""
    path = root / REVIEW
    if not path.exists():
        raise OutputError(
            "there is nothing to review (no review.jsonl)", where=str(root), hint="--all exports every row"
        )
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield decode_json(line)
            except JsonTextError as error:
                raise OutputError(
                    f"not valid JSON: {error}",
                    where=f"{path}, line {number}",
                    hint="correct the line, or delete the file and run again",
                ) from None


def every_row(root: Path, job: Job, model: Model, *, label: Label) -> Iterator[Mapping[str, Any]]:
    """Every row that was answered, in the same form, its text from the input. Raises InputError, DamageError."""
    files, planner = job_files(job, root), Planner(job, model, sandbox=False)
    for part in result_parts(root / "results"):
        weighed = [name for name in (PROBABILITY,) if name in pq.read_schema(part).names]
        table = pq.read_table(part, columns=[*RESULTS, *weighed])
        found = {row["row_index"]: row for row in table.to_pylist() if row["votes"]}
        for row in shard_rows(read_footer(part).shard, files, job.id, max_line_bytes=job.limits.max_line_bytes):
            told = found.get(row.index)
            if told is None or not isinstance(row, Row) or told["row_id"] != row.row_id:
                continue
            planned = planner.plan(row)
            text = shown_text(planned, model) if isinstance(planned, Request) else ""
            sure = {"probability": told[PROBABILITY]} if told.get(PROBABILITY) is not None else {}
            yield {**told, **sure, "text": text, "suggested": told["voted_label"], "why": reason(told, label)}


def write_label_studio(path: Path, rows: Iterable[Mapping[str, Any]], label: Label) -> int:
    """Label Studio's tasks (JSON), what the votes chose as prediction, gold as annotation; beside it the interface.

    The interface, `FILE.xml`, is what the project's labelling setup takes. Returns how many rows. Raises StorageError.
    """
    count = 0
    with published(path, "the export") as file:
        file.write(b"[")
        for row in rows:
            file.write((b",\n" if count else b"\n") + encode_json(as_task(row)))
            count += 1
        file.write(b"\n]\n")
    with published(path.with_suffix(".xml"), "the labelling interface") as file:
        file.write(interface(label).encode())
    return count
