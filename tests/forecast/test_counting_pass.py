"""What a dry run counts of a request beside its texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rowmill.schemas.catalogue import builtin_catalogue
from rowmill.schemas.errors import InputError
from rowmill.schemas.job import Job
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row
from rowmill.tasks.forecast import counting_pass, drawn_pass
from rowmill.tasks.forecast.counted_rows import Tally
from rowmill.tasks.forecast.counting_pass import DryRun
from rowmill.tasks.forecast.request_costs import RequestCosts
from rowmill.tasks.forecast.settled_rows import SettledRows
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

    planner = Planner(job, model, sandbox=False)
    costs = RequestCosts(job, model, {}, count=count, native=planner.native)
    request = planner.plan(Row(0, "0", {"a": "x"}, "f", 1))
    assert isinstance(request, Request)
    assert costs.tokens(request) == sum(map(len, counted))
    wire = PROTOCOLS[model.protocol].wire(request.body, stream=False).decode()
    sent = wire.replace('\\"', '"').replace("\\n", "\n")
    assert counted
    assert all(text in sent for text in counted)


def walked(folder: Path, texts: list[str | None], *, draws: bool, keep: list[str] | None = None) -> Tally:
    lines = ["no row" if one is None else json.dumps({"n": n, "a": one}) for n, one in enumerate(texts)]
    (folder / "rows.jsonl").write_text("".join(f"{line}\n" for line in lines))
    told = {"input": str(folder / "rows.jsonl"), "output": str(folder / "out"), "prompt": "Hi {{ a }}"}
    job = Job(model="gemini-3-pro", keep=keep or [], **told)
    model = builtin_catalogue()[job.model]
    return DryRun(
        job, model, {}, settled=SettledRows(), count=lambda text: len(text) / 4, sandbox=False, draws=draws
    ).walk()


def test_a_large_input_is_told_from_drawn_rows(tmp_path, monkeypatch):
    """Beyond a number of rows some are looked at for all: rows are counted exactly, tokens are within what is told, the
    ceiling is no lower than that of every row.
    """
    monkeypatch.setattr(counting_pass, "EXACT_ROWS", 1_000)
    monkeypatch.setattr(drawn_pass, "DRAWN_LEAST", 1_500)
    texts = [f"{n} " + "word " * (n * 7919 % 83) for n in range(6_000)]
    exact, found = (walked(tmp_path, texts, draws=draws) for draws in (False, True))
    assert exact.drawn is None
    assert found.drawn is not None
    assert 1_500 <= found.drawn.rows < 1_700
    assert (found.total, found.to_ask) == (exact.total, exact.to_ask) == (6_000, 6_000)
    assert abs(found.tokens - exact.tokens) <= 3 * found.drawn.tokens_error
    assert exact.ceiling_usd <= found.ceiling_usd <= 1.1 * exact.ceiling_usd
    # Up to that number, and where rows ask the same, every row is looked at.
    assert walked(tmp_path, texts[:1_000], draws=True).drawn is None
    assert walked(tmp_path, texts[:3_000] * 2, draws=True).same_request == 3_000


def test_rows_that_were_drawn_in_vain_are_counted_once(tmp_path, monkeypatch):
    """Where drawn rows show that all have to be looked at, what they came to counts no second time."""
    monkeypatch.setattr(counting_pass, "EXACT_ROWS", 100)
    texts = ["the same"] * 900 + [None] * 100
    exact, found = (walked(tmp_path, texts, draws=draws) for draws in (False, True))
    assert found.counts() == exact.counts()
    assert (found.drawn, found.unreadable) == (None, 100)


def test_a_large_input_without_a_named_column_is_refused_as_a_run_refuses_it(tmp_path, monkeypatch):
    """Drawn rows cannot show that no row has a column: where the first have it not, all are looked at."""
    monkeypatch.setattr(counting_pass, "EXACT_ROWS", 100)
    texts = [f"{n}" for n in range(2_000)]
    assert walked(tmp_path, texts, draws=True, keep=["a"]).drawn is not None
    with pytest.raises(InputError, match="keep names the column 'b', which no row has"):
        walked(tmp_path, texts, draws=True, keep=["b"])
