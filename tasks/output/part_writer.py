"""Compact: a shard's journal → its results part. The commit point is the rename of a synced file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.schemas.errors import DamageError
from rowmill.schemas.evidence import evidence_value
from rowmill.schemas.json_text import encode_json
from rowmill.schemas.manifest import PartDigest
from rowmill.schemas.outcome import Outcome
from rowmill.schemas.output_schema import Shape
from rowmill.schemas.results import EVIDENCE_COLUMNS, TIME, TOOL_CALLS, money_array
from rowmill.schemas.row import Shard
from rowmill.schemas.tally import Tally
from rowmill.tasks.answers.validator import output_value
from rowmill.tasks.fields.grading import Grader
from rowmill.tasks.fields.tree import field_tree
from rowmill.tasks.input.kept_columns import Pick
from rowmill.tasks.output.label_columns import LABEL_COLUMNS, label_column, votes_array
from rowmill.tasks.output.part_grades import FIELD_CORRECT, PartGrades
from rowmill.tasks.output.part_notes import NotedRows, PartNotes
from rowmill.tasks.system.durable import published

GROUP_ROWS = 5_000
# Outcomes held as objects at a time: few enough that their memory is used again.
BATCH_ROWS = 500
FOOTER = "rowmill.part"
PART_VERSION = 1
FIELD_AGREEMENT = "field_agreement"


@dataclass(frozen=True, slots=True)
class Footer:
    """What a part tells about itself in its own file: which rows, of which job, and their sums."""

    version: int
    job: str
    shard: Shard
    complete: bool
    tally: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PartColumns:
    """What the columns of a part are made of.

    `shape` types the outputs (None where they are texts), `kept` gives the kept columns of rows, and the gold that a
    `grader` holds their answers against.
    """

    schema: pa.Schema
    shape: Shape | None = None
    kept: Pick | None = None
    grader: Grader | None = None

    def written_with(self, footer: Footer) -> pa.Schema:
        """The schema as a part's file holds it."""
        return self.schema.with_metadata({**(self.schema.metadata or {}), FOOTER.encode(): msgspec.json.encode(footer)})


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
        while group := list(islice(encoded, GROUP_ROWS // BATCH_ROWS)):
            writer.write_table(pa.concat_tables(group))
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


Column = Callable[[Sequence[Outcome]], pa.Array]


def encode_batch(outcomes: Sequence[Outcome], columns: PartColumns, grades: PartGrades | None = None) -> pa.Table:
    """Outcomes → some rows of the results. `grades` takes down how each is held against its gold."""
    schema, shape = columns.schema, columns.shape
    picked = None if columns.kept is None else columns.kept([outcome.row_index for outcome in outcomes])
    arrays: list[pa.Array | pa.ChunkedArray] = []
    for column in schema:
        if column.name == "output":
            arrays.append(_outputs(outcomes, column.type, shape))
        elif column.name == FIELD_CORRECT and grades is not None and picked is not None:
            arrays.append(grades.column(outcomes, picked))
        elif column.name in _COLUMNS:
            arrays.append(_COLUMNS[column.name](outcomes))
        elif column.name == FIELD_AGREEMENT and shape is not None:
            rows = [outcome.voting.agreement or None if outcome.voting else None for outcome in outcomes]
            arrays.append(field_tree(shape).column(rows, pa.float64()))
        elif column.name == "votes":
            arrays.append(votes_array([outcome.labelling or outcome.voting for outcome in outcomes], column.type))
        elif column.name in LABEL_COLUMNS:
            arrays.append(label_column(column.name, column.type, [outcome.labelling for outcome in outcomes]))
        else:
            known = picked is not None and column.name in picked.column_names
            arrays.append(picked.column(column.name) if known else pa.nulls(len(outcomes), column.type))  # type: ignore[union-attr]
    return pa.Table.from_arrays(arrays, schema=pa.schema(list(schema)))


def _outputs(outcomes: Sequence[Outcome], type_: pa.DataType, shape: Shape | None) -> pa.Array:
    texts = [outcome.output_text for outcome in outcomes]
    if shape is None:
        return pa.array(texts, type_)
    return pa.array([None if text is None else output_value(text, shape) for text in texts], type_)


def _plain(type_: pa.DataType, path: str) -> Column:
    of = attrgetter(path)
    return lambda outcomes: pa.array(list(map(of, outcomes)), type_)


def _amount(path: str) -> Column:
    of = attrgetter(path)
    return lambda outcomes: money_array(list(map(of, outcomes)))


def _cost(name: str) -> Column:
    def column(outcomes: Sequence[Outcome]) -> pa.Array:
        costs = map(attrgetter("spent.cost"), outcomes)
        return money_array([None if cost is None else getattr(cost, name) for cost in costs])

    return column


_COLUMNS: dict[str, Column] = {
    **{
        name: _plain(pa.string(), name)
        for name in (
            "row_id", "status", "response_text", "repair", "error_kind", "error_message", "finish_reason",
            "model", "reused_from", "request_key", "price_version", "run_id", "thoughts", "grounding",
        )
    },
    "row_index": _plain(pa.int64(), "row_index"),
    "attempts": _plain(pa.int32(), "spent.attempts"),
    "input_tokens": _plain(pa.int64(), "spent.usage.input"),
    "output_tokens": _plain(pa.int64(), "spent.usage.output"),
    "thought_tokens": _plain(pa.int64(), "spent.usage.thoughts"),
    "cost_usd": _cost("usd"),
    "cost_credits": _cost("credits"),
    "wasted_cost_usd": _amount("wasted_usd"),
    "cost_unknown": _plain(pa.bool_(), "spent.unknown"),
    "latency_ms": _plain(pa.int64(), "latency_ms"),
    "started_at": _plain(TIME, "started_at"),
    "finished_at": _plain(TIME, "finished_at"),
    "evidence": lambda outcomes: pa.array(
        [None if one.evidence is None else [evidence_value(value) for value in one.evidence] for one in outcomes],
        EVIDENCE_COLUMNS["evidence"],
    ),
    "value_in_quote": lambda outcomes: pa.array(
        [None if one.evidence is None else [value.value_in_quote for value in one.evidence] for one in outcomes],
        EVIDENCE_COLUMNS["value_in_quote"],
    ),
    "tool_calls": lambda outcomes: pa.array(
        [
            [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in outcome.tool_calls]
            for outcome in outcomes
        ],
        TOOL_CALLS,
    ),
}  # fmt: skip


def read_footer(path: Path) -> Footer:
    """A part's own account of itself. Raises DamageError where the file is cut or was made by something else."""
    try:
        with pq.ParquetFile(path, pre_buffer=False) as parquet:
            told = (parquet.schema_arrow.metadata or {}).get(FOOTER.encode())
        footer = msgspec.json.decode(told or b"", type=Footer)
    except (OSError, pa.ArrowException, msgspec.MsgspecError, ValueError) as error:
        raise _damaged(path, error) from None
    return footer


def _damaged(path: Path, error: Exception) -> DamageError:
    return DamageError(
        f"the part is damaged: {(str(error).splitlines() or ['unreadable'])[0][:200]}",
        where=str(path),
        hint=f"restore it from a copy, or run with --fresh-part {_part_number(path)}: it is moved aside, and its rows "
        "are asked (and paid for) again",
    )


def _part_number(path: Path) -> str:
    return path.name.removeprefix("part-").split(".")[0].lstrip("0") or "0"


def part_digest(path: Path) -> PartDigest:
    """Size and blake2b-128 of a part as it stands: a Parquet footer has no checksum of its own."""
    found = blake2b(digest_size=16)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
        return PartDigest(file.tell(), found.hexdigest())


def verify_part(path: Path, digest: PartDigest | None) -> None:
    """Read a part whole, against the digest the manifest holds and its pages' checksums. Raises DamageError."""
    try:
        if digest is not None and part_digest(path) != digest:
            raise ValueError("it is not as it was written (its digest differs from the manifest's)")
        with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as parquet:
            for _ in parquet.iter_batches(GROUP_ROWS, use_threads=False):
                pass
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _damaged(path, error) from None


def tally_of(footer: Footer) -> Tally:
    """A part's sums, from its footer."""
    return msgspec.convert(footer.tally, Tally)


def tally_value(tally: Tally) -> dict[str, Any]:
    """A tally as the footer holds it."""
    value: dict[str, Any] = msgspec.to_builtins(tally)
    return value


def output_metadata(schema: Any, shape: Shape) -> dict[str, str]:
    """The job's own schema, kept in the file that was typed from it, and which fields of `output` are JSON text."""
    if schema is None:
        return {}
    fields = encode_json([field.pointer for field in shape.json_text_fields]).decode()
    return {"rowmill.schema": encode_json(schema).decode(), "rowmill.json_text_fields": fields}
