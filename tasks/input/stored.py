"""Stored input: rows that cannot be read twice (standard input, a query) or not from any row on (a workbook), written
once into the output's folder, so that a run that goes on reads the same rows.

Standard input is kept byte for byte; the others become Parquet. Beside it stands what it was taken from, when, and its
digest. A run that was not finished reads what is stored; a finished one takes a query anew.
"""

from __future__ import annotations

import glob
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.schemas.errors import InputError, StorageError
from rowmill.schemas.input_sections import Query
from rowmill.schemas.job import Job
from rowmill.schemas.json_text import encode_json
from rowmill.tasks.input.arrow_values import values
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.formats import FORMATS, format_of
from rowmill.tasks.input.query import query_table
from rowmill.tasks.input.typed_columns import Table
from rowmill.tasks.input.view_types import batch_without_views, schema_without_views
from rowmill.tasks.input.workbook import ENDINGS, sheet_table
from rowmill.tasks.system.durable import PRIVATE_FILE, private_folder, published, write_hint

log = logging.getLogger("rowmill")
STDIN = "-"
STEM, ABOUT = "stored-input", "stored-input.source.json"
# Rows are written to Parquet when so many bytes or rows are together.
GROUP_BYTES, GROUP_ROWS = 64 << 20, 100_000
_PACKED = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}


class Stored(msgspec.Struct, frozen=True):
    """What is stored: the file's name in the output, what it was taken from and when, its rows (where counted), its
    size and the blake2b-128 of its bytes.
    """

    file: str
    source: dict[str, Any]
    taken_at: str
    size: int
    digest: str


def is_stored(job: Job) -> bool:
    """Whether a job's input is read from what is stored of it."""
    if isinstance(job.input, Query) or job.input == STDIN:
        return True
    return job.input_format == "xlsx" or job.input.lower().endswith(ENDINGS)


def stored_file(root: Path) -> Path:
    """The file that is stored in an output. Raises InputError where there is none."""
    found = stored_in(root)
    if found is None:
        raise InputError(
            "what the input gave is not there any more",
            where=str(root / STEM),
            hint="run the job again: it is taken anew",
        )
    return root.absolute() / found.file


def stored_in(root: Path) -> Stored | None:
    """What is stored in an output; None where nothing is, or where it is not whole."""
    try:
        found = msgspec.json.decode((root / ABOUT).read_bytes(), type=Stored)
        return found if (root / found.file).stat().st_size == found.size else None
    except (OSError, msgspec.MsgspecError):
        return None


def source_of(job: Job, root: Path) -> dict[str, Any] | None:
    """What the rows of an output were taken from, when, and the digest of what is stored; None where nothing is."""
    found = stored_in(root) if is_stored(job) else None
    if found is None:
        return None
    return {**found.source, "taken_at": found.taken_at, "digest": found.digest}


def take_input(job: Job, root: Path, *, anew: bool, stdin: IO[bytes] | None = None) -> None:
    """Store what the input gives, unless what is stored is what the run should read.

    `anew`: a query is asked again though it is the same. Raises InputError, StorageError.
    """
    before = stored_in(root)
    if job.input == STDIN:
        _take_stdin(job, root, before, stdin=sys.stdin.buffer if stdin is None else stdin)
        return
    source = _source_of(job)
    if before is not None and before.source == source and not (anew and isinstance(job.input, Query)):
        if isinstance(job.input, Query):
            log.warning(
                "the run before was not finished: it goes on with the rows the query gave at %s (--fresh asks it anew)",
                before.taken_at,
            )
        return
    with _table_of(job) as table:
        for note in table.notes:
            log.warning("%s: %s", job.input_name, note)
        with _replaced(root, f"{STEM}.parquet", source) as file:
            _write_parquet(table, file, job.input_name)


def store_frame(file: Path, root: Path) -> None:
    """Store rows that a caller has handed over, which this file holds. Raises StorageError."""
    with open(file, "rb") as rows, _replaced(root, f"{STEM}{file.suffix}", {"kind": "frame"}) as out:
        shutil.copyfileobj(rows, out, 1 << 20)


@contextmanager
def _table_of(job: Job) -> Iterator[Table]:
    if isinstance(job.input, Query):
        with query_table(job.input) as table:
            yield table
    else:
        with sheet_table(InputFile(Path(job.input), "xlsx"), job.sheet) as table:
            yield table


def _source_of(job: Job) -> dict[str, Any]:
    """What the rows are taken from: the same for the same query, and for a workbook that nobody touched."""
    if isinstance(job.input, Query):
        return {"kind": "query", **job.input.model_dump(mode="json", exclude_none=True)}
    if "://" in job.input or glob.has_magic(job.input):
        raise InputError(
            "a workbook is read from this machine's disk, one at a time",
            where=job.input,
            hint="copy it here, and name it",
        )
    try:
        stat = os.stat(job.input)
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=job.input, hint="`input` is relative to the job file"
        ) from None
    told = {"path": job.input, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    return {"kind": "workbook", **told, "sheet": job.sheet}


def _take_stdin(job: Job, root: Path, before: Stored | None, *, stdin: IO[bytes]) -> None:
    """Keep what is piped in; where nothing is, what was kept stays."""
    head = b"" if stdin.isatty() else stdin.read(1 << 16)
    if not head:
        if before is None or before.source["kind"] != "stdin":
            raise InputError(
                "nothing comes in", where="standard input", hint="pipe rows into it, as in: cat rows.jsonl | ..."
            )
        log.warning("nothing comes in by standard input: the rows that came at %s are read", before.taken_at)
        return
    private_folder(root)
    arrived = root / f"{STEM}{_PACKED.get(head[:4], _PACKED.get(head[:2], '.in'))}"
    try:
        with published(arrived, "standard input") as file:
            file.write(head)
            shutil.copyfileobj(stdin, file, 1 << 20)
        kind = _kind_of(job, arrived)
        if kind == "xlsx":
            source = {"kind": "stdin", "sheet": job.sheet}
            with (
                sheet_table(InputFile(arrived, kind), job.sheet) as table,
                _replaced(root, f"{STEM}.parquet", source) as out,
            ):
                _write_parquet(table, out, "standard input")
            return
        packed = arrived.suffix if arrived.suffix != ".in" else ""
        with (
            open(arrived, "rb") as file,
            _replaced(root, f"{STEM}{FORMATS[kind].endings[0]}{packed}", {"kind": "stdin"}) as out,
        ):
            shutil.copyfileobj(file, out, 1 << 20)
    finally:
        arrived.unlink(missing_ok=True)


def _kind_of(job: Job, arrived: Path) -> str:
    if job.input_format is not None:
        return job.input_format
    with open(arrived, "rb") as file:
        head = file.read(1 << 16)
    if head.startswith(b"PK\x03\x04") and b"xl/" in head:
        return "xlsx"
    try:
        return format_of(InputFile(arrived, "", csv=job.csv))
    except InputError as error:
        what = "nothing in it shows what it is" if error.what.startswith("unknown kind") else error.what
        raise InputError(
            what,
            where="standard input",
            hint="the job's input_format says it: jsonl, json, csv, parquet, arrow or xlsx",
        ) from None


@contextmanager
def _replaced(root: Path, name: str, source: dict[str, Any]) -> Iterator[IO[bytes]]:
    """A file to write to that becomes what is stored. The same content leaves the file as it is."""
    private_folder(root)
    temporary = root / f"{STEM}.new"
    try:
        with open(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            size, digest = file.tell(), _digest(file)
        before = stored_in(root)
        if before is None or (before.file, before.digest) != (name, digest):
            (root / ABOUT).unlink(missing_ok=True)
            os.replace(temporary, root / name)
            if before is not None and before.file != name:
                (root / before.file).unlink(missing_ok=True)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with published(root / ABOUT, "what the input was taken from") as about:
            about.write(encode_json(msgspec.to_builtins(Stored(name, source, now, size, digest))))
    except OSError as error:
        raise StorageError(
            f"the rows cannot be written: {error.strerror or error}", where=str(root / name), hint=write_hint(error)
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _digest(file: IO[bytes]) -> str:
    file.seek(0)
    digest = blake2b(digest_size=16)
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def _write_parquet(table: Table, file: IO[bytes], name: str) -> None:
    """Raises InputError for columns that share a name."""
    names = table.schema.names
    if twice := sorted({one for one in names if names.count(one) > 1}):
        raise InputError(
            f"two columns have the name {twice[0]!r}",
            where=name,
            hint="give each another one: SELECT a.id AS a_id, ...",
        )
    plain = schema_without_views(table.schema)
    fields = [field if _is_storable(field.type) else pa.field(field.name, pa.string()) for field in plain]
    schema = pa.schema([pa.field(field.name, field.type) for field in fields])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        waiting: list[pa.RecordBatch] = []
        size = rows = 0
        for batch in table.batches:
            waiting.append(_as_stored(batch_without_views(batch), schema))
            size, rows = size + batch.nbytes, rows + batch.num_rows
            if size >= GROUP_BYTES or rows >= GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(waiting, schema))
                waiting, size, rows = [], 0, 0
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, schema))


def _is_storable(type_: pa.DataType) -> bool:
    """Whether Parquet gives the type back as it is."""
    sink = pa.BufferOutputStream()
    try:
        pq.ParquetWriter(sink, pa.schema([("column", type_)])).close()
        return bool(pq.read_schema(pa.BufferReader(sink.getvalue())).field(0).type == type_)
    except (pa.ArrowException, ValueError):
        return False


def _as_stored(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        column if column.type == field.type else pa.array([_text(value) for value in values(column)], pa.string())
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else encode_json(value).decode()
