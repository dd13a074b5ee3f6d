"""A storm of mixed faults: every row once, and a bill equal to the sandbox's books."""

from __future__ import annotations

import pytest

from tests.conftest import KEY, PERSON, assert_balanced, money

ROWS = 600
# With a limit of its own a run goes on near it after a refusal. Without one it would feel for the gateway's from what it
# has seen, and refusals that come at random would slow it ever more.
LIMITS = {"concurrency": 48, "rpm": 60_000}
# Each tells the client what it was billed, or was not billed at all: the bill must agree to the last digit.
TOLD = {
    "rate_limit_exceeded": 0.006,
    "rate_limit_date": 0.001,
    "bare_429": 0.002,
    "upstream_error": 0.06,
    "html_502": 0.01,
    "internal_error": 0.03,
    "echo_key": 0.01,
    "invalid_json": 0.03,
    "wrong_schema": 0.03,
    "fenced": 0.05,
    "prose": 0.05,
    "cut": 0.02,
    "empty": 0.01,
    "blocked": 0.01,
    "blocked_prompt": 0.005,
}
# Billed without telling: the difference to the books must lie within the bound that is reported.
UNTOLD = {"disconnect": 0.02, "truncated": 0.02, "garbage": 0.01, "no_usage": 0.02}


@pytest.mark.parametrize("model", ["gemini-3-pro", "gemini-3-flash"])
@pytest.mark.parametrize("stream", [False, True])
def test_storm_of_told_faults_bills_what_the_books_say(bench, sandboxes, model, stream):
    """600 rows through every fault that tells its bill: each row once, the bill equal to the gateway's books."""
    sandbox = sandboxes(seed=7, faults=TOLD, latency_ms=2)
    bench.rows([{"id": f"r{n}", "text": f"person number {n} of {n * 7}"} for n in range(ROWS)])
    bench.job(model=model, id="id", schema=PERSON, limits=LIMITS, params={"stream": stream})
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json")
    assert ended.code in (0, 3), ended.err
    results, books = bench.results(), sandbox.books()
    assert_balanced(ended.manifest, results)
    assert results["row_id"].to_list() == [f"r{n}" for n in range(ROWS)]
    assert money(results["cost_usd"].sum()) == money(books["billed_usd"])
    assert money(results["cost_credits"].sum()) == money(books["billed_credits"])
    assert ended.manifest["totals"]["calls"] == books["calls"]
    assert set(results["status"].unique()) <= {"ok", "refused", "failed", "invalid"}
    assert results.filter(status="ok").height > ROWS * 0.95
    for path in bench.folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    assert KEY not in ended.err


@pytest.mark.parametrize("model", ["gemini-3-pro", "gemini-3-flash"])
def test_storm_with_untold_bills_stays_within_the_bound(bench, sandboxes, model):
    """What the gateway billed without telling is flagged, and lies within the bound that the manifest names."""
    sandbox = sandboxes(seed=11, faults={**TOLD, **UNTOLD}, latency_ms=2)
    bench.rows([{"id": f"r{n}", "text": f"person number {n}"} for n in range(ROWS)])
    bench.job(model=model, id="id", schema=PERSON, limits=LIMITS, params={"max_output_tokens": 2000})
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json")
    assert ended.code in (0, 3), ended.err
    results, books = bench.results(), sandbox.books()
    assert_balanced(ended.manifest, results)
    assert results["row_id"].to_list() == [f"r{n}" for n in range(ROWS)]
    told, bound = (money(ended.manifest["totals"][name]) for name in ("cost_usd", "unknown_cost_bound_usd"))
    assert told < money(books["billed_usd"]) <= told + bound
    assert ended.manifest["totals"]["rows_cost_unknown"] == results["cost_unknown"].sum() > 0
