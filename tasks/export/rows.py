"""Rows of an output for an export: which of them, as batches of flat cells, never all in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rowmill.schemas.errors import OutputError
from rowmill.schemas.outcome import Status
from rowmill.schemas.results import FIELD_AGREEMENT
from rowmill.tasks.output.flat_columns import FlatColumn, flat_batch, flat_columns, flat_schema
from rowmill.tasks.output.results_frame import part_schema, readable, result_parts

BATCH_ROWS = 8_192


class Selection(StrEnum):
    """Which rows: all, those that are ok, or those that somebody should look at."""

    ALL = "all"
    OK = "ok"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Table:
    """What is to be written: the columns, and batches of rows that have them."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def flat_table(root: Path, selection: Selection, review_below: float | None = None) -> Table:
    """The rows of an output as flat cells. Raises OutputError where there is none yet, DamageError.

    To review are rows that are not ok, and those whose votes agree on some field less than `review_below`.
    """
    parts = result_parts(root / "results")
    if not parts:
        raise OutputError("there are no results here yet", where=str(root), hint="run the job first")
    columns = flat_columns(part_schema(part) for part in parts)
    return Table(flat_schema(columns), _batches(parts, columns, selection, review_below=review_below))


def _batches(
    parts: Sequence[Path], columns: list[FlatColumn], selection: Selection, *, review_below: float | None
) -> Iterator[pa.RecordBatch]:
    for part in parts:
        with readable(part), pq.ParquetFile(part, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH_ROWS, use_threads=False):
                chosen = _chosen(batch, selection, review_below)
                if chosen.num_rows:
                    yield flat_batch(chosen, columns)


def _chosen(batch: pa.RecordBatch, selection: Selection, review_below: float | None) -> pa.RecordBatch:
    if selection is Selection.ALL:
        return batch
    is_ok = pc.equal(batch.column("status"), Status.OK.value)
    if selection is Selection.OK:
        return batch.filter(is_ok)
    wanted = pc.invert(is_ok)
    if review_below is not None:
        for column in flat_columns([batch.schema]):
            if column.path[0] == FIELD_AGREEMENT:
                wanted = pc.or_(wanted, pc.fill_null(pc.less(column.of(batch), review_below), False))
    return batch.filter(wanted)
