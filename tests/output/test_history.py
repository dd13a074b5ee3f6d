"""The history of an output: what is whole is read, what is torn is cut off, a later line stands for an earlier one."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import pytest

from rowmill.schemas.errors import DamageError, StorageError
from rowmill.schemas.history import RunRecord
from rowmill.tasks.output.history import append_history, read_history


def record(run_id: str, **more: object) -> RunRecord:
    told = {"run_id": run_id, "name": "n", "model": "m", "started_at": "2030-01-01T00:00:00+00:00", "kind": "complete"}
    return msgspec.convert(told | more, RunRecord)


def test_runs_are_read_as_they_were_appended(tmp_path: Path) -> None:
    """In their order, the file private; a later line of a run stands for its earlier one, in its place."""
    path = tmp_path / "history.jsonl"
    assert read_history(path) == []
    append_history(path, [])
    assert not path.exists()
    append_history(path, [record("a"), record("b")])
    append_history(path, [record("a", shares={"status": {"ok": (3, 4)}})])
    assert [one.run_id for one in read_history(path)] == ["a", "b"]
    assert read_history(path)[0].shares == {"status": {"ok": (3, 4)}}
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("tear", [b'{"run_id":"to', b"x" * 200_000])
def test_a_torn_line_is_cut_off(tmp_path: Path, tear: bytes) -> None:
    """What a kill left of a line is gone with the next one, and is no run."""
    path = tmp_path / "history.jsonl"
    append_history(path, [record("a")])
    with open(path, "ab") as file:
        file.write(tear)
    assert [one.run_id for one in read_history(path)] == ["a"]
    append_history(path, [record("b")])
    assert [one.run_id for one in read_history(path)] == ["a", "b"]
    assert tear not in path.read_bytes()


def test_a_line_of_something_else_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Damage in the middle costs its own line."""
    path = tmp_path / "history.jsonl"
    append_history(path, [record("a")])
    path.write_bytes(path.read_bytes() + b'{"run_id": 7}\n\xff\n')
    append_history(path, [record("b")])
    with caplog.at_level(logging.WARNING):
        assert [one.run_id for one in read_history(path)] == ["a", "b"]
    assert "line 2 is no record of a run" in caplog.text


def test_a_history_that_cannot_be_read_names_itself(tmp_path: Path) -> None:
    """A folder of its name, say: who reads it is told, in words."""
    (tmp_path / "history.jsonl").mkdir()
    with pytest.raises(DamageError, match="cannot be read"):
        read_history(tmp_path / "history.jsonl")
    with pytest.raises(StorageError):
        append_history(tmp_path / "history.jsonl", [record("a")])
