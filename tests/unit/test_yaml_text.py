"""A job in YAML means what stands in it: words are words, keys stand once, and no file is larger than it looks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from rowmill.schemas.errors import JobError, RowmillError
from rowmill.tasks.answers.validator import Accepted, Validator
from rowmill.tasks.job.job_file import load_job
from rowmill.tasks.job.yaml_text import YamlTextError, read_yaml

WILD = Path(__file__).parents[1] / "data" / "wild" / "yaml_scalars.yaml"
HEAD = "model: gemini-3-pro\ninput: rows.jsonl\noutput: out\nprompt: x\n"


def cases() -> list[tuple[str, str, str, dict[str, object]]]:
    """Name, schema as it is written, answer and expectation of each case of the corpus."""
    text = WILD.read_text(encoding="utf-8")
    found = re.findall(r"- name: (\S+)\n  schema:\n((?:    .*\n)+)  answer: '(.*)'\n  expect: (.*)\n", text)
    return [(name, schema, answer, yaml.safe_load(expect)) for name, schema, answer, expect in found]


def test_the_corpus_is_read_whole():
    """Every case of the file is a case of the test below."""
    assert len(cases()) == WILD.read_text(encoding="utf-8").count("- name:")


@pytest.mark.parametrize(("name", "schema", "answer", "expect"), cases(), ids=[case[0] for case in cases()])
def test_unquoted_words_of_a_schema(tmp_path, name, schema, answer, expect):
    """They are taken as they are written, or the job is refused naming key, value and quotes; no row is lost to them."""
    allowed = {expect["status"], expect.get("or")}
    (tmp_path / "job.yaml").write_text(f"{HEAD}schema:\n{schema}")
    try:
        job = load_job(tmp_path / "job.yaml")
    except RowmillError as error:
        assert "refused by check" in allowed
        assert "quotes" in str(error)
        assert "enum" in str(error) or "const" in str(error)
        return
    assert "ok" in allowed
    verdict = Validator(job.output_schema).judge(answer)
    assert isinstance(verdict, Accepted), verdict
    if "value" in expect:
        assert json.loads(verdict.text) == expect["value"]


def test_scalars_are_those_of_yaml_1_2():
    """Yes and no, times and dates are text; numbers, true and null are what they look like; keys are text."""
    value = read_yaml(
        "[yes, No, on, OFF, 12:30, 2026-01-05, 1.2.3, 0b1, .inf, '1', true, False, null, ~, 7, -7, 0o17, 0x1F, 1_000, 1.5, 1e3]"
    ).value
    assert value == ["yes", "No", "on", "OFF", "12:30", "2026-01-05", "1.2.3", "0b1", ".inf", "1", True, False, None, None, 7, -7, 15, 31, 1000, 1.5, 1000.0]  # fmt: skip
    assert read_yaml("{yes: 1, 1: 2, null: 3, 1.10: 4}").value == {"yes": 1, "1": 2, "null": 3, "1.10": 4}
    assert read_yaml("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\ne: *x").value["d"] == {"b": 1, "c": 3}
    assert read_yaml("").value is None


LAUGHS = "a: &b0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"k{level}: &b{level} [{', '.join([f'*b{level - 1}'] * 9)}]\n" for level in range(1, 12)
)
MERGED = "a: &b0 {x: 1}\n" + "".join(f"k{level}: &b{level} {{<<: [{', '.join([f'*b{level - 1}'] * 9)}]}}\n" for level in range(1, 12))  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("a: 1\nb: 2\na: 3\n", "the key 'a' stands twice", 3),
        ("limits:\n  rpm: 1\n  rpm: 2\n", "the key 'rpm' stands twice", 3),
        ("? [a, b]\n: c\n", "a key must be a text", 1),
        ("a:\n  {b: 1}: 2\n", "a key must be a text", 2),
        ("a: {<<: {[1]: 2}}\n", "a key must be a text", 1),
        ("a: &x [*x]\n", "inside of what it names", 1),
        ("a: &x {b: *x}\n", "inside of what it names", 1),
        (LAUGHS, "aliases stand for", 0),
        (MERGED, "aliases stand for", 0),
        ("[" * 5_000, "nested too deeply", 1),
        ("\n".join(" " * level + "a:" for level in range(2_000)), "nested too deeply", 0),
        ("a: " + "9" * 5_000, "limit", 0),
        ("a: !!python/object:os.system x\n", "constructor", 1),
        ("a: \x01", "special characters", 0),
        ("a: [1,\n", "expected", 2),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_its_line(tmp_path, text, message, line):
    """Keys that stand twice or are no text, aliases without end, deep nesting: refused in words, at once."""
    with pytest.raises(YamlTextError, match=message) as caught:
        read_yaml(text)
    assert caught.value.line == line
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(JobError, match=message):
        load_job(tmp_path / "job.yaml")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("job.json", '{"model": "m", "input": "i", "output": "o", "model": "n"}', "stands twice"),
        ("job.json", "[" * 100_000, "nested too deeply"),
        ("job.toml", 'model = "m"\nmodel = "n"\n', "TOML"),
        ("job.toml", "a = " + "[" * 5_000, "TOML"),
    ],
)  # fmt: skip
def test_other_forms_of_a_job_are_as_strict(tmp_path, name, text, message):
    """A key that stands twice and nesting without end are refused in JSON and TOML too."""
    (tmp_path / name).write_text(text)
    with pytest.raises(JobError, match=message):
        load_job(tmp_path / name)


@pytest.mark.parametrize("key", ["input", "output", "media_root", "catalogue", "schema"])
@pytest.mark.parametrize("path", ["n" * 300, "d/" * 3_000 + "x", "a\\0b"])
def test_paths_that_no_file_system_takes_are_refused(tmp_path, key, path):
    """A name above 255 bytes, a path above 4,095, a NUL: refused with the key, without a traceback."""
    keys = {"model": "m", "input": "i", "output": "o", "prompt": "x", key: path.replace("\\0", "\0")}
    (tmp_path / "job.json").write_text(json.dumps(keys))
    with pytest.raises(RowmillError, match=key):
        load_job(tmp_path / "job.json")


def test_a_job_file_that_cannot_be_read_is_told(tmp_path):
    """A folder, a missing file and a name too long for one are refused in words."""
    for path in (tmp_path, tmp_path / "no.yaml", tmp_path / ("n" * 300 + ".yaml"), Path("a\0.yaml")):
        with pytest.raises(JobError):
            load_job(path)
