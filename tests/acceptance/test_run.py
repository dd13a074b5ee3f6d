"""`rowmill run` from the outside: results, resume, exit codes, and what each answer of the gateway does."""

from __future__ import annotations

import json
import os
import shutil
import time
from decimal import Decimal
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from tests.conftest import KEY, PERSON, Bench, assert_balanced, money

MODELS = ["gemini-3-pro", "gemini-3-flash"]
CONTRACT_COLUMNS = [
    "row_id", "row_index", "id", "customer", "status", "output", "response_text", "repair", "error_kind", "error_message",
    "finish_reason", "model", "attempts", "input_tokens", "output_tokens", "thought_tokens", "cost_usd", "cost_credits",
    "wasted_cost_usd", "cost_unknown", "reused_from", "latency_ms", "started_at", "finished_at", "request_key",
    "price_version", "run_id",
]  # fmt: skip


def direct(bench: Bench, base_url: str, *args: str, **keys: Any):
    return bench.run(base_url, "run", "job.yaml", "--direct", "--json", *args, **keys)


def numbered(count: int, text: str = "person number {}") -> list[dict[str, Any]]:
    return [{"id": f"r{n}", "text": text.format(n), "customer": f"c{n % 3}"} for n in range(count)]


@pytest.mark.parametrize("model", MODELS)
def test_results_have_the_contracts_columns_and_read_everywhere(bench, sandboxes, model):
    """The columns and types of the contract, in order, the same sums in polars, duckdb and pandas."""
    sandbox = sandboxes()
    bench.rows(numbered(30))
    bench.job(model=model, id="id", schema=PERSON, keep=["customer"])
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 0, ended.err
    part = bench.folder / "out/results/part-000000.parquet"
    schema = pq.read_schema(part)
    assert schema.names == CONTRACT_COLUMNS
    assert str(schema.field("cost_usd").type) == "decimal128(18, 12)"
    assert str(schema.field("attempts").type) == "int32"
    assert str(schema.field("output").type) == "struct<name: string, n: int64>"
    assert json.loads(schema.metadata[b"rowmill.schema"]) == PERSON
    results = bench.results()
    assert_balanced(ended.manifest, results)
    total = results["cost_usd"].sum()
    assert duckdb.sql(f"select sum(cost_usd), count(*) from '{part}'").fetchall() == [(total, 30)]
    assert duckdb.sql(f"select output.name from '{part}' where row_id = 'r3'").fetchall()[0][0]
    frame = pd.read_parquet(part)
    assert frame["cost_usd"].sum() == total
    assert list(frame["customer"]) == [f"c{n % 3}" for n in range(30)]
    assert results["output"].struct.field("n").dtype == pl.Int64
    assert set(ended.manifest["termination"]) == {"kind", "code", "message", "next"}


def test_parts_have_one_schema_even_where_every_value_is_null(bench, sandboxes):
    """A part whose rows all failed has the same schema as one whose rows are all ok."""
    sandbox = sandboxes()
    rows = numbered(5_000) + numbered(40, "[[fault:invalid_request]] {}")
    for n, row in enumerate(rows):
        row["id"] = f"r{n}"
        row["customer"] = None if n >= 5_000 else row["customer"]
    bench.rows(rows)
    bench.job(id="id", schema=PERSON, keep=["customer"], limits={"concurrency": 128})
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 3
    first, second = (pq.read_schema(bench.folder / f"out/results/part-00000{n}.parquet") for n in (0, 1))
    assert first.remove_metadata() == second.remove_metadata()
    assert_balanced(ended.manifest, bench.results())
    assert bench.results().filter(status="failed")["error_kind"].unique().to_list() == ["invalid_request"]


def test_running_again_is_a_no_op_that_says_so(bench, sandboxes):
    """A finished run is left as it is, without a call, also without orchestration's start-up."""
    sandbox = sandboxes()
    bench.rows(numbered(10))
    bench.job(id="id")
    assert direct(bench, sandbox.base_url).code == 0
    calls, part = sandbox.books()["calls"], bench.folder / "out/results/part-000000.parquet"
    before = part.stat().st_mtime_ns
    home = bench.folder / "prefect"
    again = bench.run(sandbox.base_url, "run", "job.yaml", "--json", PREFECT_HOME=str(home))
    assert again.code == 0
    assert "nothing to do" in again.err
    assert not home.exists()
    assert (sandbox.books()["calls"], part.stat().st_mtime_ns) == (calls, before)


def test_what_was_paid_for_and_deleted_is_told_before_it_is_paid_for_again(bench, sandboxes):
    """A new output says that nothing is known of earlier runs, and about what is to come; a part that was deleted is
    named, and what it cost stays counted. The second run of an output says nothing of the kind.
    """
    sandbox = sandboxes()
    bench.rows(numbered(4))
    bench.job(id="id")
    for _ in range(2):
        told = direct(bench, sandbox.base_url)
        assert "out is a new output, nothing is known of earlier runs: 4 rows to ask, about $" in told.err
        assert "new output" not in direct(bench, sandbox.base_url).err
        shutil.rmtree(bench.folder / "out")
    direct(bench, sandbox.base_url)
    (bench.folder / "out/results/part-000000.parquet").unlink()
    told = direct(bench, sandbox.base_url)
    assert "part-000000.parquet not there any more: the rows are asked, and paid for, again" in told.err
    assert told.manifest["beside"]["calls"] == 4
    assert "any more" not in direct(bench, sandbox.base_url).err


def test_a_changed_job_is_refused_and_fresh_moves_the_old_aside(bench, sandboxes):
    """Another prompt in an old output is refused, naming what changed; --fresh starts anew and loses nothing."""
    sandbox = sandboxes()
    bench.rows(numbered(4))
    bench.job(id="id")
    assert direct(bench, sandbox.base_url).code == 0
    bench.job(id="id", prompt="Tell {{ text }}")
    refused = direct(bench, sandbox.base_url)
    assert refused.code == 2
    assert "changed: prompt" in refused.err
    assert "--fresh" in refused.err
    assert sandbox.books()["calls"] == 4
    assert direct(bench, sandbox.base_url, "--fresh").code == 0
    assert sandbox.books()["calls"] == 8
    assert len(list((bench.folder / "out/previous").rglob("part-*.parquet"))) == 1
    assert bench.results().height == 4


def test_limits_retries_and_money_may_change_between_runs(bench, sandboxes):
    """What does not touch the answers may change in the same output; a limited run goes on to the whole."""
    sandbox = sandboxes()
    bench.rows(numbered(30))
    bench.job(id="id")
    assert direct(bench, sandbox.base_url, "-n", "10").manifest["ledger"]["rows"] == 10
    bench.job(id="id", limits={"concurrency": 3, "rpm": 60_000}, retries={"content": 0}, max_cost_usd=9, name="other")
    assert direct(bench, sandbox.base_url).manifest["ledger"]["ok"] == 30
    assert sandbox.books()["calls"] == 30
    assert direct(bench, sandbox.base_url, "-n", "5").manifest["ledger"]["ok"] == 30
    assert bench.results()["row_id"].to_list() == [f"r{n}" for n in range(30)]


def test_identical_requests_are_paid_once_and_are_two_rows(bench, sandboxes):
    """Rows with the same request share one call; the copies cost nothing and name the row that paid."""
    sandbox = sandboxes(latency_ms=20)
    bench.rows([{"id": f"r{n}", "text": f"t{n % 4}", "customer": str(n)} for n in range(40)])
    bench.job(id="id", keep=["customer"])
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 0
    assert sandbox.books()["calls"] == 4
    results = bench.results()
    assert_balanced(ended.manifest, results)
    assert results["reused_from"].to_list() == [None] * 4 + [f"r{n % 4}" for n in range(4, 40)]
    assert results["customer"].to_list() == [str(n) for n in range(40)]
    assert results.filter(pl.col("reused_from").is_not_null())["cost_usd"].sum() == 0
    assert results["output"].n_unique() == 4


def test_appended_edited_and_reordered_input_pays_for_the_new_alone(bench, sandboxes):
    """Appending costs the new rows, an edit that row, a new order nothing; removed rows leave, and come back free."""
    sandbox = sandboxes()
    bench.job(id="id", keep=["customer"])

    def run(rows: list[dict[str, Any]]) -> int:
        before = sandbox.books()["calls"]
        bench.rows(rows)
        ended = direct(bench, sandbox.base_url)
        assert ended.code == 0, ended.err
        assert_balanced(ended.manifest, bench.results())
        assert bench.results()["row_id"].to_list() == [row["id"] for row in rows]
        assert [f"{row['customer']}" for row in rows] == bench.results()["customer"].to_list()
        return sandbox.books()["calls"] - before

    rows = numbered(50)
    assert run(rows) == 50
    assert run(numbered(60)) == 10
    edited = [{**row, "text": "edited"} if n == 7 else row for n, row in enumerate(numbered(60))]
    assert run(edited) == 1
    assert run(edited[::-1]) == 0
    assert run(edited[::-1][:20]) == 0
    assert run(edited) == 0
    recarried = [{**row, "customer": "new"} for row in edited]
    assert run(recarried) == 0
    assert money(bench.results()["cost_usd"].sum()) <= money(sandbox.books()["billed_usd"])


def test_retry_failed_reopens_those_rows_alone(bench, sandboxes):
    """--retry-failed asks the rows that are not ok again, keeps what they had cost, and pays no other row."""
    sandbox = sandboxes(seed=3, faults={"wrong_schema": 0.7})
    bench.rows(numbered(40))
    bench.job(id="id", schema=PERSON, retries={"content": 0})
    first = direct(bench, sandbox.base_url)
    assert first.code == 3
    invalid = first.manifest["ledger"]["invalid"]
    assert invalid > 10
    assert direct(bench, sandbox.base_url).code == 3
    assert sandbox.books()["calls"] == 40
    sandbox.change(faults={})
    assert direct(bench, sandbox.base_url, "--retry-failed", "timeout").manifest["ledger"]["invalid"] == invalid
    assert sandbox.books()["calls"] == 40
    done = direct(bench, sandbox.base_url, "--retry-failed")
    assert done.code == 0
    assert sandbox.books()["calls"] == 40 + invalid
    assert_balanced(done.manifest, bench.results())
    assert money(bench.results()["cost_usd"].sum()) == money(sandbox.books()["billed_usd"])
    assert done.manifest["totals"]["calls"] == 40 + invalid


@pytest.mark.parametrize("model", MODELS)
def test_each_content_failure_does_what_the_contract_says(bench, sandboxes, model):
    """Schema violations are asked again, cuts with more room, blocks are refused; each attempt is billed and counted."""
    sandbox = sandboxes()
    kinds = ["wrong_schema*1", "wrong_schema", "cut*1", "blocked", "fenced", "prose", "invalid_json*2", "empty*1",
             "upstream_error*2", "internal_error*1", "disconnect*1", "invalid_request", "task_not_found", "no_usage"]  # fmt: skip
    bench.rows([{"id": kind, "text": f"[[fault:{kind}]] person {n}"} for n, kind in enumerate(kinds)])
    bench.job(model=model, id="id", schema=PERSON, params={"max_output_tokens": 400}, retries={"content": 2})
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 3
    rows = {row["row_id"]: row for row in bench.results().iter_rows(named=True)}

    def told(kind: str) -> tuple[Any, ...]:
        row = rows[kind]
        return row["status"], row["attempts"], row["error_kind"], row["repair"], row["cost_unknown"]

    assert told("wrong_schema*1") == ("ok", 2, None, None, False)
    assert told("wrong_schema") == ("invalid", 3, "schema_violation", None, False)
    assert told("cut*1") == ("ok", 2, None, None, False)
    assert told("blocked") == ("refused", 1, "blocked", None, False)
    assert told("fenced") == ("ok", 1, None, "code fence", False)
    assert told("prose") == ("ok", 1, None, "prose around the value", False)
    assert told("invalid_json*2")[:2] == ("ok", 3)
    assert told("empty*1")[:2] == ("ok", 2)
    assert told("upstream_error*2") == ("ok", 3, None, None, False)
    assert told("internal_error*1") == ("ok", 2, None, None, True)
    assert told("disconnect*1") == ("ok", 2, None, None, True)
    assert told("invalid_request")[:3] == ("failed", 1, "invalid_request")
    assert told("task_not_found")[:3] == ("failed", 1, "task_not_found")
    assert told("no_usage") == ("ok", 1, None, None, True)
    assert rows["wrong_schema"]["wasted_cost_usd"] == rows["wrong_schema"]["cost_usd"] > 0
    assert Decimal(0) < rows["wrong_schema*1"]["wasted_cost_usd"] < rows["wrong_schema*1"]["cost_usd"]
    assert rows["invalid_request"]["cost_usd"] == 0
    assert rows["wrong_schema"]["response_text"] == '{"unexpected": [1, 2, 3]}'
    assert_balanced(ended.manifest, bench.results())


@pytest.mark.parametrize(
    ("fault", "code", "kind"),
    [
        ("invalid_api_key", 5, "auth"),
        ("ip_not_allowed", 5, "auth"),
        ("model_not_found", 5, "model_not_found"),
        ("insufficient_credits", 4, "insufficient_credits"),
        ("spend_limit_exceeded", 4, "spend_limit"),
    ],
)
def test_what_stops_the_run_costs_one_call_when_it_is_first(bench, sandboxes, fault, code, kind):
    """A bad key, address, model or balance costs one call, stops with its own exit code and the next command."""
    sandbox = sandboxes(faults={fault: 1.0})
    bench.rows(numbered(100))
    bench.job(id="id", limits={"concurrency": 32})
    ended = direct(bench, sandbox.base_url)
    assert ended.code == code, ended.err
    assert sandbox.books()["calls"] == 1
    assert ended.manifest["termination"]["kind"] == kind
    assert ended.manifest["termination"]["code"] == fault
    assert ended.manifest["ledger"]["not_attempted"] == 100
    sandbox.change(faults={})
    assert direct(bench, sandbox.base_url).code == 0
    assert bench.results().height == 100


@pytest.mark.parametrize("model", MODELS)
def test_a_spend_limit_midway_is_met_by_calls_in_flight_alone(bench, sandboxes, model):
    """After the first spend-limit answer nothing more is sent; raising the limit and running again completes."""
    sandbox = sandboxes(spend_limit_usd="0.02", latency_ms=20)
    bench.rows(numbered(400))
    bench.job(model=model, id="id", limits={"concurrency": 16})
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 4, ended.err
    books = sandbox.books()
    assert 1 <= books["calls_by_status"]["429 spend_limit_exceeded"] <= 16
    assert_balanced(ended.manifest, bench.results())
    assert ended.manifest["ledger"]["failed"] == 0
    assert money(bench.results()["cost_usd"].sum()) == money(books["billed_usd"])
    sandbox.change(spend_limit_usd=None)
    done = direct(bench, sandbox.base_url)
    assert done.code == 0
    assert sandbox.books()["prompts_billed_twice"] == 0
    assert_balanced(done.manifest, bench.results())


@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_the_cap_holds_and_the_run_goes_on_when_it_is_raised(bench, sandboxes, concurrency):
    """max_cost_usd is never passed, the run stops with exit 4, and a higher cap goes on from there."""
    sandbox = sandboxes(latency_ms=5)
    bench.rows(numbered(300))
    bench.job(id="id", limits={"concurrency": concurrency}, params={"max_output_tokens": 500}, max_cost_usd=0.05)
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 4, ended.err
    assert ended.manifest["termination"]["kind"] == "budget"
    assert Decimal("0.03") < money(sandbox.books()["billed_usd"]) <= Decimal("0.05")
    again = direct(bench, sandbox.base_url)
    assert again.code == 4
    assert money(sandbox.books()["billed_usd"]) <= Decimal("0.05")
    assert direct(bench, sandbox.base_url, "--max-cost", "5").code == 0
    assert sandbox.books()["prompts_billed_twice"] == 0


def test_an_outage_ends_with_exit_6_and_charges_no_row(bench, sandboxes):
    """When everything fails the run stops as an outage; the rows are not failed, and the next run completes."""
    sandbox = sandboxes()
    bench.rows(numbered(120))
    bench.job(id="id", retries={"outage_s": 2, "transport": 3}, limits={"concurrency": 16})
    assert direct(bench, sandbox.base_url, "-n", "20").code == 0
    sandbox.change(faults={"upstream_error": 1.0})
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 6, ended.err
    assert ended.manifest["ledger"]["failed"] == 0
    assert sandbox.books()["calls"] < 20 + 40
    sandbox.change(faults={})
    assert direct(bench, sandbox.base_url).code == 0


def test_content_that_always_fails_upstream_fails_alone(bench, sandboxes):
    """A row whose content gives 503 every time fails by itself while the others are answered."""
    sandbox = sandboxes()
    rows = numbered(60)
    rows[10]["text"] = "[[fault:upstream_error]] bad"
    bench.rows(rows)
    bench.job(id="id", retries={"transport": 2})
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 3
    assert ended.manifest["ledger"] | {"ok": 59, "failed": 1} == ended.manifest["ledger"]
    failed = bench.results().filter(status="failed")
    assert failed["error_kind"].to_list() == ["upstream_error"]
    assert failed["attempts"].to_list() == [3]
    assert failed["cost_usd"].sum() == 0


def test_rate_limits_slow_everyone_and_charge_no_row(bench, sandboxes):
    """A gateway that allows 20 calls at once is obeyed by Retry-After; no row's retries are used up."""
    sandbox = sandboxes(rpm=2_400, limit_window="bucket", bucket_seconds=0.5)
    bench.rows(numbered(100))
    bench.job(id="id", retries={"transport": 0}, limits={"concurrency": 50})
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 0, ended.err
    assert ended.manifest["totals"]["retries"]["rate_limit_exceeded"] > 0


def test_rpm_keeps_the_gateway_quiet(bench, sandboxes):
    """Within the key's RPM no 429 is provoked."""
    sandbox = sandboxes(rpm=3_000, limit_window="bucket", bucket_seconds=0.3)
    bench.rows(numbered(200))
    bench.job(id="id", limits={"concurrency": 50, "rpm": 2_900})
    assert direct(bench, sandbox.base_url).code == 0
    assert set(sandbox.books()["calls_by_status"]) == {"200"}


def test_input_of_every_container_gives_the_same_rows(bench, sandboxes, tmp_path):
    """JSONL, .gz, .zst, Parquet and a folder give the same results, and the same request is recognised in each."""
    import gzip

    import pyarrow as pa

    sandbox = sandboxes()
    rows = numbered(20)
    bench.rows(rows)
    plain = (bench.folder / "rows.jsonl").read_bytes()
    (bench.folder / "rows.jsonl.gz").write_bytes(gzip.compress(plain))
    with pa.CompressedOutputStream(str(bench.folder / "rows.jsonl.zst"), "zstd") as out:
        out.write(plain)
    pl.DataFrame(rows).write_parquet(bench.folder / "rows.parquet")
    (bench.folder / "folder").mkdir()
    bench.rows(rows[:7], "folder/a.jsonl")
    bench.rows(rows[7:], "folder/b.jsonl")
    outputs = []
    for number, name in enumerate(
        ("rows.jsonl", "rows.jsonl.gz", "rows.jsonl.zst", "rows.parquet", "folder", "*.jsonl")
    ):
        bench.job(id="id", keep=["customer"], input=name)
        ended = direct(bench, sandbox.base_url, "-o", f"out{number}")
        assert ended.code == 0, ended.err
        outputs.append(bench.results(f"out{number}").select("row_id", "customer", "output", "request_key"))
    assert all(output.equals(outputs[0]) for output in outputs)


def test_malformed_lines_are_rows_of_their_own(bench, sandboxes):
    """Each broken line is an unreadable row with file and line; every other row is answered."""
    sandbox = sandboxes()
    lines = [json.dumps(row) for row in numbered(6)]
    lines[1], lines[3], lines[4] = '{"id": "cut', "", "[]"
    (bench.folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    bench.job(id="id")
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 3
    assert ended.manifest["ledger"] | {"rows": 6, "ok": 3, "unreadable": 3} == ended.manifest["ledger"]
    bad = bench.results().filter(status="unreadable")
    assert bad["row_index"].to_list() == [1, 3, 4]
    for line, message in zip((2, 4, 5), bad["error_message"].to_list(), strict=True):
        assert f"rows.jsonl, line {line}:" in message
    assert_balanced(ended.manifest, bench.results())


def test_an_empty_input_is_complete_and_has_its_columns(bench, sandboxes):
    """An input without rows ends well, with a part that has no rows and all columns."""
    sandbox = sandboxes()
    (bench.folder / "rows.jsonl").write_text("")
    bench.job(schema=PERSON)
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 0, ended.err
    assert bench.results().shape[0] == 0
    assert "cost_usd" in bench.results().columns
    bench.rows(numbered(3))
    assert direct(bench, sandbox.base_url).manifest["ledger"]["ok"] == 3


def test_json_is_alone_on_stdout_and_quiet_is_quiet(bench, sandboxes):
    """With --json stdout is one JSON object; with -q nothing is said; progress goes to stderr."""
    sandbox = sandboxes()
    bench.rows(numbered(5))
    bench.job(id="id")
    ended = direct(bench, sandbox.base_url)
    assert json.loads(ended.out)["exit_code"] == 0
    assert "5 ok" in ended.err
    quiet = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "-q", "--fresh")
    assert (quiet.out, quiet.err) == ("", "")


BAD_JOBS = [
    ({"promt": "x"}, "did you mean 'prompt'"),
    ({"limits": {"rps": 1}}, "limits.rps"),
    ({"limits": {"concurrency": 0}}, "limits.concurrency"),
    ({"max_cost_usd": "much"}, "max_cost_usd"),
    ({"model": "gpt-9"}, "in no catalogue"),
    ({"input": "none.jsonl"}, "no such file"),
    ({"schema": "none.json"}, "none.json"),
    ({"schema": {"type": "strin"}}, "not a JSON Schema"),
    ({"prompt": "{{ nope }}"}, "'nope' is unknown"),
    ({"prompt": "{{ text "}, "template"),
    ({"keep": ["nope"]}, "no row has"),
    ({"keep": ["status"]}, "cannot be kept"),
    ({"id": "nope"}, "no row has"),
    ({"id": "customer"}, "not unique"),
    ({"output": "rows.jsonl"}, "is a file"),
    ({"params": {"search": True}, "tools": [{"name": "f"}]}, "cannot be used together"),
    ({"structured": "native", "tools": [{"name": "f"}], "schema": PERSON}, "cannot be used together"),
    ({"params": {"max_output_tokens": 10**6}}, "at most 65,536"),
    ({"catalogue": "none.toml"}, "cannot be read"),
    ({"prompt": None}, "no request can be made"),
]


@pytest.mark.parametrize(("keys", "told"), BAD_JOBS, ids=[told for _, told in BAD_JOBS])
def test_a_bad_job_is_refused_before_any_call(bench, sandboxes, keys, told):
    """Each mistake of a job or its input is one clear line, exit 2, no traceback and no call."""
    sandbox = sandboxes()
    bench.rows(numbered(6))
    bench.job(**keys)
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 2, ended.err
    assert told in ended.err
    assert "Traceback" not in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert sandbox.books()["calls"] == 0


def test_a_missing_or_wrong_key_and_address_are_refused(bench, sandboxes):
    """No key, a key with a line feed, an address that is none: exit 2 before any call."""
    sandbox = sandboxes()
    bench.rows(numbered(2))
    bench.job()
    assert "ROWMILL_API_KEY" in direct(bench, sandbox.base_url, ROWMILL_API_KEY="").err
    assert direct(bench, sandbox.base_url, ROWMILL_API_KEY="sk-a\nb").code == 2
    ended = direct(bench, "not an address")
    assert ended.code == 2
    assert "no web address" in ended.err
    wrong = direct(bench, f"{sandbox.base_url}/elsewhere")
    assert wrong.code == 5
    assert wrong.manifest["termination"]["kind"] == "model_not_found"


def test_the_key_is_redacted_when_the_gateway_echoes_it(bench, sandboxes):
    """An error body that holds the key leaves it in no result, manifest, journal or message."""
    sandbox = sandboxes()
    bench.rows([{"id": "a", "text": "[[fault:echo_key]] x"}, {"id": "b", "text": "y"}])
    bench.job(id="id", retries={"transport": 1})
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 3
    assert "[key redacted]" in bench.results().filter(row_id="a")["error_message"][0]
    assert KEY not in ended.out + ended.err
    for path in bench.folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_check_says_what_would_be_sent_and_sends_nothing(bench, sandboxes):
    """`check` shows the first requests and every bad row, and calls nobody."""
    sandbox = sandboxes()
    bench.rows(numbered(5))
    bench.job(id="id", schema=PERSON)
    good = bench.run(sandbox.base_url, "check", "job.yaml", "-n", "2")
    assert good.code == 0
    assert good.out.count('"response_format"') == 2
    assert "5 rows, 5 can be asked" in good.out
    with open(bench.folder / "rows.jsonl", "a") as file:
        file.write("{broken\n")
    bad = bench.run(sandbox.base_url, "check", "job.yaml")
    assert bad.code == 2
    assert "rows.jsonl, line 6" in bad.out
    assert sandbox.books()["calls"] == 0


def test_check_tells_every_problem_at_once(bench):
    """What the job asks of its model and what its input has wrong come together, a line each with its mend."""
    bench.rows([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}])
    bench.job(
        model="gemini-3-flash", id="id", keep=["nowhere"], prompt="{{ txt }}",
        params={"max_output_tokens": 10_000_000, "search": True}, tools=[{"name": "f"}],
    )  # fmt: skip
    ended = bench.run("", "check", "job.yaml")
    assert ended.code == 2
    lines = ended.err.strip().splitlines()
    for said in (
        "search and functions",
        "output tokens",
        "'nowhere', which no row has",
        "is not unique",
        "did you mean",
    ):
        assert any(said in line for line in lines), said
    assert all(line.startswith("rowmill: ") for line in lines)
    bench.job(model="gemini-9", input="missing.jsonl")
    lines = bench.run("", "check", "job.yaml").err.strip().splitlines()
    assert len(lines) == 2
    assert "no such file" in lines[0]
    assert "gemini-9" in lines[1]


def test_models_and_version_are_told(bench):
    """`models` shows both models with price, source and date; --version and --help work without a job."""
    told = bench.run("", "models", "--json")
    assert set(json.loads(told.out)) == {"gemini-3-pro", "gemini-3-flash"}
    assert "$4.80" in bench.run("", "models").out
    assert bench.run("", "--version").out.startswith("rowmill ")
    assert "run a job" in bench.run("", "--help").out


def test_status_tells_a_running_a_killed_and_a_finished_run(bench, sandboxes):
    """`status` reads the files alone: the ledger balances while the run lives, after a kill and at its end."""
    import signal

    sandbox = sandboxes(latency_ms=100)
    bench.rows(numbered(200))
    bench.job(id="id", limits={"concurrency": 10})
    assert bench.run("", "status", "out").code == 2
    process = bench.start(sandbox.base_url, "run", "job.yaml", "--direct", "-q")
    while sandbox.books()["billed_calls"] < 50:
        time.sleep(0.02)
    # Whatever is asked from here on is still in flight when the run is killed.
    sandbox.change(latency_ms=600_000)
    running = bench.run("", "status", "out", "--json").manifest
    assert running["state"] == "running"
    assert 0 < running["ledger"]["ok"] < 200
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    killed = bench.run("", "status", "out", "--json").manifest
    assert killed["state"] == "killed"
    assert killed["ledger"]["rows"] == 200 == sum(n for name, n in killed["ledger"].items() if name != "rows")
    assert 0 < killed["beside"]["unsettled"]["calls"] <= 10
    assert money(killed["beside"]["unsettled"]["unknown_cost_bound_usd"]) > 0
    assert "run the same command again" in bench.run("", "status", "out").out
    sandbox.change(latency_ms=0)
    assert direct(bench, sandbox.base_url).code == 0
    ended = bench.run("", "status", "out")
    assert ended.code == 0
    assert "complete: 200 rows: 200 ok" in ended.out
    (bench.folder / "out/results/part-000000.parquet").write_bytes(b"PAR1 broken")
    damaged = bench.run("", "status", "out")
    assert damaged.code == 2
    assert "damaged" in damaged.out
    assert "part-000000.parquet" in damaged.out


def test_init_writes_a_job_that_runs(bench, sandboxes):
    """`init` gives a job that checks and runs as it is, and names its schema for editors; it overwrites nothing."""
    assert bench.run("", "init", "start").code == 0
    first = (bench.folder / "start/job.yaml").read_text().splitlines()[0]
    named = bench.folder / "start" / first.removeprefix("# yaml-language-server: $schema=")
    assert json.loads(named.read_text()) == json.loads(bench.run("", "schema").out)
    assert bench.run("", "check", "start/job.yaml").code == 0
    ended = bench.run("", "run", "start/job.yaml", "--sandbox", "--direct", "--json")
    assert ended.manifest["ledger"]["ok"] == 3
    assert bench.run("", "init", "start").code == 2


def test_a_row_whose_end_is_known_is_settled_when_the_run_stops(bench, sandboxes):
    """Rows refused for good just before a spend limit are told as failed, not as never attempted."""
    sandbox = sandboxes(spend_limit_usd="0.02")
    bench.rows(
        [{"id": f"r{n}", "text": f"t{n}" + (" [[fault:invalid_request]]" if 0 < n < 12 else "")} for n in range(200)]
    )
    bench.job(id="id", params={"max_output_tokens": 300})
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 4
    assert ended.manifest["ledger"]["failed"] == sandbox.books()["calls_by_status"]["400 invalid_request"] == 11


def test_a_retry_that_was_stopped_counts_earlier_cost_once(bench, sandboxes):
    """Rows tried again, stopped by a spend limit before their end, and tried once more: what they cost is the bill."""
    sandbox = sandboxes(faults={"wrong_schema": 1.0})
    bench.rows([{"text": f"row {n}"} for n in range(60)])
    bench.job(schema=PERSON, retries={"content": 0}, limits={"concurrency": 8})
    assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct").code == 3
    sandbox.change(faults={}, spend_limit_usd="0.000001")
    for _ in range(2):
        assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--retry-failed").code == 4
    sandbox.change(spend_limit_usd=None)
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json", "--retry-failed")
    assert ended.code == 0, ended.err
    assert_balanced(ended.manifest, bench.results())
    assert money(ended.manifest["totals"]["cost_usd"]) == money(sandbox.books()["billed_usd"])
