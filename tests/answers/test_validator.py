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
