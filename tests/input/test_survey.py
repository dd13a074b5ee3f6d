"""Shards cover every row once, and a digest names their content."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowmill.schemas.row import Row
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.reader import shard_rows
from rowmill.tasks.input.survey import Surveyor


def write(path: Path, content: bytes) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content))
    elif path.suffix == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as out:
            out.write(content)
    else:
        path.write_bytes(content)
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    sizes=st.lists(st.integers(1, 5), max_size=3),
    limit=st.none() | st.integers(1, 20),
)
def test_shards_cover_every_row_once(tmp_path, counts, sizes, limit):
    """Shards are contiguous ranges that cover the input once, cut where the parts that stand were cut."""
    files = []
    for number, count in enumerate(counts):
        content = b"".join(b'{"v": "%d-%d"}\n' % (number, n) for n in range(count))
        files.append(InputFile(write(tmp_path / f"{number}.jsonl", content), "jsonl"))
    everything = [f"{number}-{n}" for number, count in enumerate(counts) for n in range(count)][:limit]
    with KeyIndex(tmp_path) as keys:
        surveyor = Surveyor(
            files, id_column="v", keep=["v"], keys=keys, sizes=dict(enumerate(sizes)), limit=limit, max_line_bytes=1_000
        )
        survey = surveyor.run_checked()
    found = [row.row_id for shard in survey.shards for row in shard_rows(shard, files, "v", max_line_bytes=1_000)]
    assert found == everything
    assert survey.rows == len(everything)
    starts = [shard.first_row for shard in survey.shards]
    assert starts == sorted(set(starts))
    for shard, size in zip(survey.shards, sizes, strict=False):
        assert shard.rows == min(size, len(everything) - shard.first_row)
    assert not survey.duplicates


def test_an_edited_row_changes_its_shards_digest_alone(tmp_path):
    """A shard's digest tells whether its rows are still the same."""

    def digests(content: bytes) -> list[str]:
        path = InputFile(write(tmp_path / "r.jsonl", content), "jsonl")
        with KeyIndex(tmp_path) as keys:
            surveyor = Surveyor(
                [path], id_column=None, keep=[], keys=keys, sizes={0: 2, 1: 2}, limit=None, max_line_bytes=99
            )
            return [shard.digest for shard in surveyor.run_checked().shards]

    before = digests(b'{"a":1}\n{"a":2}\n{"a":3}\n{"a":4}\n')
    after = digests(b'{"a":1}\n{"a":2}\n{"a":3}\n{"a":5}\n')
    assert before[0] == after[0]
    assert before[1] != after[1]


def row(**columns) -> Row:
    return Row(0, "0", columns, "f", 1)
