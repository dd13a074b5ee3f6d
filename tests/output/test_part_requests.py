"""What a part's rows asked and are called is the same whether columns are read or the file's statistics tell them."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.parts import outcome
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.results import results_schema
from rowmill.schemas.row import Cursor, Shard
from rowmill.tasks.input.key_index import id_key
from rowmill.tasks.input.key_table import key_array
from rowmill.tasks.output import part_writer
from rowmill.tasks.output.known_rows import StandingRows
from rowmill.tasks.output.layout import Layout
from rowmill.tasks.output.part_columns import PartColumns
from rowmill.tasks.output.part_footer import PART_VERSION, Footer
from rowmill.tasks.output.part_notes import LINE_BYTES
from rowmill.tasks.output.part_requests import requests_in
from rowmill.tasks.output.part_writer import write_part

KINDS = {
    "ok": {},
    "invalid": {"status": Status.INVALID},
    "shared": {"reused_from": "r0"},
    "never asked": {"status": Status.FAILED, "request_key": None},
    "unreadable": {"status": Status.UNREADABLE, "request_key": None},
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=12), first=st.integers(0, 9))
@pytest.mark.parametrize("group", [2, 500])
def test_requests_and_ids_are_those_of_the_rows(tmp_path, monkeypatch, kinds, first, group):
    """Whichever rows were shared, refused, unreadable or all alike, each is told with its key, place and state."""
    monkeypatch.setattr(part_writer, "BATCH_ROWS", group)
    monkeypatch.setattr(part_writer, "GROUP_ROWS", group)
    rows = [msgspec.structs.replace(outcome(first + at), **KINDS[kind]) for at, kind in enumerate(kinds)]
    output = Layout(tmp_path)
    output.results.mkdir(exist_ok=True)
    shard = Shard(0, first, len(rows), Cursor("f", 0, 0), "d")
    footer = Footer(PART_VERSION, "job", shard, True, {})
    batches = [rows[at : at + group] for at in range(0, len(rows), group)]
    path = output.part_path(0)
    write_part(
        path, PartColumns(results_schema({}, pa.string())), batches, footer=footer, lines=bytes(LINE_BYTES * len(rows))
    )

    asked = [(at, row) for at, row in enumerate(rows) if row.request_key is not None]
    found = list(requests_in(path))
    assert np.concatenate([one.keys for one in found]).tolist() == key_array([_key(row) for _, row in asked]).tolist()
    for name, of in (
        ("at", lambda at, row: at),
        ("rows", lambda at, row: row.row_index),
        ("is_shared", lambda at, row: row.reused_from is not None),
        ("is_ok", lambda at, row: row.status is Status.OK),
    ):
        assert np.concatenate([getattr(one, name) for one in found]).tolist() == [of(*one) for one in asked], name

    known = StandingRows(output, {0: footer}, "job", keep=(), named=True, lines=True).known(shard, None)
    read = [row for row in rows if row.status is not Status.UNREADABLE]
    assert known is not None
    assert known.ids.tolist() == key_array([id_key(row.row_id) for row in read]).tolist()
    assert known.rows.tolist() == [row.row_index for row in read]
    assert pq.read_metadata(path).num_row_groups == -(-len(rows) // group)


def _key(row: Outcome) -> bytes:
    return bytes.fromhex(row.request_key or "")
