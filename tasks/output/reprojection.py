"""Reprojection: parts that stand are given other kept columns, from the input. Nothing is asked for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.schemas.results import RESERVED
from rowmill.schemas.row import Shard
from rowmill.tasks.input.kept_columns import KeptColumns, Pick
from rowmill.tasks.output.folder import Layout
from rowmill.tasks.output.part_writer import part_digest, writing


def keep_anew(
    shards: Iterable[Shard], output: Layout, schema: pa.Schema, kept: KeptColumns
) -> dict[str, dict[str, Any]]:
    """Give the parts of these shards the kept columns of `schema` where they have others. Returns their digests.

    Raises StorageError; InputError where the input is not as it was surveyed.
    """
    digests = {}
    for shard in shards:
        path = output.part_path(shard.number)
        if path.exists() and not keeps(path, schema):
            rewrite_kept(path, schema, kept.of(shard))
            output.keep(path)
            digests[path.name] = part_digest(path)
    return digests


def keeps(path: Path, schema: pa.Schema) -> bool:
    """Whether the kept columns of a part are those of this schema, in its order and with its types."""
    kept, wanted = ([field for field in one if field.name not in RESERVED] for one in (pq.read_schema(path), schema))
    return len(kept) == len(wanted) and all(map(pa.Field.equals, kept, wanted))


def rewrite_kept(path: Path, schema: pa.Schema, kept: Pick) -> None:
    """Write a part again with the kept columns of `schema`; all else of it stays. Raises as `write_part` does."""
    with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as part:
        metadata = {**(part.schema_arrow.metadata or {}), **(schema.metadata or {})}
        own = [name for name in part.schema_arrow.names if name in RESERVED]
        schema = pa.schema([field for field in schema if field.name in own or field.name not in RESERVED], metadata)
        with writing(path, schema) as writer:
            for group in range(part.num_row_groups):
                table = part.read_row_group(group, columns=own, use_threads=False)
                picked = kept(table.column("row_index").to_pylist())
                columns = [(table if name in RESERVED else picked).column(name) for name in schema.names]
                writer.write_table(pa.Table.from_arrays(columns, schema=pa.schema(list(schema))))
