"""Results frame: all parts of an output as one lazy polars frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.schemas.errors import DamageError, OutputError, first_line
from rowmill.tasks.output.polars_arrays import polars_table

if TYPE_CHECKING:
    import polars as pl


# The parts among the files of an output's results.
PART_FILES = "part-*.parquet"
BATCH_ROWS = 16_384


def result_parts(results: Path) -> list[Path]:
    """The parts of an output, in the input's order; none where nothing is settled yet."""
    return sorted(results.glob(PART_FILES))


def scan_results(results: Path) -> pl.LazyFrame:
    """The results, a row for each settled row of the input, in its order. Nothing is read before it is asked for.

    Parts of one output may have different columns: those of an earlier version, or of a job that kept others then.
    A column that a part lacks is null in its rows. Raises OutputError where there is no part, DamageError.
    """
    import polars as pl

    parts = result_parts(results)
    if not parts:
        raise OutputError(
            "there are no results here", where=str(results.parent), hint="name the output folder of a run"
        )
    schemas = [part_schema(part) for part in parts]
    if all(schema.equals(schemas[0]) for schema in schemas):
        return _scan(parts, schemas[0])
    some = [_scan([part], schema) for part, schema in zip(parts, schemas, strict=True)]
    return pl.concat(some, how="diagonal_relaxed")


def scan_part(part: Path) -> pl.LazyFrame:
    """The rows of one part. Raises DamageError."""
    return _scan([part], part_schema(part))


def _scan(parts: list[Path], schema: pa.Schema) -> pl.LazyFrame:
    """Parts of one schema; columns that polars cannot hold in types that it can."""
    import polars as pl

    held = polars_table(schema)
    if held.schema.equals(schema):
        return pl.scan_parquet(parts)
    from polars.io.plugins import register_io_source

    def batches_of_polars(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, batch_rows: int | None
    ) -> Iterator[pl.DataFrame]:
        for part in parts:
            with readable(part), pq.ParquetFile(part, pre_buffer=False) as file:
                for batch in file.iter_batches(batch_rows or BATCH_ROWS, columns=columns, use_threads=False):
                    frame = pl.DataFrame(polars_table(batch)).select(columns or held.column_names)
                    frame = frame if rows is None else frame.head(rows)
                    rows = rows if rows is None else rows - len(frame)
                    yield frame if predicate is None else frame.filter(predicate)
                    if rows == 0:
                        return

    return register_io_source(batches_of_polars, schema=pl.DataFrame(held).schema)


def part_schema(part: Path) -> pa.Schema:
    """The columns of a part. Raises DamageError where it cannot be read."""
    with readable(part):
        return pq.read_schema(part)


@contextmanager
def readable(where: Path, what: str = "the part") -> Iterator[None]:
    """What cannot be read of a part is damage. Raises DamageError."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DamageError(
            f"{what} cannot be read: {first_line(error)}",
            where=str(where),
            hint="`rowmill status OUT --verify` names every damaged part and how to make it afresh",
        ) from None
