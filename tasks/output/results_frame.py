"""Results frame: all parts of an output as one lazy polars frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.schemas.errors import DamageError, OutputError, first_line

if TYPE_CHECKING:
    import polars as pl


# The parts among the files of an output's results.
PART_FILES = "part-*.parquet"


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
        return pl.scan_parquet(parts)
    return pl.concat([pl.scan_parquet(part) for part in parts], how="diagonal_relaxed")


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
