"""Which output an argument names."""

from __future__ import annotations

from pathlib import Path

import pytest

from rowmill.flows.orchestration.named_output import output_of
from rowmill.schemas.errors import RowmillError
from rowmill.tasks.job.job_file import load_job


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/job.yaml").write_text("{model: gemini-3-pro, input: rows.jsonl, output: out/x, prompt: Hi}")
    return tmp_path


def test_an_output_is_named_by_its_folder_by_a_file_in_it_or_by_its_job(folder):
    """The folder itself, a file of it, the job file that writes it, the folder of that; an address is left alone."""
    out = folder / "mine/out/x"
    with pytest.raises(RowmillError, match=r"not been run yet.*rowmill run mine/job.yaml"):
        output_of("mine/job.yaml")
    out.mkdir(parents=True)
    (out / "run.json").write_text("{}")
    for told in ("mine/out/x", "mine/out/x/run.json", "mine/job.yaml", "mine"):
        assert output_of(told) == "mine/out/x"
    assert output_of("s3://bucket/folder") == "s3://bucket/folder"
    assert output_of("nowhere") == "nowhere"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("a.yaml", "model: [", "not valid YAML"), ("a.json", "{}", "is missing"), ("rows.csv", "a", "this is a file")],
)
def test_a_file_that_names_no_output_says_what_to_type(folder, name, content, words):
    """A file that is no job is refused with what is wrong with it, and what to name."""
    (folder / name).write_text(content)
    with pytest.raises(RowmillError, match=words) as refused:
        output_of(name)
    assert refused.value.hint


def test_a_folder_in_place_of_a_job_names_the_job_in_it(folder):
    """The job file of the folder, or that it is an output."""
    with pytest.raises(RowmillError, match=r"mine/job\.yaml"):
        load_job(Path("mine"))
    (folder / "run.json").write_text("{}")
    with pytest.raises(RowmillError, match="output of a run"):
        load_job(folder)
