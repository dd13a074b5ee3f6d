"""A run of a thousand rows, one of them of each kind of odd answer: none stops it, none hangs it, and all is accounted for."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import pytest

from rowmill.sandbox.oddities import REFUSALS
from tests.acceptance.test_refusals import OF_ONE_ROW
from tests.acceptance.test_run import direct
from tests.acceptance.test_wire import MODELS, check_row
from tests.conftest import Bench, assert_balanced, money
from tests.gateway.test_other_servers import ANSWERS
from tests.gateway.wire_server import WireServer, serving, wire_cases

ROWS, CONCURRENCY = 1_000, 48
# USD of a plain answer's 10 + 4 tokens. Source: the gateway's pages.
PLAIN_USD = {
    "gemini-3-pro": (10 * money("0.80") + 4 * money("4.80")) / 10**6,
    "gemini-3-flash": (10 * money("0.60") + 4 * money("1.20")) / 10**6,
}


def odd_cases(protocol: str) -> dict[str, dict[str, Any]]:
    """Every answer that a row may get by itself, of one protocol, and every refusal of one row."""
    cases = {
        case["name"]: case for case in wire_cases().values() if case["protocol"] == protocol and case["scope"] == "row"
    }
    for number, (of, body, _) in enumerate(ANSWERS.values()):
        if of == protocol:
            told = {"body": body, "headers": {"Content-Type": "text/event-stream"}}
            response = told if isinstance(body, str) else {"body_json": body}
            cases[f"other-{number}"] = {"responses": [{"status": 200, **response}]}
    for name in {*(kind.partition("*")[0] for kind in OF_ONE_ROW), "too_large_429", "html_429", "retry_info"}:
        refusal = REFUSALS[name]
        told = {"status": refusal.status, "headers": dict(refusal.headers), "body": refusal.content.decode()}
        cases[f"refusal-{name}"] = {"responses": [told]}
    for status in (
        202,
        204,
        206,
        301,
        302,
        304,
        405,
        406,
        408,
        410,
        411,
        415,
        421,
        431,
        500,
        501,
        502,
        503,
        504,
        520,
        524,
        530,
    ):
        page = {
            "status": status,
            "headers": {"Content-Type": "text/html"},
            "body": f"<html><title>{status}</title></html>",
        }
        cases[f"status-{status}"] = {"responses": [page]}
    return cases


@pytest.mark.nightly
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("protocol", sorted(MODELS))
def test_no_row_stops_or_hangs_a_run_of_a_thousand(bench: Bench, protocol, stream):
    """Killed halfway and run again, every other row is ok and paid once but for those in flight; nothing sent is lost."""
    cases = odd_cases(protocol)
    every = ROWS // len(cases)
    rows = [{"id": f"plain{n}", "text": f"plain {n}"} for n in range(ROWS - len(cases))]
    for number, name in enumerate(cases):
        rows.insert(number * every, {"id": name, "text": f"[[case:{name}:{name}]]"})
    bench.rows(rows)
    model = MODELS[protocol]
    bench.job(
        model=model, id="id", prompt="{{ text }}", params={"stream": stream}, retries={"transport": 1, "content": 1},
        limits={"concurrency": CONCURRENCY, "timeout_s": 3},
    )  # fmt: skip
    with serving(cases) as server:
        kill_halfway(bench, server)
        ended = direct(bench, server.url, timeout=400)
        assert ended.code == 3, ended.err
        sent = server.calls.total()
        again = direct(bench, server.url)
        assert (again.code, server.calls.total()) == (3, sent)
    told, results = ended.manifest, bench.results()
    assert told["termination"]["kind"] == "complete", told["termination"]
    assert_balanced(told, results)
    found = {row["row_id"]: row for row in results.iter_rows(named=True)}
    assert len(found) == ROWS
    assert {
        name: row["status"] for name, row in found.items() if name.startswith("plain") and row["status"] != "ok"
    } == {}
    assert "defect" not in {row["error_kind"] for row in found.values()}
    if not stream:
        check_outcomes(cases, found)
    plain = ROWS - len(cases)
    assert plain <= server.calls["-", "-"] <= plain + CONCURRENCY
    parts = told["totals"], told["beside"]
    known = sum(money(part["cost_usd"]) for part in parts)
    bound = sum(money(part["unknown_cost_bound_usd"]) for part in parts)
    assert known + bound >= server.calls["-", "-"] * PLAIN_USD[model]
    assert sum(part["calls"] for part in parts) >= sent


def kill_halfway(bench: Bench, server: WireServer) -> None:
    process = bench.start(server.url, "run", "job.yaml", "--direct", "--json")
    until = time.monotonic() + 60
    while server.calls.total() < ROWS // 2 and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def check_outcomes(cases: dict[str, dict[str, Any]], found: dict[str, dict[str, Any]]) -> None:
    """Those that ask for nothing but the plain job have the outcome that stands beside them; calls before the kill count."""
    wrong = []
    for name, case in cases.items():
        if "expect" in case and not case["job"]:
            expect = {
                key: value for key, value in case["expect"].items() if key in ("row_status", "value", "error_kind")
            }
            wrong.append(check_row(expect, found[name], 0))
    assert [one for one in wrong if one is not None] == [], json.dumps(wrong)
