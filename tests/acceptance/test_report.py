"""report.html: what it tells, that it needs nothing but itself, and that nothing a model said runs in it. In a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PERSON, Bench

CHROMIUM = shutil.which("chromium")
HOSTILE = '<script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">'


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, reports=True)


def reported(bench: Bench, base_url: str, rows: list[dict[str, Any]], **job: Any) -> str:
    bench.rows(rows)
    bench.job(id="id", **job)
    bench.run(base_url, "run", "job.yaml", "--direct", "-q")
    return (bench.folder / "out/report.html").read_text()


def browse(page: Path, folder: Path, *flags: str) -> tuple[str, str]:
    """The page's DOM after its scripts would have run, and what the browser logged."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=2000",
         *flags, page.as_uri()],
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


class Outline(HTMLParser):
    """The page's text, and every address it names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.addresses, self.tags = "", [], []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [
            value for name, value in attrs if name in ("src", "href", "srcset", "action", "data") and value
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_report_tells_the_run(bench, sandboxes):
    """Outcome, ledger, bill, plots with words, failures with examples, fields with their values, rows with answers."""
    sandbox = sandboxes(latency_ms=5, latency_spread=1.0)
    rows = [{"id": f"r{n}", "text": f"person {n}" + (" [[fault:invalid_request]]" if n % 50 == 0 else "")
             + (" [[fault:internal_error*1]]" if n % 9 == 0 else ""), "from": f"file {n}"} for n in range(200)]  # fmt: skip
    page = Outline(reported(bench, sandbox.base_url, rows, schema=PERSON, keep=["from"]))
    for words in (
        "complete, 4 rows not ok",
        "196",
        "Cost over time",
        "internal_error",
        "invalid_request",
        "name",
        "100.0 %",
    ):
        assert words in page.text, words
    assert "file 16" in page.text
    assert page.tags.count("svg") >= 6


def test_a_report_shows_prompts_and_says_that_a_run_was_a_sandboxs(bench, sandboxes):
    """Sample rows stand with what was asked of them; a run with --sandbox says so, another does not."""
    rows = [{"id": f"r{n}", "text": f"person {n} <i>"} for n in range(30)]
    page = reported(bench, sandboxes().base_url, rows, keep=["text"])
    told = Outline(page).text
    assert "Say person 0 <i>" in told
    assert told.count("promptSay person") == 12
    assert "answers are made up" not in told
    ended = bench.run("", "run", "job.yaml", "--direct", "--sandbox", "-o", "tried")
    assert "sandbox: nothing was paid" in ended.err
    assert (bench.manifest("tried")["sandbox"], bench.manifest()["sandbox"]) == (True, False)
    tried = (bench.folder / "tried/report.html").read_text()
    assert "answers are made up" in Outline(tried).text
    (bench.folder / "rows.jsonl").unlink()
    assert bench.run("", "report", "out").code == 0
    assert "not there any more" in Outline((bench.folder / "out/report.html").read_text()).text


def test_a_report_needs_nothing_but_itself(bench, sandboxes):
    """No script, no address but those inside the page, and a policy that forbids the rest."""
    page = reported(bench, sandboxes().base_url, [{"id": f"r{n}", "text": f"person {n}"} for n in range(30)])
    told = Outline(page)
    assert "script" not in told.tags
    assert all(address.startswith(("#", "data:")) for address in told.addresses), told.addresses
    assert "default-src 'none'" in page
    assert len(page) < 300_000


def test_a_report_is_made_again_from_the_files_alone(bench, sandboxes):
    """`rowmill report OUT` writes it anew; where there is no run it says so with exit 2."""
    reported(bench, sandboxes().base_url, [{"id": "a", "text": "person"}], schema=PERSON)
    page = bench.folder / "out/report.html"
    page.unlink()
    ended = bench.run("", "report", "out")
    assert ended.code == 0, ended.err
    assert page.exists()
    refused = bench.run("", "report", "nothing-here")
    assert refused.code == 2
    assert "no run here" in refused.err


@pytest.mark.parametrize("rows", [[], [{"id": "a", "text": "only one [[fault:invalid_request]]"}]])
def test_a_report_of_nothing_is_a_page_too(bench, sandboxes, rows):
    """An empty input, and a run without one good answer, have their page."""
    page = Outline(reported(bench, sandboxes().base_url, rows, schema=PERSON))
    assert "Ledger" in page.text


def test_a_stopped_run_tells_why_and_what_to_do(bench, sandboxes):
    """The page of a run that a spend limit stopped says so, and how to go on."""
    rows = [{"id": f"r{n}", "text": f"person {n}"} for n in range(100)]
    page = Outline(reported(bench, sandboxes(spend_limit_usd="0.01").base_url, rows))
    assert "spend limit" in page.text
    assert "Run the same command again" in page.text


def test_the_page_can_be_left_out(bench, sandboxes):
    """`--no-report` saves its second."""
    bench.rows([{"id": "a", "text": "person"}])
    bench.job(id="id")
    assert bench.run(sandboxes().base_url, "run", "job.yaml", "--direct", "--no-report").code == 0
    assert not (bench.folder / "out/report.html").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_nothing_that_was_said_runs_and_a_browser_has_nothing_to_complain_of(bench, sandboxes, tmp_path):
    """In a real browser: markup in ids, kept columns, prompts and errors stays text, and the console stays empty."""
    rows = [{"id": f"{HOSTILE}{n}", "text": f"{HOSTILE} {n}" + (" [[fault:invalid_request]]" if n % 3 == 0 else ""),
             "more": HOSTILE} for n in range(12)]  # fmt: skip
    reported(bench, sandboxes().base_url, rows, keep=["more"], name=HOSTILE)
    dom, console = browse(bench.folder / "out/report.html", tmp_path, "--dump-dom")
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert title is not None
    assert title.group(1) != "owned"
    assert "<script" not in dom
    assert not re.search(r"<img[^>]+onerror", dom)
    assert console == ""
    assert dom.count("<svg") >= 4
