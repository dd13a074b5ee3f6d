"""Frame file: rows in memory → the file that a job reads them from."""

from __future__ import annotations

import filecmp
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.schemas.errors import InputError, StorageError, first_line
from rowmill.schemas.json_text import encode_json
from rowmill.tasks.input.view_types import batch_without_views, schema_without_views
from rowmill.tasks.system.durable import sync_folder

PARQUET, JSONL = "input.parquet", "input.jsonl"
KINDS = "give a polars or pandas frame, an Arrow table, or dicts"


def is_pandas(rows: object) -> bool:
    """Whether this is a pandas frame. pandas is not imported for it."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(rows, pandas.DataFrame)


def write_frame(rows: Any, folder: Path) -> Path:
    """Write a frame's rows into a folder: to Parquet, or dicts to JSONL, which holds whatever JSON can hold.

    A file that holds these very rows already is left as it is, so that a finished output is seen to be finished.
    Raises InputError for what is no frame or holds values that no file can hold, StorageError.
    """
    columnar = isinstance(rows, (pl.DataFrame, pl.LazyFrame, pa.Table)) or is_pandas(rows)
    name, other = (PARQUET, JSONL) if columnar else (JSONL, PARQUET)
    path = folder / name
    with _replaced(path) as file:
        if columnar:
            _write_parquet(rows, file)
        else:
            _write_lines(rows, file)
    (folder / other).unlink(missing_ok=True)
    return path


@contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which replaces `path` in one step unless it is the same, byte for byte."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not (path.exists() and filecmp.cmp(temporary, path, shallow=False)):
            os.replace(temporary, path)
            sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"the rows cannot be written: {error.strerror or error}", where=str(path), hint="free disk space there"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _write_parquet(rows: Any, file: IO[bytes]) -> None:
    try:
        if isinstance(rows, pl.LazyFrame):
            rows.sink_parquet(file)
        elif isinstance(rows, pl.DataFrame):
            rows.write_parquet(file)
        else:
            table = rows if isinstance(rows, pa.Table) else _of_pandas(rows)
            if len(set(table.column_names)) < len(table.column_names):
                raise ValueError("two columns have the same name")
            batches = map(batch_without_views, table.to_batches())
            pq.write_table(pa.Table.from_batches(batches, schema_without_views(table.schema)), file)
    except (pl.exceptions.PolarsError, pa.ArrowException, ValueError, TypeError) as error:
        raise InputError(
            f"the frame cannot be written to Parquet: {first_line(error)}",
            where="rows",
            hint="give each column one type and one name, or hand over dicts: frame.to_dict('records'), .to_dicts()",
        ) from None


def _of_pandas(frame: Any) -> pa.Table:
    """A pandas frame with the levels of its index that have a name; those without are row numbers."""
    named = [name for name in frame.index.names if name is not None and name not in frame.columns]
    return pa.Table.from_pandas(frame.reset_index(named) if named else frame, preserve_index=False)


def _write_lines(rows: Iterable[Mapping[str, Any]], file: IO[bytes]) -> None:
    if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Iterable):
        raise InputError(f"{type(rows).__name__} is no frame", where="rows", hint=KINDS)
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputError(f"a {type(row).__name__} is no row", where=f"rows[{number}]", hint=KINDS)
        try:
            file.write(encode_json(dict(row)) + b"\n")
        except (TypeError, ValueError) as error:
            raise InputError(
                f"cannot be written as JSON: {first_line(error)}",
                where=f"rows[{number}]",
                hint="a row holds text, numbers, true, false, None, and lists or dicts of these",
            ) from None
