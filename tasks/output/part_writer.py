"""Compact: a shard's journal → its results part. The commit point is the rename of a synced file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.schemas.outcome import Outcome
from rowmill.tasks.output.part_columns import PartColumns, encode_batch
from rowmill.tasks.output.part_footer import Footer
from rowmill.tasks.output.part_grades import PartGrades
from rowmill.tasks.output.part_notes import NotedRows, PartNotes
from rowmill.tasks.system.durable import published

GROUP_ROWS = 5_000
# Outcomes held as objects at a time: few enough that their memory is used again.
BATCH_ROWS = 500


def write_part(
    path: Path,
    columns: PartColumns,
    batches: Iterable[Sequence[Outcome]],
    *,
    footer: Footer,
    lines: bytes | None = None,
) -> None:
    """Write, sync, rename, sync the folder. Outcomes come in row order, some (best BATCH_ROWS) at a time.

    `lines` is what each row is known by, where the part holds all of its shard. Raises StorageError, leaving nothing
    half; InputError where the rows are not in the input any more.
    """
    with writing(path, columns.written_with(footer)) as writer:
        notes = PartNotes()
        grades = PartGrades(columns.grader) if columns.grader is not None else None
        encoded = (encode_batch(notes.of(outcomes), columns, grades) for outcomes in batches)
        with _writes(writer) as write:
            while group := list(islice(encoded, GROUP_ROWS // BATCH_ROWS)):
                write(pa.concat_tables(group))
        told = grades.metadata() if grades is not None else {}
        writer.add_key_value_metadata({**notes.metadata(lines), **told})


# Some rows of a shard: those that are moved there with their notes, and those that were settled there.
Mixed = tuple[tuple[pa.Table, NotedRows] | None, Sequence[Outcome]]


def write_mixed_part(
    path: Path, columns: PartColumns, groups: Iterable[Mixed], *, footer: Footer, lines: bytes
) -> None:
    """A part of rows of which some are taken from other parts; about GROUP_ROWS come at a time. As `write_part`."""
    plain = pa.schema(list(columns.schema))
    with writing(path, columns.written_with(footer)) as writer:
        notes = PartNotes()
        for moved, outcomes in groups:
            tables = [encode_batch(few, columns) for few in _batches(outcomes)]
            noted = [NotedRows.of(outcomes)] if outcomes else []
            if moved is not None:
                tables.append(moved[0].cast(plain))
                noted.append(moved[1])
            table, told = pa.concat_tables(tables), NotedRows.together(noted)
            rows = table.column("row_index").to_numpy()
            if outcomes and moved is not None:
                order = np.argsort(rows, kind="stable")
                table, told, rows = table.take(order), told.take(order), rows[order]
            writer.write_table(table)
            notes.add(told, rows.tolist())
        writer.add_key_value_metadata(notes.metadata(lines))


@contextmanager
def _writes(writer: pq.ParquetWriter) -> Iterator[Callable[[pa.Table], None]]:
    """Takes tables one after the other; each is packed by a thread while the next one is made."""
    with ThreadPoolExecutor(1, "rowmill-part") as thread:
        packed: list[Future[None]] = []

        def write(table: pa.Table) -> None:
            if packed:
                packed.pop().result()
            packed.append(thread.submit(writer.write_table, table))

        yield write
        if packed:
            packed.pop().result()


def _batches(outcomes: Sequence[Outcome]) -> Iterator[Sequence[Outcome]]:
    return (outcomes[at : at + BATCH_ROWS] for at in range(0, len(outcomes), BATCH_ROWS))


@contextmanager
def writing(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A part in the making, published when all of it is written. Raises StorageError."""
    with (
        published(path, "the part") as file,
        pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        yield writer
