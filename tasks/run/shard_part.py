"""Shard part: the part of one shard, made from its journal and from the rows that stand in former parts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from rowmill.schemas.manifest import PartDigest
from rowmill.tasks.output.moved_shard import MovedShard
from rowmill.tasks.output.part_columns import PartColumns
from rowmill.tasks.output.part_footer import PART_VERSION, Footer, part_digest, tally_value
from rowmill.tasks.output.part_writer import BATCH_ROWS, GROUP_ROWS, Mixed, write_mixed_part, write_part
from rowmill.tasks.run.open_shard import OpenShard
from rowmill.tasks.run.shard_context import ShardContext


def write_shard_part(
    context: ShardContext, opened: OpenShard, *, moved: MovedShard | None, complete: bool
) -> PartDigest:
    """Write the part of a shard, or a preview of it where rows are missing. Returns its digest; empty without rows.

    Raises StorageError, DamageError.
    """
    shard, segment = opened.shard, opened.segment
    rows = sorted(segment.settled)
    if not rows and moved is None:
        return PartDigest()
    footer = Footer(PART_VERSION, context.job_fingerprint, shard, complete, tally_value(opened.tally))
    shape = context.validator.shape if context.validator.has_schema else None
    path, projection = context.output.part_path(shard.number), context.projection
    assert projection is not None
    lines = context.lines.of(shard) if context.lines is not None and complete else None
    columns = PartColumns(projection.schema, shape, projection.kept.of(shard), projection.grader)
    if moved is not None and lines is not None:
        groups = _mixed(opened, rows, moved)
        write_mixed_part(path, columns, groups, footer=footer, lines=lines)
    else:
        batches = (segment.outcomes(rows[at : at + BATCH_ROWS]) for at in range(0, len(rows), BATCH_ROWS))
        write_part(path, columns, batches, footer=footer, lines=lines)
    context.output.keep(path)
    return part_digest(path)


def _mixed(opened: OpenShard, settled: Sequence[int], moved: MovedShard) -> Iterator[Mixed]:
    """The rows of a shard, GROUP_ROWS at a time: those that are moved, and those that were settled here."""
    shard = opened.shard
    for first in range(shard.first_row, shard.first_row + shard.rows, GROUP_ROWS):
        rows = settled[bisect_left(settled, first) : bisect_left(settled, first + GROUP_ROWS)]
        yield moved.between(first, first + GROUP_ROWS), opened.segment.outcomes(rows) if rows else []
