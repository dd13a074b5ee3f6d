"""Label sheet: labelled rows with their texts and a column `gold`, for people to fill in and hand back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import pyarrow as pa

from rowmill.tasks.export.rows import Table
from rowmill.tasks.plan.label_gold import SEVERAL

SHEET = pa.schema(
    [(name, pa.float64() if name == "agreement" else pa.string())
     for name in ("row_id", "text", "suggested", "agreement", "votes", "why", "gold")]
)  # fmt: skip
BATCH_ROWS = 1_000


def sheet(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Rows of review.jsonl, or others in its form, as a table."""
    return Table(SHEET, _batches(iter(rows)))


def _batches(rows: Iterator[Mapping[str, Any]]) -> Iterator[pa.RecordBatch]:
    while some := [_cells(row) for row in islice(rows, BATCH_ROWS)]:
        yield pa.RecordBatch.from_pylist(some, schema=SHEET)


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    votes = "; ".join(_text(vote["label"]) for vote in row["votes"])
    cells = {**row, "votes": votes}
    return {name: cells[name] if name == "agreement" else _text(cells[name]) for name in SHEET.names}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return SEVERAL.join(value) if isinstance(value, list) else str(value)
