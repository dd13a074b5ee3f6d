"""Reprojection: parts that stand are given other kept columns and other gold, from the input. Nothing is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.schemas.manifest import PartDigest
from rowmill.schemas.results import FIELD_CORRECT, RESERVED, weighed_columns
from rowmill.schemas.row import Shard
from rowmill.tasks.answers.validator import Validator
from rowmill.tasks.fields.grading import Grader
from rowmill.tasks.input.kept_columns import KeptColumns, Pick
from rowmill.tasks.output.layout import Layout
from rowmill.tasks.output.part_footer import part_digest
from rowmill.tasks.output.part_grades import GOLD, PartGrades
from rowmill.tasks.output.part_notes import notes_of
from rowmill.tasks.output.part_reader import PartReader
from rowmill.tasks.output.part_writer import writing

# Columns that a run fills at its end where votes are weighed.
WEIGHED = frozenset(weighed_columns())


@dataclass(frozen=True, slots=True)
class Projection:
    """What parts are made of beside their answers: columns of the input, and grades against its gold."""

    schema: pa.Schema
    kept: KeptColumns
    grader: Grader | None
    validator: Validator


def keep_anew(shards: Iterable[Shard], output: Layout, projection: Projection) -> dict[str, PartDigest]:
    """Write the parts of these shards again that were made of other columns or gold. Returns their digests.

    Raises StorageError; InputError where the input is not as it was surveyed.
    """
    digests = {}
    for shard in shards:
        path = output.part_path(shard.number)
        if path.exists() and not keeps(path, projection.schema):
            rewrite_kept(path, projection, projection.kept.of(shard))
            output.keep(path)
            digests[path.name] = part_digest(path)
    return digests


def keeps(path: Path, schema: pa.Schema) -> bool:
    """Whether the kept columns of a part are those of this schema, in its order and with its types, and its gold is."""
    had = pq.read_schema(path)
    kept, wanted = ([field for field in one if field.name not in RESERVED] for one in (had, schema))
    weighed = [[name for name in one.names if name in WEIGHED] for one in (had, schema)]
    if weighed[0] != weighed[1]:
        return False
    marks = [(one.metadata or {}).get(GOLD.encode()) for one in (had, schema)]
    return len(kept) == len(wanted) and all(map(pa.Field.equals, kept, wanted)) and marks[0] == marks[1]


def rewrite_kept(path: Path, projection: Projection, kept: Pick) -> None:
    """Write a part again as it is projected now; its answers and their cost stay. Raises as `write_part` does."""
    grades = PartGrades(projection.grader) if projection.grader is not None else None
    reader = PartReader(path, projection.validator)
    with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as part:
        schema = _schema_of(part.schema_arrow, projection.schema)
        own = [name for name in part.schema_arrow.names if name in RESERVED and name != FIELD_CORRECT]
        empty = [field for field in schema if field.name in WEIGHED and field.name not in own]
        with writing(path, schema) as writer:
            for group in range(part.num_row_groups):
                table = part.read_row_group(group, columns=own, use_threads=False)
                picked = kept(table.column("row_index").to_pylist())
                table = _with_nulls(table, empty)
                columns = {name: (table if name in RESERVED else picked).column(name) for name in schema.names
                           if name != FIELD_CORRECT}  # fmt: skip
                if grades is not None:
                    columns[FIELD_CORRECT] = grades.column(reader.outcomes(group), picked)
                arrays = [columns[name] for name in schema.names]
                writer.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(list(schema))))
            notes = notes_of(part.metadata.metadata)
            writer.add_key_value_metadata({**notes, **(grades.metadata() if grades is not None else {})})


def _with_nulls(table: pa.Table, fields: Iterable[pa.Field]) -> pa.Table:
    for field in fields:
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table


def _schema_of(part: pa.Schema, wanted: pa.Schema) -> pa.Schema:
    """The columns of a part with those that are projected now; what its answers fill stays as it was."""
    own = [name for name in part.names if name in RESERVED]
    metadata = {key: value for key, value in (part.metadata or {}).items() if key != GOLD.encode()}
    fields = [
        field for field in wanted
        if field.name in own or field.name not in RESERVED or field.name in (FIELD_CORRECT, *WEIGHED)
    ]  # fmt: skip
    return pa.schema(fields, {**metadata, **(wanted.metadata or {})})
