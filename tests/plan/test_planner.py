"""A row becomes the request that its model takes, with a key of all that affects the answer."""

from __future__ import annotations

import json

import pytest

from rowmill.schemas.catalogue import builtin_catalogue
from rowmill.schemas.job import Job
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row
from rowmill.tasks.plan.planner import Planner


def job(**keys) -> Job:
    return Job(**{"model": "gemini-3-pro", "input": "i", "output": "o", **keys})


def planner(model: str = "gemini-3-pro", sandbox: bool = False, **keys) -> Planner:
    return Planner(job(model=model, **keys), builtin_catalogue()[model], sandbox=sandbox)


def row(**columns) -> Row:
    return Row(0, "0", columns, "f", 1)


def key_of(made: Planner, **columns) -> bytes:
    planned = made.plan(row(**columns))
    assert isinstance(planned, Request)
    return planned.key


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def test_request_key_changes_with_all_that_affects_the_answer_and_nothing_else():
    """A changed prompt, system, schema, parameter, model or gateway has another key; streaming and id have not."""
    base = key_of(planner(prompt="Hi {{ a }}"), a="x")
    assert key_of(planner(prompt="Hi {{ a }}", params={"stream": True}, id="b"), a="x", b="y") == base
    others = [
        key_of(planner(prompt="Hi {{ a }}"), a="y"),
        key_of(planner(prompt="Hi, {{ a }}"), a="x"),
        key_of(planner(prompt="Hi {{ a }}", system="s"), a="x"),
        key_of(planner(prompt="Hi {{ a }}", schema=SCHEMA), a="x"),
        key_of(planner(prompt="Hi {{ a }}", schema=SCHEMA, structured="prompt"), a="x"),
        key_of(planner(prompt="Hi {{ a }}", schema={**SCHEMA, "required": ["a"]}), a="x"),
        key_of(planner(prompt="Hi {{ a }}", params={"temperature": 0}), a="x"),
        key_of(planner(prompt="Hi {{ a }}", params={"thinking": "low"}), a="x"),
        key_of(planner("gemini-3-flash", prompt="Hi {{ a }}"), a="x"),
        key_of(planner(sandbox=True, prompt="Hi {{ a }}"), a="x"),
    ]
    assert len({base, *others}) == 1 + len(others)


@pytest.mark.parametrize("model", ["gemini-3-pro", "gemini-3-flash"])
@pytest.mark.parametrize(
    "columns",
    [
        {"prompt": "hello"},
        {"messages": [{"role": "user", "content": "hello"}]},
        {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
        {"custom_id": "c", "body": {"model": "gpt-x", "messages": [{"role": "user", "content": "hello"}]}},
        {"key": "k", "request": {"contents": [{"parts": [{"text": "hello"}]}]}},
    ],
)
def test_rows_that_carry_their_own_request_run_on_either_model(model, columns):
    """A prompt, messages, contents and both batch lines give the same question on both models."""
    planned = planner(model).plan(row(**columns))
    assert isinstance(planned, Request)
    sent = json.dumps(planned.body)
    assert "hello" in sent
    assert "gpt-x" not in sent
    assert ("messages" in planned.body) == (model == "gemini-3-pro")


def test_what_the_other_protocol_cannot_say_is_refused_not_mangled():
    """A row with fields or parts that the model's protocol has no word for fails with the reason."""
    wrong = [
        ("gemini-3-flash", {"body": {"messages": [{"role": "user", "content": "x"}], "temperature": 1}}),
        ("gemini-3-flash", {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}),
        ("gemini-3-pro", {"contents": [{"parts": [{"executableCode": {}}]}]}),
        ("gemini-3-pro", {"messages": []}),
        ("gemini-3-pro", {"other": 1}),
    ]
    for model, columns in wrong:
        planned = planner(model).plan(row(**columns))
        assert isinstance(planned, Outcome)
        assert planned.status is Status.FAILED
        assert planned.error_message


def test_where_the_schema_goes_follows_the_pages():
    """Pro takes response_format, but not with tools; Flash documents no field, so the schema goes into the prompt."""
    native = planner(prompt="x", schema=SCHEMA).plan(row())
    assert isinstance(native, Request)
    assert "response_format" in native.body
    for model, keys in (
        ("gemini-3-flash", {}),
        ("gemini-3-pro", {"params": {"search": True}}),
        ("gemini-3-pro", {"tools": [{"name": "f"}]}),
        ("gemini-3-pro", {"structured": "prompt"}),
    ):
        planned = planner(model, prompt="x", schema=SCHEMA, **keys).plan(row())
        assert isinstance(planned, Request)
        assert "response_format" not in planned.body
        assert json.dumps(SCHEMA, separators=(",", ":"))[1:-1] in json.dumps(planned.body).replace('\\"', '"')
    forced = planner("gemini-3-flash", prompt="x", schema=SCHEMA, structured="native").plan(row())
    assert isinstance(forced, Request)
    assert forced.body["generationConfig"]["responseJsonSchema"] == SCHEMA
