"""What a dry run counts of a request beside its texts."""

from __future__ import annotations

import pytest

from rowmill.schemas.catalogue import builtin_catalogue
from rowmill.schemas.job import Job
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row
from rowmill.tasks.forecast.counting_pass import DryRun
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.plan.planner import Planner

SCHEMA = {"type": "object", "properties": {"mood": {"type": "string", "enum": ["good", "bad"]}}, "required": ["mood"]}
TOOL = {"name": "find", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}


@pytest.mark.parametrize(
    "keys",
    [
        {"output_schema": SCHEMA},
        {"output_schema": SCHEMA, "structured": "prompt"},
        {"tools": [TOOL]},
        {"output_schema": SCHEMA, "structured": "prompt", "model": "gemini-3-flash"},
    ],
)
def test_what_is_counted_is_what_is_sent(keys):
    """Schemas and tools are counted letter by letter as the body has them, natively or in the prompt: no space more."""
    job = Job(**{"model": "gemini-3-pro", "input": "i", "output": "o", "prompt": "Hi {{ a }}", **keys})
    model, counted = builtin_catalogue()[job.model], []

    def count(text: str) -> float:
        counted.append(text)
        return float(len(text))

    dry_run = DryRun(job, model, {}, None, count, sandbox=False)
    request = Planner(job, model, sandbox=False).plan(Row(0, "0", {"a": "x"}, "f", 1))
    assert isinstance(request, Request)
    assert dry_run.tokens(request) == sum(map(len, counted))
    wire = PROTOCOLS[model.protocol].wire(request.body, stream=False).decode()
    sent = wire.replace('\\"', '"').replace("\\n", "\n")
    assert counted
    assert all(text in sent for text in counted)
