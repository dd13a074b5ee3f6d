"""A job in YAML means what stands in it: words are words, keys stand once, and no file is larger than it looks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.errors import JobError, RowmillError
from rowmill.tasks.answers.validator import Accepted, Validator
from rowmill.tasks.job.job_file import load_job
from rowmill.tasks.job.yaml_nodes import YamlTextError
from rowmill.tasks.job.yaml_scalars import yaml_of
from rowmill.tasks.job.yaml_text import read_yaml

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
        assert "quotes" in str(error).lower() or "null" in str(error)
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
    assert read_yaml("[007, -017, 0, 0.5, 1_000.5, 00, 0e0, '<<', <<, !!str 1, !!float 1]").value == ["007", "-017", 0, 0.5, "1_000.5", "00", 0.0, "<<", "<<", "1", 1.0]  # fmt: skip
    assert value == ["yes", "No", "on", "OFF", "12:30", "2026-01-05", "1.2.3", "0b1", ".inf", "1", True, False, None, None, 7, -7, 15, 31, 1000, 1.5, 1000.0]  # fmt: skip
    assert read_yaml("{yes: 1, 1: 2, null: 3, 1.10: 4}").value == {"yes": 1, "1": 2, "null": 3, "1.10": 4}
    assert read_yaml("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\ne: *x").value["d"] == {"b": 1, "c": 3}
    assert read_yaml("").value is None


def test_what_is_pasted_from_elsewhere_stays():
    """Separators of other programs are characters of a text, also beside the signs that stand in for them; characters
    beyond 16 bits may be written as JSON writes them.
    """
    text = 'prompt: |\n  one\u2028two\x85three\ue000\n  four\u2029\nkey\u2028: a\x85b\nsmile: "\\uD83D\\uDE00"\n'
    document = read_yaml(text)
    assert document.value == {
        "prompt": "one\u2028two\x85three\ue000\nfour\u2029\n",
        "key\u2028": "a\x85b",
        "smile": "😀",
    }
    assert document.places()[("key\u2028",)] == "line 4, column 1"


WORDS = st.sampled_from(
    [
        "1e5",
        "0o17",
        "017",
        "1_000",
        "yes",
        "12:30",
        "2024-01-01",
        ".inf",
        "~",
        "",
        "<<",
        "=",
        "a: b",
        "- x",
        "#",
        "{{ a }}",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(st.characters(codec="utf-8")), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(JSON)
def test_what_is_written_is_read_as_it_was(value):
    """Job files that rowmill writes (tuned.yaml, parts of a split) say what the job said, to every reader of YAML."""
    text = yaml_of(value)
    assert read_yaml(text).value == value
    assert json.dumps(yaml.safe_load(text)) == json.dumps(value)


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
        ("a: " + "9" * 5_000, "limit", 1),
        ("a: 1\nb: 0x" + "f" * 5_000, "limit", 2),
        ("a: 1e400\n", "beyond what a double holds", 1),
        ("a: !!python/object:os.system x\n", "tag !!python/object:os.system", 1),
        ("a: !!binary aGk=\n", "tag !!binary", 1),
        ("a:\n  - !!timestamp 2024-01-01\n", "tag !!timestamp", 2),
        ("a: !!set {b, c}\n", "tag !!set", 1),
        ("a: !!bool yes\n", "tag !!bool", 1),
        ("a: !!int 1:30\n", "tag !!int", 1),
        ("a: !!int {b: 1}\n", "tag !!int", 1),
        ("a: !!map [b]\n", "tag !!map", 1),
        ("a: !mine b\n", "tag !mine", 1),
        ("a: {<<: {b: 1}, <<: {c: 2}}\n", "'<<' stands twice", 1),
        ('a: "\\uD83D"\n', "half of a character", 1),
        ("a: \x01", r"U\+0001", 1),
        ("a: [1,\n", "expected", 2),
        ("a: 1\n---\nb: 2\n", "another document", 2),
        ("a:\tb\n", "start any token", 1),
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
        ("job.toml", "[params.extra]\nx = nan\n", "params.extra.x: nan"),
        ("job.json", '{"params": {"extra": {"x": 1e999}}}', "JSON"),
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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("keep: [2024]", "keep.0: text is expected, and 2024 is a number: put it in quotes (line 5, column 8)"),
        ("id: true", "id: text is expected, and true is true or false: put it in quotes (line 5, column 1)"),
        ("limits: {rpm: true}", "limits.rpm: a number is expected, and true is none (line 5, column 10)"),
        ("limits:", "limits: nothing stands there: give it a value, or drop the key (line 5, column 1)"),
        ("rows_per_call: AUTO", "or input should be 'auto' (line 5, column 1)"),
        (
            "schema: 3",
            "schema: a schema's file, an inline schema, or package.module:PydanticModel is expected (line 5, column 1)",
        ),
        ("label: {labels: [true]}", "label.labels: YAML reads this label as true: put it in quotes (line 5, column 9)"),
    ],
)
def test_a_value_of_another_kind_says_what_to_write(tmp_path, line, message):
    """What YAML reads as a number, as true or as nothing is refused with its key, its line and the mend."""
    (tmp_path / "job.yaml").write_text(HEAD + line + "\n")
    with pytest.raises(JobError) as caught:
        load_job(tmp_path / "job.yaml")
    assert message in str(caught.value)


@pytest.mark.parametrize("ending", ["yaml", "json", "toml"])
def test_a_byte_order_mark_is_no_part_of_a_job(tmp_path, ending):
    """Nor of a schema's file; and TOML's own dates are text, as YAML's are."""
    keys = {"model": "gemini-3-pro", "input": "rows.jsonl", "output": "out", "prompt": "x", "schema": "s.json"}
    told = "".join(f"{name} = '{value}'\n" for name, value in keys.items()) + "stop_at = 06:00:00\n"
    (tmp_path / f"job.{ending}").write_text("\ufeff" + (told if ending == "toml" else json.dumps(keys)), "utf-8")
    (tmp_path / "s.json").write_text('\ufeff{"type": "string"}', "utf-8")
    job = load_job(tmp_path / f"job.{ending}")
    assert job.output_schema == {"type": "string"}
    assert job.stop_at == ("06:00" if ending == "toml" else None)
