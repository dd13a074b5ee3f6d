"""Corrections: what people decided, put into the results. No later run overwrites it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rowmill.tasks.labelling.judgements import Corrections
from rowmill.tasks.output.label_columns import labels_array, labels_of
from rowmill.tasks.system.durable import published


def apply_corrections(part: Path, found: Corrections) -> bool:
    """Give rows of a part what people said: `label` and `gold` are theirs, `correct` tells whether the votes had it.

    The part is replaced in one step. Returns whether anything was new. Raises StorageError.
    """
    ids = pa.array(sorted(found), pa.string())
    rows = pq.read_table(part, columns=["row_id", "label", "gold", "voted_label"])
    places = pc.indices_nonzero(pc.is_in(rows["row_id"], ids)).to_pylist()
    labels, gold = ([labels_of(value) for value in rows[name].to_pylist()] for name in ("label", "gold"))
    new = [at for at in places if (said := found[rows["row_id"][at].as_py()]) != labels[at] or said != gold[at]]
    if not new:
        return False
    with pq.ParquetFile(part, pre_buffer=False, page_checksum_verification=True) as file:
        table = file.read()
    correct = table["correct"].to_pylist()
    voted = [labels_of(value) for value in rows["voted_label"].to_pylist()]
    for at in new:
        labels[at] = gold[at] = found[rows["row_id"][at].as_py()]
        correct[at] = None if voted[at] is None else set(voted[at] or ()) == set(gold[at] or ())
    for name, values in (("label", labels), ("gold", gold)):
        table = _replaced(table, name, labels_array(values, table.schema.field(name).type))
    table = _replaced(table, "correct", pa.array(correct, pa.bool_()))
    with (
        published(part, "the part") as sink,
        pq.ParquetWriter(sink, table.schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        writer.write_table(table, row_group_size=5_000)
    return True


def _replaced(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), values)
