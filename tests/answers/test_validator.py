"""Answers are held against the job's schema, within a bounded time."""

from __future__ import annotations

import json

import pytest

from rowmill.schemas.attempt import FailureKind
from rowmill.schemas.errors import SchemaError
from rowmill.tasks.answers.schema_file import load_schema
from rowmill.tasks.answers.validator import Accepted, Rejected, Validator, compile_schema


def test_validator_tells_the_model_what_is_wrong():
    """A violation names its place and reason; an integer beyond 64 bits is one too."""
    validator = Validator(
        {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    )
    assert validator.judge('{"n": 3}') == Accepted('{"n": 3}', None)
    for text, kind, told in (
        ('{"n": "x"}', FailureKind.SCHEMA_VIOLATION, "/n"),
        ('{"n": 99999999999999999999}', FailureKind.SCHEMA_VIOLATION, "64 bits"),
        ("{}", FailureKind.SCHEMA_VIOLATION, "required"),
        ("  ", FailureKind.EMPTY_ANSWER, "empty"),
        ("oh", FailureKind.INVALID_JSON, "JSON"),
    ):
        verdict = validator.judge(text)
        assert isinstance(verdict, Rejected)
        assert verdict.kind is kind
        assert told in verdict.message


def test_a_runaway_pattern_is_bounded():
    """A pattern that would backtrack for ever ends soon, as a refusal."""
    validator = Validator({"type": "string", "pattern": r"^(a|aa)+(?=b)c$"})
    assert isinstance(validator.judge(json.dumps("a" * 60)), Rejected)


@pytest.mark.parametrize(
    "schema",
    [{"type": "strin"}, {"$ref": "https://127.0.0.1:9/s.json"}, {"$ref": "file:///etc/passwd"}, {"$ref": "#/no"}, 5, {"pattern": "("}],
)  # fmt: skip
def test_what_is_no_schema_is_refused(schema):
    """A wrong schema, and one that points outside itself, is refused before anything is sent; nothing is fetched."""
    with pytest.raises(SchemaError):
        compile_schema(schema, "schema.json")


def test_schema_may_be_a_pydantic_model(tmp_path):
    """`package.module:Model` is read beside the job file; what is no model is refused."""
    (tmp_path / "shapes_of_test.py").write_text("from pydantic import BaseModel\nclass Point(BaseModel):\n    x: int\n")
    assert load_schema("shapes_of_test:Point", tmp_path)["required"] == ["x"]
    for wrong in ("shapes_of_test:Nothing", "no_such_module:X", "json:dumps"):
        with pytest.raises(SchemaError):
            load_schema(wrong, tmp_path)


def test_a_models_times_are_those_that_the_model_takes(tmp_path):
    """With a zone or without, as pydantic reads them; what is no time is refused in pydantic's words."""
    (tmp_path / "shifts_of_mine.py").write_text(
        "import datetime as dt\nfrom pydantic import AwareDatetime, BaseModel\n"
        "class Shift(BaseModel):\n    at: dt.datetime\n    start: dt.time\n    seen: AwareDatetime | None = None\n"
    )
    name = f"{tmp_path}/shifts_of_mine:Shift"
    judge = Validator(load_schema("shifts_of_mine:Shift", tmp_path), name)
    told = '{"at":"2024-05-03T10:00:00","start":"10:00:00"}'
    verdict = judge.judge(told)
    assert isinstance(verdict, Accepted)
    assert verdict.text == told
    assert isinstance(judge.judge('{"at":"2024-05-03T10:00:00Z","start":"10:00:00+02:00"}'), Accepted)
    for wrong in ('{"at":"soon","start":"10:00:00"}', told.replace("}", ',"seen":"2024-05-03T10:00:00"}')):
        verdict = judge.judge(wrong)
        assert isinstance(verdict, Rejected)
        assert "datetime" in verdict.message or "timezone" in verdict.message
    # Without a model the schema alone decides.
    assert isinstance(Validator({"format": "date-time"}).judge('"2024-05-03T10:00:00"'), Rejected)
