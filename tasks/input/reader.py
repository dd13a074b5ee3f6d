"""Read: input files → rows, streamed with bounded memory. Every line becomes exactly one row or one unreadable."""

from __future__ import annotations

import glob
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.schemas.errors import InputError
from rowmill.schemas.json_text import JsonTextError, decode_json, encode_json
from rowmill.schemas.row import Cursor, Row, Shard, Unreadable
from rowmill.tasks.input.files import BUFFER, InputFile, buffer_of, parquet_source, raw
from rowmill.tasks.system.s3 import SCHEME, bucket_files

JSONL_ENDINGS = (".jsonl", ".ndjson", ".json")
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
PARQUET_ENDINGS = (".parquet", ".pq")
RAW_SHOWN = 2_000
BATCH_ROWS = 1_024
_BOM = b"\xef\xbb\xbf"
# Batch files name their rows themselves: OpenAI's lines by custom_id, Gemini's by key.
BATCH_IDS = (("custom_id", "body"), ("key", "request"))


class Line(msgspec.Struct, frozen=True):
    """One line or Parquet row before it is judged. `offset` is its cursor; `raw` its exact bytes for the digest."""

    offset: int
    number: int
    raw: bytes
    columns: dict[str, Any] | None = None
    problem: str | None = None


def input_files(pattern: str) -> list[InputFile]:
    """The files of an input, in sorted order. Raises InputError where there is none or one is of no known kind."""
    if pattern.startswith(SCHEME):
        return _in_bucket(pattern)
    path = Path(pattern)
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if p.is_file() and kind_of(p) and not _hidden(p, path)]
        if not found:
            raise InputError(
                "the folder holds no .jsonl, .jsonl.gz, .jsonl.zst or .parquet file",
                where=pattern,
                hint="name another folder, or a file",
            )
        return list(found)
    files: list[InputFile] = []
    if path.is_file():
        files = [path]
    elif glob.has_magic(pattern):
        files = [Path(name) for name in sorted(glob.glob(pattern, recursive=True)) if Path(name).is_file()]
        if not files:
            raise InputError("no file matches this pattern", where=pattern, hint="`input` is relative to the job file")
    else:
        raise InputError("no such file or folder", where=pattern, hint="`input` is relative to the job file")
    for file in files:
        if kind_of(file) is None:
            raise InputError(
                f"unknown kind of file {file.suffix or '(no ending)'}",
                where=str(file),
                hint="rowmill reads .jsonl, .ndjson, .json (one object a line), each also .gz or .zst, and .parquet",
            )
        _readable(file)
    return files


def _in_bucket(pattern: str) -> list[InputFile]:
    found: list[InputFile] = [file for file in bucket_files(pattern) if kind_of(file)]
    if not found:
        raise InputError(
            "no .jsonl, .jsonl.gz, .jsonl.zst or .parquet object is there",
            where=pattern,
            hint="name another object or prefix",
        )
    return found


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.relative_to(root).parts)


def _readable(file: InputFile) -> None:
    try:
        raw(file).close()
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=str(file), hint="make it readable for this user"
        ) from None


def kind_of(path: InputFile) -> Literal["jsonl", "parquet"] | None:
    """Kind of an input file by its ending."""
    name = path.name.lower()
    if name.endswith(PARQUET_ENDINGS):
        return "parquet"
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return "jsonl" if name.endswith(JSONL_ENDINGS) else None


def lines(file: InputFile, start: Cursor, max_line_bytes: int) -> Iterator[Line]:
    """The lines of a file from a cursor on. A damaged rest of a file is one last line with a problem."""
    if kind_of(file) == "parquet":
        yield from _parquet_lines(file, start)
    else:
        yield from _without_trailing_blanks(_jsonl_lines(file, start, max_line_bytes))


def _open(file: InputFile, offset: int) -> IO[bytes]:
    """The file's bytes, decompressed, from an offset on. A compressed stream has no other way than reading up to it."""
    compression = COMPRESSED.get(file.suffix.lower())
    if compression is None:
        source = raw(file)
        source.seek(offset)
        return io.BufferedReader(source, buffer_of(file))
    reader = io.BufferedReader(_decompressed(file, compression), BUFFER)
    while offset > 0 and (chunk := reader.read(min(offset, 1 << 20))):
        offset -= len(chunk)
    return reader


def _decompressed(file: InputFile, compression: str) -> Any:
    if isinstance(file, Path):
        return gzip.open(file, "rb") if compression == "gzip" else pa.CompressedInputStream(str(file), compression)
    if compression == "gzip":
        return gzip.GzipFile(fileobj=io.BufferedReader(raw(file), buffer_of(file)))
    return pa.CompressedInputStream(raw(file), compression)


def _jsonl_lines(file: InputFile, start: Cursor, max_line_bytes: int) -> Iterator[Line]:
    offset, number = start.offset, start.line
    try:
        with _open(file, offset) as stream:
            while line := stream.readline(max_line_bytes + 1):
                number += 1
                length, problem = len(line), None
                if length > max_line_bytes and not line.endswith(b"\n"):
                    length += _skip_line(stream)
                    problem = f"the line is longer than {max_line_bytes:,} bytes (limits.max_line_bytes)"
                    line = line[:RAW_SHOWN]
                yield Line(offset, number, line, problem=problem)
                offset += length
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        yield Line(offset, number + 1, b"", problem=f"the rest of the file cannot be read: {error}")


def _skip_line(stream: IO[bytes]) -> int:
    skipped = 0
    while chunk := stream.readline(1 << 20):
        skipped += len(chunk)
        if chunk.endswith(b"\n"):
            break
    return skipped


def _without_trailing_blanks(found: Iterator[Line]) -> Iterator[Line]:
    """Blank lines at a file's very end are its closing line feeds; one in the middle is a row gone wrong."""
    blanks: list[Line] = []
    for line in found:
        if line.problem is None and not line.raw.strip():
            blanks.append(line)
            continue
        yield from blanks
        blanks.clear()
        yield line


def _parquet_lines(file: InputFile, start: Cursor) -> Iterator[Line]:
    position = start.offset
    try:
        with pq.ParquetFile(parquet_source(file), pre_buffer=False, buffer_size=buffer_of(file)) as parquet:
            first, groups = _groups_from(parquet, position)
            for batch in parquet.iter_batches(BATCH_ROWS, row_groups=groups, use_threads=False):
                for columns in batch.slice(max(0, position - first)).to_pylist():
                    yield Line(position, position + 1, encode_json(columns), columns=columns)
                    position += 1
                first += batch.num_rows
    except (OSError, pa.ArrowException, ValueError) as error:
        yield Line(position, position + 1, b"", problem=f"the rest of the file cannot be read: {error}")


def _groups_from(parquet: pq.ParquetFile, position: int) -> tuple[int, list[int]]:
    """Row groups from the one that holds `position` on, and the first row of that one."""
    before = 0
    for group in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        if before + rows > position:
            return before, list(range(group, parquet.num_row_groups))
        before += rows
    return before, []


def judge(line: Line, index: int, file: str, id_column: str | None) -> Row | Unreadable:
    """A line → a row with its id, or the reason why it is none."""
    columns, problem = line.columns, line.problem
    if columns is None and problem is None:
        columns, problem = _columns(line)
    if columns is not None and problem is None:
        row_id, problem = _row_id(columns, index, id_column)
        if problem is None:
            return Row(index, row_id, columns, file, line.number)
    raw = line.raw[:RAW_SHOWN].decode("utf-8", "replace").rstrip("\r\n")
    # A position cannot stand for an id that the row did not tell: "#7" is no id a column would hold.
    row_id = str(index) if id_column is None else f"#{index}"
    return Unreadable(index, row_id, problem or "", file, line.number, raw)


def _columns(line: Line) -> tuple[dict[str, Any] | None, str | None]:
    raw = line.raw.removeprefix(_BOM) if line.number == 1 else line.raw
    if not raw.strip():
        return None, "the line is empty"
    try:
        value = decode_json(raw)
    except JsonTextError as error:
        return None, f"not valid JSON: {error}"
    if not isinstance(value, dict):
        return None, f"a JSON object is expected, this is {_json_type(value)}"
    return value, None


def _json_type(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def without_id(id_column: str) -> str:
    """The reason of a row that does not tell its id."""
    return f"the id column {id_column!r} is missing or null"


def _row_id(columns: dict[str, Any], index: int, id_column: str | None) -> tuple[str, str | None]:
    if id_column is None:
        for column, payload in BATCH_IDS:
            if isinstance(columns.get(payload), dict) and isinstance(columns.get(column), str):
                return columns[column], None
        return str(index), None
    value = columns.get(id_column)
    if value is None:
        return "", without_id(id_column)
    if isinstance(value, (dict, list)):
        return "", f"the id column {id_column!r} holds no text or number"
    return value if isinstance(value, str) else str(value), None


def shard_lines(shard: Shard, files: list[InputFile], max_line_bytes: int) -> Iterator[tuple[Line, str]]:
    """The lines of one shard, with their file, crossing file borders where the shard does."""
    names = [str(file) for file in files]
    left, cursor = shard.rows, shard.start
    for file in files[names.index(cursor.file) :]:
        name = str(file)
        start = cursor if name == cursor.file else Cursor(name, 0, 0)
        for line in lines(file, start, max_line_bytes):
            if left == 0:
                return
            left -= 1
            yield line, name
    if left:
        raise InputError(
            "the input became shorter while it was read",
            where=shard.start.file,
            hint="leave it as it is while a run reads it",
        )


def shard_rows(
    shard: Shard, files: list[InputFile], id_column: str | None, max_line_bytes: int
) -> Iterator[Row | Unreadable]:
    """The rows of one shard, in order."""
    for step, (line, file) in enumerate(shard_lines(shard, files, max_line_bytes)):
        yield judge(line, shard.first_row + step, file, id_column)
