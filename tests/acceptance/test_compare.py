"""`rowmill compare` from the outside: what changed between two outputs of the same rows."""

from __future__ import annotations

import json

import pytest

from tests.conftest import PERSON, Bench


def two_outputs(bench: Bench, base_url: str, *after: str, schema=PERSON) -> None:
    bench.rows(
        [{"id": f"r{n}", "text": f"person {n}" + ("[[fault:invalid_request]]" if n == 7 else "")} for n in range(40)]
    )
    bench.job(id="id", schema=schema)
    assert bench.run(base_url, "run", "job.yaml", "--direct", "--no-report", "-o", "a").code == 3
    assert bench.run(base_url, "run", "job.yaml", "--direct", "--no-report", "-o", "b", *after).code in (0, 3)


def test_the_same_run_twice_differs_in_nothing(bench, sandboxes):
    """Two runs of one job over the same rows: all in both, no answer changed, the same bill."""
    two_outputs(bench, sandboxes().base_url)
    ended = bench.run("", "compare", "a", "b", "--json")
    assert ended.code == 0, ended.err
    told = ended.manifest
    assert (told["in_both"], told["only_a"], told["only_b"], told["answers_changed"]) == (40, 0, 0, 0)
    assert told["a"]["cost_usd"] == told["b"]["cost_usd"] == float(bench.manifest("a")["totals"]["cost_usd"]) > 0
    assert told["status_changes"] == []


def test_what_changed_is_counted_by_field_with_examples(bench, sandboxes):
    """Another prompt and fewer rows: changed answers by field with examples, rows in one only, status changes."""
    sandbox = sandboxes()
    two_outputs(bench, sandbox.base_url, "-n", "5")
    bench.rows([{"id": f"r{n}", "text": f"person {n}"} for n in range(30)])
    bench.job(id="id", schema=PERSON, prompt="Who is this? The text: {{ text }} and nothing more.")
    bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--no-report", "-o", "c")
    told = bench.run("", "compare", "a", "c", "--json").manifest
    assert (told["in_both"], told["only_a"], told["only_b"]) == (30, 10, 0)
    assert told["status_changes"] == [{"from": "failed", "to": "ok", "rows": 1}]
    assert told["answers_in_both"] == 29
    changed = {one["field"]: one["changed"] for one in told["fields"]}
    assert max(changed.values()) <= told["answers_changed"] <= sum(changed.values())
    assert 0 < told["answers_changed"] <= 29
    assert all(one["a"] != one["b"] for one in told["examples"])
    text = bench.run("", "compare", "a", "c").out
    assert "10 only in A" in text
    assert "from failed to ok" in text
    json.loads(bench.run("", "compare", "a", "b", "--json").out)


@pytest.mark.parametrize("folders", [("a", "nowhere"), ("nowhere", "a")])
def test_an_output_without_results_is_named(bench, sandboxes, folders):
    """Where one side holds no results the comparison is refused, naming it."""
    two_outputs(bench, sandboxes().base_url)
    ended = bench.run("", "compare", *folders)
    assert ended.code == 2
    assert "nowhere" in ended.err


def test_answers_without_a_schema_are_compared_as_text(bench, sandboxes):
    """Plain text answers are compared whole."""
    two_outputs(bench, sandboxes().base_url, schema=None)
    told = bench.run("", "compare", "a", "b", "--json").manifest
    assert told["answers_in_both"] == 39
    assert told["fields"] == []


def test_inputs_that_share_ids_but_not_rows_are_told(bench, sandboxes):
    """Other rows under the same ids are told before what changed; a copy of the same rows is not; a changed file is."""
    sandbox = sandboxes()
    two_outputs(bench, sandbox.base_url)
    assert "inputs:" not in bench.run("", "compare", "a", "b").out
    bench.rows([{"id": f"r{n}", "text": f"person {n if n % 4 else n + 100}"} for n in range(40)], "others.jsonl")
    bench.rows(
        [{"id": f"r{n}", "text": f"person {n}" + ("[[fault:invalid_request]]" if n == 7 else "")} for n in range(40)],
        "copy.jsonl",
    )
    for name in ("others", "copy"):
        bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--no-report", "-i", f"{name}.jsonl", "-o", name)
    told = bench.run("", "compare", "a", "others", "--json").manifest["inputs"]
    assert (told["rows_compared"], told["rows_differ"]) == (40, 11)
    assert "11 of 40 rows that share an id are other rows" in bench.run("", "compare", "a", "others").out
    assert "inputs:" not in bench.run("", "compare", "a", "copy").out
    with open(bench.folder / "copy.jsonl", "a") as file:
        file.write('{"id": "more", "text": "x"}\n')
    assert "has changed since" in bench.run("", "compare", "a", "copy").out
