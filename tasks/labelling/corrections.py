"""Corrections: what people decided, put into the results. No later run overwrites it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rowmill.schemas.label import Labels
from rowmill.schemas.outcome import Status
from rowmill.tasks.labelling.judgements import Corrections
from rowmill.tasks.output.label_columns import labels_array, labels_of
from rowmill.tasks.output.part_notes import notes_of
from rowmill.tasks.system.durable import published

ANSWERED = frozenset({Status.OK.value, Status.INVALID.value, Status.REFUSED.value})


def apply_corrections(part: Path, found: Corrections) -> bool:
    """Give rows of a part what people said: `label` and `gold` are theirs, `correct` tells whether the votes had it.

    The part is replaced in one step. Returns whether anything was new. Raises StorageError.
    """
    ids = pa.array(sorted(found), pa.string())
    rows = pq.read_table(part, columns=["row_id", "status", "label", "gold", "voted_label", "correct"])
    places = pc.indices_nonzero(pc.is_in(rows["row_id"], ids)).to_pylist()
    labels, gold, voted = (
        [labels_of(value) for value in rows[name].to_pylist()] for name in ("label", "gold", "voted_label")
    )
    names, status, correct = (rows[name].to_pylist() for name in ("row_id", "status", "correct"))
    changed = False
    for at in places:
        said = found[names[at]]
        is_correct = is_right(status[at], voted[at], said)
        changed |= said != labels[at] or said != gold[at] or is_correct != correct[at]
        labels[at] = gold[at] = said
        correct[at] = is_correct
    if not changed:
        return False

    def corrected(table: pa.Table) -> pa.Table:
        for name, values in (("label", labels), ("gold", gold)):
            table = replaced(table, name, labels_array(values, table.schema.field(name).type))
        return replaced(table, "correct", pa.array(correct, pa.bool_()))

    rewrite_part(part, corrected)
    return True


def rewrite_part(part: Path, changed: Callable[[pa.Table], pa.Table]) -> None:
    """Write a part again with other columns in one step; what it notes of its rows stays. Raises StorageError."""
    with pq.ParquetFile(part, pre_buffer=False, page_checksum_verification=True) as file:
        table, notes = changed(file.read()), notes_of(file.metadata.metadata)
    with (
        published(part, "the part") as sink,
        pq.ParquetWriter(sink, table.schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        writer.write_table(table, row_group_size=5_000)
        writer.add_key_value_metadata(notes)


def is_right(status: str, voted: Labels | None, gold: Labels) -> bool | None:
    """Whether the votes had a row's gold labels. None for a row that was never answered.

    A row that was answered and has no voted label (a tie, invalid, refused) is wrong, whoever labels it later.
    """
    if status not in ANSWERED:
        return None
    return voted is not None and set(voted) == set(gold)


def replaced(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """A table with other values in one of its columns."""
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), values)
