"""A refusal of one row, of every row, and of nobody at all: told apart through the command, with the cause in its words."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rowmill.sandbox.oddities import ODDITIES, REFUSALS
from tests.acceptance.test_run import direct
from tests.conftest import PERSON, Bench, assert_balanced
from tests.http_thread import served

WAITS_LONG = {"transport": 1, "content": 1, "outage_s": 600}
# What a single row may meet without any other row coming to know of it.
OF_ONE_ROW = {
    "firewall_403": "failed", "permission_denied": "failed", "not_found": "failed", "too_large_413": "failed",
    "content_filter_400": "refused", "client_closed_499": "failed", "upstream_200": "failed", "portal_200": "failed",
    "conflict_409*1": "ok", "too_early_425*1": "ok", "overloaded_529*1": "ok",
}  # fmt: skip
OF_EVERY_ROW = {
    "firewall_403": ("auth", 5), "permission_denied": ("auth", 5), "region": ("auth", 5), "google_bad_key": ("auth", 5),
    "not_found": ("model_not_found", 5), "unknown_model_400": ("model_not_found", 5), "bad_key_200": ("auth", 5),
    "insufficient_quota": ("spend_limit", 4), "billing_hard_limit": ("spend_limit", 4),
    "billing_error_403": ("spend_limit", 4), "budget_exceeded": ("spend_limit", 4),
    "budget_exceeded_422": ("spend_limit", 4), "spend_limit_200": ("spend_limit", 4), "portal_200": ("outage", 6),
}  # fmt: skip


@pytest.mark.parametrize("first", [True, False])
def test_a_refusal_of_one_row_is_that_rows(bench, sandboxes, first):
    """Each refusal of one row's content settles that row alone, also where it is met before anything was answered."""
    sandbox = sandboxes()
    rows = [{"id": f"plain{n}", "text": f"person {n}"} for n in range(60)]
    bad = [{"id": kind, "text": f"[[fault:{kind}]] x"} for kind in OF_ONE_ROW]
    bench.rows([*bad, *rows] if first else [*rows[:20], *bad, *rows[20:]])
    bench.job(id="id", retries={"transport": 1, "content": 1, "outage_s": 20}, limits={"concurrency": 16})
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 3, ended.err
    statuses = dict(bench.results().select("row_id", "status").iter_rows())
    assert {kind: statuses[kind] for kind in OF_ONE_ROW} == OF_ONE_ROW
    assert {status for row, status in statuses.items() if row.startswith("plain")} == {"ok"}
    assert_balanced(ended.manifest, bench.results())


@pytest.mark.parametrize("kind", OF_EVERY_ROW)
def test_a_refusal_of_every_row_stops_the_run(bench, sandboxes, kind):
    """What every row is refused for stops the run within the calls that may be in flight, and is given in its words."""
    sandbox = sandboxes(faults={kind: 1})
    bench.rows([{"id": f"r{n}", "text": f"person {n}"} for n in range(50)])
    bench.job(id="id", retries=WAITS_LONG, limits={"concurrency": 8})
    ended = direct(bench, sandbox.base_url)
    termination = ended.manifest["termination"]
    assert (termination["kind"], ended.code) == OF_EVERY_ROW[kind], termination
    assert sandbox.books()["calls"] <= 8
    form = REFUSALS[kind].body
    words = form["error"]["message"] if isinstance(form, dict) else form.partition("<title>")[2].partition("<")[0]
    assert words in termination["message"]
    assert words in ended.err


@pytest.mark.parametrize("rows", [1, 3])
def test_an_address_where_nobody_listens_is_an_outage_however_few_the_rows(bench, rows):
    """Rows that were never sent are not failed: the run ends as an outage, and says that nobody answers there."""
    bench.rows([{"id": f"r{n}", "text": f"person {n}"} for n in range(rows)])
    bench.job(id="id", retries={"transport": 1, "outage_s": 1})
    ended = direct(bench, "http://127.0.0.1:9")
    assert ended.code == 6, ended.err
    assert ended.manifest["ledger"]["not_attempted"] == rows
    assert ended.manifest["termination"]["code"] == "unreachable"
    assert "127.0.0.1:9 cannot be reached" in ended.manifest["termination"]["message"]


def test_a_name_that_does_not_exist_is_not_waited_for(bench):
    """A mistyped host ends the run at once, with the name in its message."""
    bench.rows([{"id": f"r{n}", "text": f"person {n}"} for n in range(20)])
    bench.job(id="id", retries=WAITS_LONG)
    ended = direct(bench, "http://gateway.invalid", timeout=60)
    assert ended.code == 6, ended.err
    assert ended.manifest["termination"]["code"] in ("unknown_host", "unreachable")
    assert "gateway.invalid" in ended.manifest["termination"]["message"]


class _Never(BaseHTTPRequestHandler):
    """Nobody gets so far: the certificate is refused before."""


@pytest.fixture
def untrusted(tmp_path: Path) -> Iterator[str]:
    """An HTTPS server whose certificate nobody has signed."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Never)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with served(server):
        yield f"https://localhost:{server.server_port}"


def test_a_certificate_that_nobody_trusts_is_not_waited_for(bench, untrusted):
    """A certificate does not get better by waiting: the run ends at once and says that it is the certificate."""
    bench.rows([{"id": f"r{n}", "text": f"person {n}"} for n in range(20)])
    bench.job(id="id", retries=WAITS_LONG)
    ended = direct(bench, untrusted, timeout=60)
    assert ended.code == 6, ended.err
    assert ended.manifest["termination"]["code"] == "untrusted_certificate"
    assert "certificate" in ended.manifest["termination"]["message"]


DEFECTIVE = """
import sys
from rowmill.flows.cli import main
from rowmill.tasks.answers.validator import Validator
from rowmill.tasks.plan.planner import Planner
judge, plan = Validator.judge, Planner.plan
def broken_judge(self, text):
    if "answer-7" in text:
        raise ZeroDivisionError("the row's own words")
    return judge(self, text)
def broken_plan(self, row):
    if row.index == 9:
        raise ZeroDivisionError("the row's own words")
    return plan(self, row)
Validator.judge, Planner.plan = broken_judge, broken_plan
sys.exit(main(sys.argv[1:]))
"""


def test_a_row_that_meets_a_defect_fails_alone(bench: Bench, sandboxes):
    """A fault of rowmill in planning or judging one row fails that row, its bill is known, and the exit code is 1."""
    sandbox = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"answer-{n} person {n}"} for n in range(20)])
    bench.job(id="id", limits={"concurrency": 4})
    done = subprocess.run(
        [sys.executable, "-c", DEFECTIVE, "run", "job.yaml", "--direct", "--json", "--no-report"],
        cwd=bench.folder, env=bench.environment(sandbox.base_url), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    rows = {row["row_id"]: row for row in bench.results().iter_rows(named=True)}
    assert {name for name, row in rows.items() if row["status"] != "ok"} == {"r7", "r9"}
    assert {rows[name]["error_kind"] for name in ("r7", "r9")} == {"defect"}
    assert rows["r7"]["cost_usd"] > 0
    assert not rows["r7"]["cost_unknown"]
    assert "Traceback" not in done.stderr
    assert "the row's own words" not in done.stderr + rows["r7"]["error_message"]
    assert_balanced(bench.manifest(), bench.results())


@pytest.mark.parametrize("model", ["gemini-3-pro", "gemini-3-flash"])
@pytest.mark.parametrize("stream", [False, True])
def test_each_oddity_of_an_answer_costs_at_most_its_row(bench, sandboxes, model, stream):
    """One row of a thousand meets each oddity, on both protocols, streamed and not: decided, and the books are exact."""
    sandbox = sandboxes()
    rows = [{"id": f"plain{n}", "text": f"person {n}"} for n in range(100)]
    odd = [{"id": kind, "text": f"[[fault:{kind}]] person"} for kind in ODDITIES]
    bench.rows([*rows[:50], *odd, *rows[50:]])
    bench.job(model=model, id="id", schema=PERSON, params={"stream": stream}, retries={"transport": 1, "content": 1})
    ended = direct(bench, sandbox.base_url)
    assert ended.code in (0, 3), ended.err
    results = bench.results()
    assert_balanced(ended.manifest, results)
    statuses = dict(results.select("row_id", "status").iter_rows())
    assert {status for row, status in statuses.items() if row.startswith("plain")} == {"ok"}
    never_ok = {"finish_error", "finish_network_error", "finish_other", "finish_malformed", "finish_safety",
                "finish_max_tokens", "no_answers", "answers_object"}  # fmt: skip
    assert {kind for kind in never_ok if statuses[kind] == "ok"} == set()
    unknown = set(results.filter("cost_unknown")["row_id"].to_list())
    # A stream of this protocol ends with its finish reason: without one it may have been cut.
    cut = {"finish_missing"} if stream and model == "gemini-3-flash" else set()
    assert unknown == {"counts_negative", "counts_huge", "counts_nan", "counts_null"} | cut
