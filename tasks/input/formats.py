"""Formats: every kind of file that rows are read from, a line each; and which of them a file is."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pyarrow as pa

from rowmill.schemas.errors import InputError
from rowmill.schemas.file_state import FileState
from rowmill.schemas.json_text import encode_json
from rowmill.schemas.row import Cursor
from rowmill.tasks.input import files as of_files
from rowmill.tasks.input.arrow_ipc import arrow_columns, arrow_lines, arrow_rows, arrow_schema
from rowmill.tasks.input.csv import csv_lines
from rowmill.tasks.input.csv_dialect import Dialect, dialect_of
from rowmill.tasks.input.files import COMPRESSED, InputFile, Line, name_of
from rowmill.tasks.input.json_array import json_array_lines, kind_of_json, list_of_rows
from rowmill.tasks.input.jsonl import columns_of_line, jsonl_batches, jsonl_lines
from rowmill.tasks.input.line_batch import LineBatch, together
from rowmill.tasks.input.parquet import parquet_columns, parquet_lines, parquet_rows, parquet_schema
from rowmill.tasks.input.stream import BOM, DAMAGE, head_of
from rowmill.tasks.input.wrong_kinds import way_out, wrong_kind

HEAD_BYTES = 64 << 10


class ReadColumns(Protocol):
    """Reads these columns of so many rows of a file from a position on, batch by batch."""

    def __call__(
        self, file: InputFile, position: int, rows: int, *, names: Sequence[str]
    ) -> Iterator[pa.RecordBatch]: ...


@dataclass(frozen=True, slots=True)
class Typed:
    """What a format with typed columns gives beside its lines: columns as Arrow has them, unchanged."""

    schema: Callable[[InputFile], pa.Schema]
    rows: Callable[[InputFile], int]
    columns: ReadColumns


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file: the endings that name it, and how its lines are read, in `batches` where that is quicker.
    `is_text`: it may be compressed too. `magics` are first bytes that tell it; `reading` says how a file is read where
    its bytes do not.
    """

    endings: tuple[str, ...]
    lines: Callable[[InputFile, Cursor, int], Iterator[Line]]
    batches: Callable[[InputFile, Cursor, int], Iterator[LineBatch]] | None = None
    is_text: bool = True
    typed: Typed | None = None
    magics: tuple[bytes, ...] = ()
    reading: Callable[[InputFile], Dialect] | None = None


FORMATS: Mapping[str, Format] = {
    "jsonl": Format((".jsonl", ".ndjson"), jsonl_lines, jsonl_batches),
    "json": Format((".json",), json_array_lines),
    "csv": Format((".csv", ".tsv", ".tab"), csv_lines, reading=dialect_of),
    "parquet": Format(
        (".parquet", ".pq"), parquet_lines, is_text=False,
        typed=Typed(parquet_schema, parquet_rows, parquet_columns), magics=(b"PAR1",),
    ),
    "arrow": Format(
        (".arrow", ".feather", ".ipc", ".arrows"), arrow_lines, is_text=False,
        typed=Typed(arrow_schema, arrow_rows, arrow_columns), magics=(b"ARROW1", b"\xff\xff\xff\xff"),
    ),
}  # fmt: skip


def _read() -> str:
    """What is read, for people."""
    texts, others = (
        [known.endings[0] for known in FORMATS.values() if known.is_text is is_text] for is_text in (True, False)
    )
    return (
        f"rowmill reads {', '.join(texts)} and .tsv, each also {' or '.join(COMPRESSED)}, {', '.join(others)} "
        "and .xlsx, and queries: see docs/guides/inputs.md"
    )


def lines(file: InputFile, start: Cursor, max_line_bytes: int) -> Iterator[Line]:
    """The lines of a file from a cursor on. A damaged rest of a file is one last line with a problem."""
    found = FORMATS[file.format].lines(file, start, max_line_bytes)
    if (end := file.end) is not None:
        found = takewhile(lambda line: line.number <= end, found)
    return found if not file.partition else _partitioned(found, dict(file.partition))


def line_batches(file: InputFile, start: Cursor, max_line_bytes: int) -> Iterator[LineBatch]:
    """The same lines as `lines`, some at a time."""
    batches = FORMATS[file.format].batches
    if batches is None or file.partition:
        return together(lines(file, start, max_line_bytes))
    found = batches(file, start, max_line_bytes)
    return found if file.end is None else _up_to(file.end, found)


def _up_to(end: int, found: Iterator[LineBatch]) -> Iterator[LineBatch]:
    for batch in found:
        left = end - batch.before
        if left <= 0:
            return
        yield batch if len(batch) <= left else batch.cut(left)[0]


def _partitioned(found: Iterator[Line], partition: Mapping[str, str | None]) -> Iterator[Line]:
    """The lines with the columns that the file's folders name; one that the file has itself stands as it is there."""
    context = encode_json(partition)
    for line in found:
        columns, problem = line.columns, line.problem
        if columns is None and problem is None:
            columns, problem = columns_of_line(line)
        columns = None if columns is None else {**partition, **columns}
        yield msgspec.structs.replace(line, columns=columns, problem=problem, context=context + line.context)


def typed_of(file: InputFile) -> Typed | None:
    """What a file with typed columns gives, those that its folders name among them; None for text."""
    typed = FORMATS[file.format].typed
    return typed if typed is None or not file.partition else _with_partition(typed, dict(file.partition))


def _with_partition(typed: Typed, partition: Mapping[str, str | None]) -> Typed:
    def schema(file: InputFile) -> pa.Schema:
        found = typed.schema(file)
        for name in partition:
            found = found if name in found.names else found.append(pa.field(name, pa.string()))
        return found

    def columns(file: InputFile, position: int, rows: int, *, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        own = typed.schema(file).names
        added = [name for name in names if name in partition and name not in own]
        # Without any of its own columns a batch would not tell how many rows it has.
        asked = [name for name in names if name not in added] or own[:1]
        for batch in typed.columns(file, position, rows, names=asked):
            for name in added:
                values = pa.array([partition[name]] * batch.num_rows, pa.string())
                batch = batch.append_column(name, values)
            yield batch

    return Typed(schema, typed.rows, columns)


def state_of(file: InputFile) -> FileState:
    """A file's path, size and time of change, and how it is read where its bytes do not say it. Raises OSError."""
    told = of_files.state_of(file)
    reading = reading_of(file)
    return told if reading is None else msgspec.structs.replace(told, read_as=reading.told)


def reading_of(file: InputFile) -> Dialect | None:
    """How a file is read where its bytes do not say it; None where they do. Raises InputError, OSError."""
    reading = FORMATS[file.format].reading
    return reading(file) if reading is not None else None


def input_state(files: Sequence[InputFile]) -> list[FileState]:
    """The state of each input file. Raises InputError where one is gone."""
    found = []
    for file in files:
        try:
            found.append(state_of(file))
        except OSError as error:
            raise InputError(
                f"cannot be read: {error.strerror}", where=name_of(file), hint="it was there a moment ago: put it back"
            ) from None
    return found


def format_of_ending(name: str) -> str | None:
    """The format that a file's ending names; None for another ending."""
    name = plain = name.lower()
    for ending in COMPRESSED:
        plain = plain.removesuffix(ending)
    for found, known in FORMATS.items():
        if (plain if known.is_text else name).endswith(known.endings):
            return found
    return None


def format_of(file: InputFile) -> str:
    """The format of a file: what the job says, what its ending names, or what its content is.

    Raises InputError for a file of another kind, naming what makes rows of it, and for JSON that is no rows.
    """
    known = file.format or format_of_ending(file.name)
    try:
        if known is None:
            return _format_of_content(file, head_of(file, HEAD_BYTES))
        if known in ("jsonl", "json") and (isinstance(file.place, Path) or known == "json"):
            return _json_format(file, known)
        if known == "csv":
            _refuse_other_than_text(file)
    except DAMAGE as error:
        if isinstance(error, OSError) and error.strerror:
            raise InputError(
                f"cannot be read: {error.strerror}", where=name_of(file), hint="make it readable for this user"
            ) from None
        # The damage is told in the row where it is met.
        return known or "jsonl"
    return known


def _json_format(file: InputFile, known: str) -> str:
    head = _head(file, of_files.state_of(file))
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(
            "this is JSON in UTF-16, and JSON is UTF-8",
            where=name_of(file),
            hint=f"to get at its rows: iconv -f UTF-16 -t UTF-8 {file} > rows{file.suffix}",
        )
    is_all = len(head) < HEAD_BYTES
    found = kind_of_json(head, is_all=is_all)
    if found == "object":
        raise InputError(
            "this is one JSON object over many lines; an array of objects is expected, or one object a line",
            where=name_of(file),
            hint=f"take its rows out, with the name of your list: jq -c '.rows[]' {file.name} > rows.jsonl",
        )
    if found == "jsonl" and known == "json" and (name := list_of_rows(head, is_all=is_all)) is not None:
        raise InputError(
            f"this is one JSON object that holds a list of objects under {name!r}; an array of objects is expected, or"
            " one object a line",
            where=name_of(file),
            hint=f"take its rows out: jq -c '.[{encode_json(name).decode()}][]' {file.name} > rows.jsonl; if it is one"
            " row itself, say input_format: jsonl",
        )
    if found == "json" and known == "jsonl":
        raise InputError(
            "this is a JSON array, and a .jsonl file holds one object a line",
            where=name_of(file),
            hint=f"rename it to .json, or: jq -c '.[]' {file.name} > rows.jsonl",
        )
    return found


# First bytes that no header of separated values has; those of other kinds may be a word: ORCID, PAR1.
_NEVER_CSV = (b"<!DOCTYPE html", b"<html", b"<?xml", b"%PDF-", b"PK\x03\x04", b'{"', b"[{")


def _refuse_other_than_text(file: InputFile) -> None:
    """Raises InputError for a file that is named as CSV and by its first bytes is something else."""
    head = _head(file, of_files.state_of(file)).removeprefix(BOM).lstrip()
    if b"\0" not in head and not head.startswith(_NEVER_CSV):
        return
    if (wrong := wrong_kind("", head)) is not None:
        raise InputError(f"this is no CSV but {wrong.what}", where=name_of(file), hint=way_out(wrong, str(file)))
    magics = {name: found.magics for name, found in FORMATS.items() if found.magics}
    for name, first in (magics | {"xlsx": (b"PK\x03\x04",), "json": (b'{"', b"[{")}).items():
        if head.startswith(first):
            raise InputError(
                f"this is no CSV: by its beginning it is .{name}",
                where=name_of(file),
                hint=f"rename it to end in .{name}",
            )


@lru_cache(maxsize=4_096)
def _head(file: InputFile, *_: Any) -> bytes:
    return head_of(file, HEAD_BYTES)


def _format_of_content(file: InputFile, head: bytes) -> str:
    """What a file without a known ending is. Raises InputError where it is nothing that rows are read from."""
    if (wrong := wrong_kind(file.name, head)) is not None:
        raise InputError(f"this is {wrong.what}", where=name_of(file), hint=way_out(wrong, str(file)))
    for name, known in FORMATS.items():
        if head.startswith(known.magics):
            return name
    text = head.removeprefix(BOM).lstrip()
    if text[:1] in (b"{", b"["):
        return _json_format(file, "json")
    if text and b"\0" not in text and dialect_of(file).looks_right:
        return "csv"
    ending = file.suffix or "(no ending)"
    raise InputError(f"unknown kind of file {ending}", where=name_of(file), hint=_read())
