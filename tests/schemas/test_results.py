"""Results: one table says each column's type, where its value comes from, and which jobs have it."""

from __future__ import annotations

from operator import attrgetter

from rowmill.schemas.attempt import Spent
from rowmill.schemas.job import Job
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import Cost
from rowmill.schemas.results import HEAD, OPTIONAL, RESERVED, STATUS, TAIL

JOB = {"model": "gemini-3-pro", "input": "x.jsonl", "output": "out", "prompt": "{{ a }}"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
ALL = (*HEAD, STATUS, *TAIL, *OPTIONAL)


def test_each_column_has_a_source_in_an_outcome_and_a_name_that_no_kept_column_may_have():
    """A row of the table is enough: what it names is there, once."""
    outcome = Outcome("r", 0, Status.OK, spent=Spent(cost=Cost()))
    for column in ALL:
        attrgetter(column.source)(outcome)
    names = [column.name for column in ALL]
    assert len(set(names)) == len(names)
    assert set(names) | {"output", "label", "votes", "field_correct", "label_probability"} <= RESERVED


def test_a_column_is_there_where_its_job_asks_for_it():
    """A plain job has none of them; each is asked for by a key of its own."""

    def asked(**keys):
        job = Job(**JOB, **keys)
        return [column.name for column in OPTIONAL if column.when is not None and column.when(job)]

    assert asked() == []
    assert asked(params={"include_thoughts": True}) == ["thoughts"]
    assert asked(params={"search": True}) == ["grounding"]
    assert asked(tools=[{"name": "look"}]) == ["tool_calls"]
    assert asked(schema=SCHEMA, evidence=True) == ["evidence", "value_in_quote"]
