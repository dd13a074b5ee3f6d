"""What a worker has put of a shard's journal, as the coordinator and a reader find it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rowmill.tasks.output.bucket.objects import Objects
from rowmill.tasks.output.bucket.worker_pieces import PieceWriter, fetch_all, found_in, segment_name
from tests.buckets import OUT, environment_of

NAME = segment_name(0, "run_1", 5)


@pytest.fixture
def objects(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Objects:
    for name, value in environment_of(s3.meta.endpoint_url).items():
        monkeypatch.setenv(name, value)
    return Objects(OUT)


def put_pieces(objects: Objects, folder: Path, lines: list[bytes]) -> tuple[PieceWriter, Path]:
    """A holder that goes on from five bytes, and its file."""
    path = folder / "segment"
    path.write_bytes(b"head\n")
    writer = PieceWriter(objects, NAME, 5)
    for line in lines:
        path.write_bytes(path.read_bytes() + line)
        writer.append(path, path.stat().st_size)
    return writer, path


def test_a_segment_is_read_as_one_object_where_its_holder_has_ended(objects, tmp_path, monkeypatch):
    """One request and not one a piece; before the end, and of a holder that was killed, the pieces."""
    writer, path = put_pieces(objects, tmp_path, [b"one\n", b"two\n", b"three\n"])
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "shard-000000.jsonl").write_bytes(b"head\n")
    read: list[str] = []
    one_by_one, whole = Objects.get, Objects.chunks
    monkeypatch.setattr(Objects, "get", lambda self, name: read.append(name) or one_by_one(self, name))
    monkeypatch.setattr(Objects, "chunks", lambda self, name, **more: read.append(name) or whole(self, name, **more))
    for closed, requests in ((False, 3), (True, 1)):
        read.clear()
        if closed:
            writer.close(path)
        [pieces] = found_in(objects.list())
        assert (pieces.closed is not None) is closed
        fetched = pieces.fetch(objects, tmp_path)
        assert fetched is not None
        assert fetched.read_bytes() == b"head\none\ntwo\nthree\n"
        assert len(read) == requests


@pytest.mark.parametrize("closed", [False, True])
def test_a_segment_that_was_taken_over_since_it_was_listed_is_looked_for_again(objects, tmp_path, closed):
    """Whoever looks at a live run lists again, and is not told of a fault."""
    writer, path = put_pieces(objects, tmp_path, [b"one\n"])
    if closed:
        writer.close(path)
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "shard-000000.jsonl").write_bytes(b"head\n")
    listed = list(objects.list())
    objects.delete([one.name for one in listed])
    with pytest.raises(FileNotFoundError):
        fetch_all(objects, listed, tmp_path)
    assert found_in(objects.list()) == []
