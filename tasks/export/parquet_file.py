"""Parquet file: the flat table with its types."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from rowmill.tasks.export.rows import Table
from rowmill.tasks.system.durable import published


def write_parquet(path: Path, table: Table) -> int:
    """One file, columns typed as in the results. Returns how many rows. Raises StorageError."""
    count = 0
    with published(path, "the export") as file, pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for batch in table.batches:
            writer.write_batch(batch)
            count += batch.num_rows
    return count
