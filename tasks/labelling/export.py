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
from rowmill.schemas.row import Row
from rowmill.tasks.input.reader import input_files, shard_rows
from rowmill.tasks.labelling.corrections import REVIEW
from rowmill.tasks.labelling.review import reason
from rowmill.tasks.output.part_writer import read_footer
from rowmill.tasks.plan.planner import Planner, shown_text
from rowmill.tasks.system.durable import published

RESULTS = ["row_id", "row_index", "status", "error_message", "voted_label", "agreement", "votes", "gold"]
# The names that a Label Studio interface for these tasks uses.
FROM, TO = "label", "text"


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
                    hint="mend the line, or delete the file and run again",
                ) from None


def every_row(root: Path, job: Job, model: Model, label: Label) -> Iterator[Mapping[str, Any]]:
    """Every row that was answered, in the same form, its text from the input. Raises InputError, DamageError."""
    files, planner = input_files(job.input), Planner(job, model, sandbox=False)
    for part in sorted((root / "results").glob("part-*.parquet")):
        table = pq.read_table(part, columns=RESULTS)
        found = {row["row_index"]: row for row in table.to_pylist() if row["votes"]}
        for row in shard_rows(read_footer(part).shard, files, job.id, job.limits.max_line_bytes):
            told = found.get(row.index)
            if told is None or not isinstance(row, Row) or told["row_id"] != row.row_id:
                continue
            planned = planner.plan(row)
            text = shown_text(planned, model) if isinstance(planned, Request) else ""
            yield {**told, "text": text, "suggested": told["voted_label"], "why": reason(told, label)}


def write_label_studio(path: Path, rows: Iterable[Mapping[str, Any]], label: Label) -> int:
    """Label Studio's tasks (JSON), what the votes chose as prediction, gold as annotation; beside it the interface.

    The interface, `FILE.xml`, is what the project's labelling setup takes. Returns how many rows. Raises StorageError.
    """
    count = 0
    with published(path, "the export") as file:
        file.write(b"[")
        for row in rows:
            file.write((b",\n" if count else b"\n") + encode_json(_task(row)))
            count += 1
        file.write(b"\n]\n")
    with published(path.with_suffix(".xml"), "the labelling interface") as file:
        file.write(interface(label).encode())
    return count


def _task(row: Mapping[str, Any]) -> dict[str, Any]:
    data = {name: row[name] for name in ("row_id", "text", "why")}
    task: dict[str, Any] = {"data": data, "predictions": [], "annotations": []}
    if row["suggested"] is not None:
        model = row["votes"][-1]["model"] if row["votes"] else "rowmill"
        task["predictions"] = [
            {"model_version": model, "score": row["agreement"], "result": [_choices(row["suggested"])]}
        ]
    if row["gold"] is not None:
        task["annotations"] = [{"ground_truth": True, "result": [_choices(row["gold"])]}]
    return task


def _choices(labels: Any) -> dict[str, Any]:
    told = labels if isinstance(labels, list) else [labels]
    return {"from_name": FROM, "to_name": TO, "type": "choices", "value": {"choices": told}}


def interface(label: Label) -> str:
    """The XML of a Label Studio project that shows the text and offers the labels."""
    from xml.sax.saxutils import quoteattr

    choices = "\n".join(
        f"    <Choice value={quoteattr(one.name)}"
        + (f" hint={quoteattr(one.description)}" if one.description else "")
        + "/>"
        for one in label.labels or ()
    )
    kind = "multiple" if label.multi else "single-radio"
    return (
        f'<View>\n  <Text name="{TO}" value="$text"/>\n  <Choices name="{FROM}" toName="{TO}" choice="{kind}">\n'
        f"{choices}\n  </Choices>\n</View>\n"
    )
