"""Answers as they come: each line of wire.jsonl through the command, against a server that sends it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from rowmill.schemas.catalogue import builtin_catalogue
from tests.acceptance.test_run import direct
from tests.conftest import Bench, Ended, assert_balanced
from tests.gateway.wire_server import WireServer, serving, wire_cases

CASES = wire_cases()
MODELS = {"chat-completions": "gemini-3-pro", "generate-content": "gemini-3-flash"}
# Plain rows beside those of the cases: enough that a refusal of one row is seen to be its own.
PLAIN_ROWS = 40
EXIT_CODES = {"auth": 5, "model_not_found": 5, "spend_limit": 4, "insufficient_credits": 4}
Case = dict[str, Any]


def groups() -> Iterator[list[Case]]:
    """Cases that one run can hold: those of a single row that share a job; each that concerns every row, alone."""
    together: dict[str, list[Case]] = {}
    for case in CASES.values():
        if case["scope"] == "all":
            yield [case]
        else:
            key = json.dumps([case["protocol"], case["stream"], case["job"]], sort_keys=True)
            together.setdefault(key, []).append(case)
    yield from together.values()


@pytest.fixture(scope="module")
def server() -> Iterator[WireServer]:
    with serving(CASES) as running:
        yield running


def run(bench: Bench, server: WireServer, cases: list[Case]) -> Ended:
    case = cases[0]
    job = dict(case["job"])
    keys: dict[str, Any] = {"model": MODELS[case["protocol"]], "id": "id", "prompt": "{{ text }}"}
    if errors := job.pop("catalogue_errors", None):
        keys |= {"model": "mine", "catalogue": catalogue(bench, case["protocol"], errors)}
    params = {"stream": case["stream"], **job.pop("params", {})}
    keys |= {"retries": {"transport": 1, "content": 1}, **job, "params": params}
    keys["limits"] = {"concurrency": 8, "timeout_s": 5, **keys.get("limits", {})}
    rows = [{"id": name, "text": f"[[case:{name}:{name}]]"} for name in (one["name"] for one in cases)]
    if case["scope"] == "all":
        rows = [{"id": f"r{n}", "text": f"[[case:{case['name']}:r{n}]]"} for n in range(20)]
    else:
        plain = [{"id": f"plain{n}", "text": f"plain {n}"} for n in range(PLAIN_ROWS)]
        rows = [*plain[:20], *rows, *plain[20:]]
    bench.rows(rows)
    bench.job(**keys)
    return direct(bench, server.url)


def catalogue(bench: Bench, protocol: str, errors: dict[str, str]) -> str:
    model = builtin_catalogue()[MODELS[protocol]]
    lines = [
        "[models.mine]", f'protocol = "{protocol}"', f'path = "{model.path}"', "context_window = 1000000",
        "max_output_tokens = 65536", "native_schema = true", 'version = "1"', 'source = "x"', "checked = 2026-01-01",
        "[models.mine.errors]", *(f'"{name}" = "{meaning}"' for name, meaning in errors.items()),
    ]  # fmt: skip
    (bench.folder / "catalogue.toml").write_text("\n".join(lines))
    return "catalogue.toml"


@pytest.mark.parametrize("cases", list(groups()), ids=lambda cases: "+".join(case["name"] for case in cases)[:60])
def test_each_answer_gets_its_outcome(bench, server, cases):
    """Each answer has the outcome that stands beside it, its neighbours are ok, and the books balance."""
    ended = run(bench, server, cases)
    assert "Traceback" not in ended.err
    rows: dict[str, Any] = {}
    if list(bench.folder.glob("out/results/*.parquet")):
        results = bench.results()
        assert_balanced(ended.manifest, results)
        rows = {row["row_id"]: row for row in results.iter_rows(named=True)}
    if cases[0]["scope"] == "all":
        check_every_row(cases[0], ended, rows, server)
        return
    assert ended.manifest["termination"]["kind"] == "complete", ended.manifest["termination"]
    wrong = {name: row["status"] for name, row in rows.items() if name.startswith("plain") and row["status"] != "ok"}
    assert wrong == {}
    assert len(rows) == PLAIN_ROWS + len(cases)
    found = [check_row(case["expect"], rows[case["name"]], server.calls[case["name"], case["name"]]) for case in cases]
    assert [row for row in found if row is not None] == []


def check_every_row(case: Case, ended: Ended, rows: dict[str, Any], server: WireServer) -> None:
    expect = case["expect"]
    calls = sum(count for (name, _), count in server.calls.items() if name == case["name"])
    if expect["run"] == "goes on":
        assert {row["status"] for row in rows.values()} <= set(expect["row_status"])
        assert ended.code == expect["exit"]
        return
    kind = expect["run"].removeprefix("stops: ")
    assert ended.manifest["termination"]["kind"] == kind, ended.manifest["termination"]
    assert ended.code == EXIT_CODES[kind]
    assert rows == {}
    assert calls <= 8
    assert error_words(case) in ended.manifest["termination"]["message"]


def error_words(case: Case) -> str:
    """The gateway's own words in the case's first response."""
    response = case["responses"][0]
    text = response["body"] if "body" in response else json.dumps(response["body_json"])
    return text.partition('"message": "')[2].partition('"')[0]


def check_row(expect: dict[str, Any], row: dict[str, Any], asks: int) -> dict[str, Any] | None:
    """None where the row is as expected, else what it is in the places that are not."""
    allowed = expect["row_status"] if isinstance(expect["row_status"], list) else [expect["row_status"]]
    found = {
        "status": row["status"],
        "error_kind": row["error_kind"],
        "asks": asks,
        "cost_unknown": row["cost_unknown"],
    }
    wrong = {name: found[name] for name in found.keys() & expect.keys() if expect[name] not in (None, found[name])}
    if row["status"] not in allowed:
        wrong["status"] = row["status"]
    output = row["output"]
    if isinstance(output, dict):
        # A struct has all its fields; those that the answer lacks are null.
        output = {key: value for key, value in output.items() if value is not None}
    if row["status"] == "ok" and output != expect["value"]:
        wrong["value"] = output
    if "usage" in expect and not ("or" in expect and row["cost_unknown"]):
        counts = {name: row[name] for name in expect["usage"]}
        if counts != expect["usage"] or row["cost_unknown"]:
            wrong["usage"] = counts
    if "tool_calls" in expect:
        calls = [{**call, "arguments": json.loads(call["arguments"])} for call in row["tool_calls"]]
        if calls != expect["tool_calls"]:
            wrong["tool_calls"] = calls
    return {"row": row["row_id"], **wrong} if wrong else None
