"""Input files of any name and in any maze of links are found, once each, and read."""

from __future__ import annotations

import glob
import json
import os
import tempfile
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowmill.schemas.row import Row
from rowmill.tasks.input.files import name_of
from rowmill.tasks.input.formats import input_state
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.patterns import files_matching
from rowmill.tasks.input.reader import input_files, shard_rows
from rowmill.tasks.input.survey import Surveyor

names = st.sampled_from(["a", "b.jsonl", "c", ".hidden", "d.jsonl", "[x]"])
trees = st.lists(st.lists(names, min_size=1, max_size=4), max_size=12)
PATTERNS = [
    "**/*.jsonl",
    "a/**/*.jsonl",
    "**/a/**/*.jsonl",
    "**",
    "*/**",
    "**/c/*",
    "a**/*",
    "**/.hidden/*",
    "[[]x]/**/*",
    "**/**",
]


@settings(max_examples=50)
@given(trees, st.sampled_from(PATTERNS))
def test_without_links_a_pattern_matches_what_glob_matches(tree, pattern):
    """For trees of folders the files are those of the standard library's glob."""
    with tempfile.TemporaryDirectory() as root:
        for parts in tree:
            path = Path(root, *parts)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            except OSError:
                continue
        found = files_matching(os.path.join(glob.escape(root), pattern))
        expected = glob.glob(os.path.join(glob.escape(root), pattern), recursive=True)
        assert found == sorted({name for name in expected if os.path.isfile(name)})


def test_links_that_lead_back_end(tmp_path):
    """Links to the folder itself, to one above it and to each other end; every file is found once, by its own name."""
    for folder in ("a", "b/deep"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "rows.jsonl").write_text("{}\n")
    links = {"a/self": "a", "a/up": ".", "b/deep/root": ".", "b/deep/a": "a", "a/b": "b", "0": "b/deep"}
    for number in range(12):
        links[f"a/l{number}"] = "."
    for name, target in links.items():
        (tmp_path / name).symlink_to(tmp_path / target, target_is_directory=True)
    found = input_files(str(tmp_path / "**" / "*.jsonl"))
    assert [str(Path(str(file)).relative_to(tmp_path)) for file in found] == ["a/rows.jsonl", "b/deep/rows.jsonl"]
    assert [file.name for file in input_files(str(tmp_path))] == ["rows.jsonl", "rows.jsonl"]


def test_a_folder_behind_a_link_is_entered(tmp_path):
    """A link to a folder elsewhere is followed, as before."""
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "rows.jsonl").touch()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    assert files_matching(str(tmp_path / "data" / "**" / "*.jsonl")) == [str(tmp_path / "data" / "link" / "rows.jsonl")]


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_a_file_whose_name_is_no_utf8_is_read_as_any_other(tmp_path, ending):
    """Its name is written down as text that no other file has, and its rows are read."""
    folder = os.fsencode(tmp_path)
    for number, name in enumerate((b"\xff\xfe", b"\\xff\\xfe", b"\xffb", b"plain")):
        path = os.fsdecode(folder + b"/" + name + os.fsencode(ending))
        line = json.dumps({"n": number}).encode() + b"\n"
        with open(path, "wb") as file:
            if ending == ".parquet":
                pq.write_table(pa.table({"n": [number]}), file)
            elif ending == ".jsonl":
                file.write(line)
            else:
                with pa.CompressedOutputStream(file, "gzip" if ending == ".jsonl.gz" else "zstd") as packed:
                    packed.write(line)
    files = input_files(str(tmp_path / "*"))
    written = [name_of(file) for file in files]
    assert len(set(written)) == 4
    json.dumps(msgspec.to_builtins(input_state(files)), ensure_ascii=False).encode()
    with KeyIndex(tmp_path) as keys:
        survey = Surveyor(
            files, id_column=None, keep=[], keys=keys, sizes={}, limit=None, max_line_bytes=1 << 20
        ).run_checked()
    rows = [row for shard in survey.shards for row in shard_rows(shard, files, None, max_line_bytes=1 << 20)]
    assert sorted(row.columns["n"] for row in rows if isinstance(row, Row)) == [0, 1, 2, 3]
    assert {row.file for row in rows} == set(written)
