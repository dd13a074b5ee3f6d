"""Job files: every wrong key at once, each with its line and column."""

from __future__ import annotations

import pytest

from rowmill.schemas.errors import JobError
from rowmill.tasks.job.job_file import load_job

WRONG = """model: gemini-3-pro
input: rows.jsonl
output: out
promt: x
limits:
  concurrency: 0
  rmp: 5
params: {temperature: 9}
keep: [a, a]
"""


def test_every_wrong_key_is_told_with_its_place(tmp_path):
    """Misspelt keys, values out of range and columns named twice: all in one message, by line and column."""
    (tmp_path / "job.yaml").write_text(WRONG)
    with pytest.raises(JobError) as caught:
        load_job(tmp_path / "job.yaml")
    told = str(caught.value)
    for words in (
        "did you mean 'prompt'? (line 4, column 1)", "limits.concurrency: input should be greater than 0 (line 6, column 3)",
        "did you mean 'rpm'? (line 7, column 3)", "(line 8, column 10)", "the column 'a' stands twice (line 9, column 1)",
    ):  # fmt: skip
        assert words in told, told


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("stop_when: 0.5", "stop_when: a section is expected, with the keys not_ok, after"),
        ("budget: team", "budget: a section is expected, with the keys name, usd_per_day, time_zone"),
        ("keep: text", r"keep: a list is expected: write \[text\]"),
        ("gold: true", "gold: gold is the name of a column"),
        ("votes: many", "votes: votes is a number, such as 3"),
        ("votes: 2.5", "votes: votes is a number, such as 3"),
    ],
)
def test_a_value_of_another_kind_is_told_with_what_belongs_there(tmp_path, line, told):
    """In the words of a job file, and not in those of the classes behind it."""
    (tmp_path / "job.yaml").write_text(f"model: m\ninput: i\noutput: o\n{line}\n")
    with pytest.raises(JobError, match=told + r".*\(line 4, column 1\)"):
        load_job(tmp_path / "job.yaml")


def test_a_number_may_be_written_as_text(tmp_path):
    """`votes: "3"` is 3, as it is for every other number of a job."""
    schema = "schema: {type: object, properties: {a: {type: string}}}\n"
    (tmp_path / "job.yaml").write_text(
        f'model: m\ninput: i\noutput: o\nprompt: x\n{schema}votes: "3"\nrows_per_call: "5"\n'
    )
    job = load_job(tmp_path / "job.yaml")
    assert (job.votes.most, job.rows_per_call) == (3, 5)


def test_a_missing_key_and_a_flag_have_no_place(tmp_path):
    """What the file does not hold is named without a line; so is what a flag set."""
    (tmp_path / "job.yaml").write_text("model: gemini-3-pro\ninput: rows.jsonl\n")
    with pytest.raises(JobError, match="the key 'output' is missing$"):
        load_job(tmp_path / "job.yaml")
    with pytest.raises(JobError, match="limits.rpm: input should be greater than 0$"):
        load_job(tmp_path / "job.yaml", {"output": "out", "limits.rpm": -1})


def test_other_kinds_of_files_name_the_key_alone(tmp_path):
    """JSON and TOML have no places, and the same words."""
    (tmp_path / "job.json").write_text('{"model": "m", "input": "i", "output": "o", "promt": "x"}')
    with pytest.raises(JobError, match="did you mean 'prompt'\\?$"):
        load_job(tmp_path / "job.json")


def test_an_alias_that_holds_itself_is_no_end_of_the_world(tmp_path):
    """YAML can refer to itself; the job is refused in words."""
    (tmp_path / "job.yaml").write_text("model: m\ninput: i\noutput: o\nkeep: &a [*a]\n")
    with pytest.raises(JobError, match="keep"):
        load_job(tmp_path / "job.yaml")


@pytest.mark.parametrize("content", [b"a;b\n1;2\n", "a;b\nMüller;2\n".encode("cp1252")])
def test_rows_in_place_of_a_job_are_told_as_such(tmp_path, content):
    """Whatever the rows are written in, the key that names them is told."""
    (tmp_path / "kunden.csv").write_bytes(content)
    with pytest.raises(JobError, match=r"unknown kind of job file \.csv.*input: kunden\.csv"):
        load_job(tmp_path / "kunden.csv")


def test_a_value_that_a_flag_gave_is_not_looked_for_in_the_file(tmp_path):
    """What is wrong with it is told without the line of the key, which holds another value."""
    path = tmp_path / "job.yaml"
    path.write_text("model: gemini-3-pro\ninput: a.jsonl\noutput: out\nprompt: Hi\nmax_cost_usd: 1\n")
    with pytest.raises(JobError, match=r"max_cost_usd: input should be greater than 0$"):
        load_job(path, {"max_cost_usd": "0"})
