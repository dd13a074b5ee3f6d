"""Review: the rows that people should look at, one JSON line each, ready to be filled in and handed back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rowmill.schemas.json_text import encode_json
from rowmill.schemas.label import Label
from rowmill.schemas.outcome import Status
from rowmill.tasks.system.durable import published

COLUMNS = ["row_id", "row_index", "status", "error_message", "voted_label", "agreement", "votes"]
BATCH_ROWS = 2_048
# Rows without an answer that people can give in the model's place. A failed call is for --retry-failed.
ANSWERED_BY_PEOPLE = frozenset({Status.INVALID.value, Status.REFUSED.value})

# For a part: what finds a row's text by its index, as the model read it, for rows in their order.
Texts = Callable[[Path], Callable[[int], str]]


def write_review(path: Path, label: Label, parts: Iterable[Path], texts: Texts, done: Mapping[str, Any]) -> int:
    """Write review.jsonl anew: rows of little agreement, ties, and rows the model gave no label. Returns how many.

    `done` are rows that people have labelled already: they are not asked again. Raises StorageError.
    """
    count = 0
    with published(path, "the review") as file:
        for part in parts:
            text_of = texts(part)
            for row in _to_review(part, label, done):
                file.write(encode_json(_line(row, text_of(row["row_index"]), label)) + b"\n")
                count += 1
    if not count:
        path.unlink()
    return count


def _to_review(part: Path, label: Label, done: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(part, pre_buffer=False) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=COLUMNS, use_threads=False):
            for row in batch.filter(_may_need_people(batch, label)).to_pylist():
                if row["row_id"] not in done and reason(row, label):
                    yield row


def _may_need_people(batch: pa.RecordBatch, label: Label) -> pa.Array:
    """Most rows need nobody: they are left out before they become Python's."""
    unlike = pc.fill_null(pc.less(batch["agreement"], label.review_below), False)
    return pc.or_(pc.or_(pc.not_equal(batch["status"], Status.OK.value), pc.is_null(batch["voted_label"])), unlike)


def reason(row: Mapping[str, Any], label: Label) -> str | None:
    """Why people should look at a results row; None where they need not."""
    if row["status"] in ANSWERED_BY_PEOPLE:
        return f"{row['status']}: {row['error_message']}"
    if row["status"] != Status.OK.value:
        return None
    if row["voted_label"] is None:
        return "the votes tie"
    if row["agreement"] is not None and row["agreement"] < label.review_below:
        return f"only {row['agreement']:.0%} of the votes agree"
    return None


def _line(row: Mapping[str, Any], text: str, label: Label) -> dict[str, Any]:
    """`gold` is for the person to fill in; `suggested` is what the votes chose."""
    return {
        "row_id": row["row_id"],
        "text": text,
        "suggested": row["voted_label"],
        "agreement": row["agreement"],
        "votes": [{"model": vote["model"], "label": vote["label"]} for vote in row["votes"] or ()],
        "why": reason(row, label),
        "gold": None,
    }
