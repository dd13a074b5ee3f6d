"""Divide: contiguous parts that hold every row once, and keep their rows while the input grows."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowmill.schemas.errors import InputError
from rowmill.schemas.part_of import PartOf
from rowmill.tasks.input.divide import Extent, divide, refuse_moved
from rowmill.tasks.input.formats import lines
from rowmill.tasks.input.listing import files_of_part, input_files

MOST = 1 << 20


def rows_of_parts(pattern: str, extents: Sequence[Extent]) -> list[list[bytes]]:
    """The raw rows of each part, by the listing as it is now."""
    found = []
    for number, extent in enumerate(extents, 1):
        part = PartOf(name="t", output="out", part=number, parts=len(extents), first=extent.first, end=extent.end)
        files = files_of_part(input_files(pattern), part)
        refuse_moved(part, files, MOST)
        found.append([line.raw for file in files for line in lines(file, file.start, MOST)])
    return found


def write(path: Path, numbers: range) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"n": n, "text": "x" * (n % 7)}) + "\n" for n in numbers))
    else:
        frame = pl.DataFrame({"n": list(numbers), "text": ["x" * (n % 7) for n in numbers]})
        getattr(frame, {".parquet": "write_parquet", ".csv": "write_csv", ".arrow": "write_ipc"}[path.suffix])(path)


@settings(max_examples=20)
@given(
    st.sampled_from([".jsonl", ".csv", ".parquet", ".arrow"]),
    st.lists(st.integers(0, 40), min_size=1, max_size=6),
    st.integers(1, 60),
)
def test_every_row_is_in_one_part(ending: str, sizes: list[int], parts: int) -> None:
    """Whatever the files' sizes and however many parts: the parts together are the input, in its order, and where rows
    were counted no part is empty and none has more than one more than another.
    """
    with tempfile.TemporaryDirectory() as folder:
        first = 0
        for place, size in enumerate(sizes):
            write(Path(folder, f"f{place}{ending}"), range(first, first + size))
            first += size
        files = input_files(folder)
        extents = divide(files, parts, MOST)
        found = rows_of_parts(folder, extents)
        assert [row for rows in found for row in rows] == [
            line.raw for file in files for line in lines(file, file.start, MOST)
        ]
        counted = [extent.rows for extent in extents]
        if None not in counted:
            assert counted == [len(rows) for rows in found]
            assert len(extents) == max(1, min(parts, sum(sizes)))
            assert max(counted) - min(counted) <= 1


def test_ranges_stay_when_rows_are_appended_and_files_are_added(tmp_path: Path) -> None:
    """Appended rows are the last part's; a new file goes where its name puts it; all other parts keep their rows."""
    write(tmp_path / "b.jsonl", range(90))
    one_file = divide(input_files(str(tmp_path)), 3, MOST)
    before = rows_of_parts(str(tmp_path), one_file)
    with (tmp_path / "b.jsonl").open("a") as file:
        file.write('{"n": 90}\n')
    after = rows_of_parts(str(tmp_path), one_file)
    assert after == [*before[:2], [*before[2], b'{"n": 90}\n']]
    write(tmp_path / "a.jsonl", range(100, 105))
    assert [len(rows) for rows in rows_of_parts(str(tmp_path), one_file)] == [35, 30, 31]
    for name in "cde":
        write(tmp_path / f"{name}.jsonl", range(90))
    by_files = divide(input_files(str(tmp_path)), 4, MOST)
    assert [extent.rows for extent in by_files] == [None] * 4
    before = rows_of_parts(str(tmp_path), by_files)
    write(tmp_path / "cc.jsonl", range(7))
    after = rows_of_parts(str(tmp_path), by_files)
    assert [len(now) - len(then) for now, then in zip(after, before, strict=True)] == [0, 7, 0, 0]


def test_one_giant_among_small_files_is_divided_itself(tmp_path: Path) -> None:
    """Files are kept whole only where that is even enough."""
    write(tmp_path / "a.jsonl", range(3_000))
    for name in "bcdef":
        write(tmp_path / f"{name}.jsonl", range(10))
    found = rows_of_parts(str(tmp_path), divide(input_files(str(tmp_path)), 3, MOST))
    assert [len(rows) for rows in found] == [1017, 1016, 1017]


def test_a_row_that_moved_is_refused(tmp_path: Path) -> None:
    """A row that came or went before a part's first would have it read from the middle of another row."""
    write(tmp_path / "a.jsonl", range(30))
    extents = divide(input_files(str(tmp_path)), 2, MOST)
    content = (tmp_path / "a.jsonl").read_bytes()
    (tmp_path / "a.jsonl").write_bytes(b'{"n": -1}\n' + content)
    with pytest.raises(InputError, match="another row stands where part 2 of 2 began"):
        rows_of_parts(str(tmp_path), extents)
    (tmp_path / "a.jsonl").rename(tmp_path / "b.jsonl")
    with pytest.raises(InputError, match="not in the input any more"):
        rows_of_parts(str(tmp_path), extents)
