"""A part is written whole or not at all, whichever thread meets the trouble."""

from __future__ import annotations

import errno

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.parts import outcome
from rowmill.schemas.errors import DamageError, StorageError
from rowmill.schemas.results import results_schema
from rowmill.schemas.row import Cursor, Shard
from rowmill.tasks.output import part_writer
from rowmill.tasks.output.part_columns import PartColumns
from rowmill.tasks.output.part_footer import PART_VERSION, Footer
from rowmill.tasks.output.part_writer import write_part

ROWS = 12


def batches(broken: bool = False):
    for row in range(ROWS):
        if broken and row == ROWS - 1:
            raise DamageError("the outcome is damaged", where="here", hint="none")
        yield [outcome(row)]


def write(folder, found) -> None:
    footer = Footer(PART_VERSION, "job", Shard(0, 0, ROWS, Cursor("f", 0, 0), "d"), True, {})
    write_part(folder / "part.parquet", PartColumns(results_schema({}, pa.string())), found, footer=footer)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Groups of two rows."""
    monkeypatch.setattr(part_writer, "GROUP_ROWS", 2)
    monkeypatch.setattr(part_writer, "BATCH_ROWS", 1)


def test_groups_stand_in_the_order_of_the_rows(tmp_path):
    """Packed by another thread, each group comes after the one before it."""
    write(tmp_path, batches())
    assert pq.read_table(tmp_path / "part.parquet").column("row_index").to_pylist() == list(range(ROWS))
    assert pq.read_metadata(tmp_path / "part.parquet").num_row_groups == ROWS // 2


@pytest.mark.parametrize("at", [1, ROWS // 2])
def test_a_full_disk_is_told_from_the_thread_that_packs(tmp_path, monkeypatch, at):
    """What the packing thread meets is the part's error, also where it is met in the last group, and no part stands."""
    write_table, groups = pq.ParquetWriter.write_table, []

    def full(self, table, *rest):
        groups.append(table)
        if len(groups) == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_table(self, table, *rest)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(StorageError, match="No space left"):
        write(tmp_path, batches())
    assert not list(tmp_path.iterdir())


def test_damage_met_while_a_group_is_packed_leaves_no_part(tmp_path):
    """An outcome that cannot be read ends the part, whatever is being packed meanwhile."""
    with pytest.raises(DamageError):
        write(tmp_path, batches(broken=True))
    assert not list(tmp_path.iterdir())
