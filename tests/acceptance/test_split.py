"""Split and merge: parts of a job that run for themselves are one output in the end, and one bill."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

import rowmill
from rowmill.flows.cli import main
from tests.conftest import KEY, Bench, assert_balanced, money
from tests.gateways import Ask, Gateway, Reply, answer_to


@pytest.fixture
def command(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Any:
    """Run a command in the bench's folder, against a gateway; gives its exit code and what it printed."""
    monkeypatch.chdir(bench.folder)
    monkeypatch.delenv("ROWMILL_REDIS_URL", raising=False)

    def run(gateway: Gateway | None, *args: str) -> tuple[int, str]:
        monkeypatch.setenv("ROWMILL_API_KEY", KEY)
        monkeypatch.setenv("ROWMILL_BASE_URL", gateway.url if gateway is not None else "http://127.0.0.1:9")
        more = ["--direct", "-q", "--no-report"] if args[0] in ("run", "label") else []
        # What the command before was told to keep quiet.
        logging.getLogger("rowmill").setLevel(logging.NOTSET)
        caplog.clear()
        code = main([*args, *more])
        told = capsys.readouterr()
        return code, told.out + told.err + caplog.text

    return run


def some_rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Kept values that are whole numbers in the first half and text in the other: one part alone would not know."""
    return [
        {"text": f"t{n}", "kind": n if n < count // 2 else f"k{n}"} for n in range(first, first + count)
    ]  # fmt: skip


def run_parts(command: Any, gateway: Gateway, numbers: range = range(1, 4), out: str = "out") -> list[int]:
    return [command(gateway, "run", f"{out}/parts/{number:04d}.yaml")[0] for number in numbers]


SEEN = ["row_id", "row_index", "kind", "status", "input_tokens", "cost_usd", "request_key"]


@pytest.mark.parametrize("model", ["gemini-3-pro", "gemini-3-flash"])
def test_parts_are_one_output_in_the_end(bench: Bench, command: Any, gateways: Any, model: str) -> None:
    """Merged parts are what one run would have left: the same rows at the same places with the same columns, one
    balanced ledger whose bill is the gateway's to the last digit; and a run over it finds nothing to do.
    """
    gateway: Gateway = gateways(latency_s=0.001)
    bench.rows(some_rows(100))
    bench.job(model=model, keep=["kind"], max_cost_usd=9, params={"max_output_tokens": 400})
    assert command(None, "split", "job.yaml", "--parts", "3")[0] == 0
    assert run_parts(command, gateway) == [0, 0, 0]
    code, told = command(None, "merge", "out", "--json")
    assert code == 0, told
    manifest = bench.manifest()
    assert manifest["termination"]["kind"] == "complete"
    assert_balanced(manifest, bench.results())
    sums = [bench.manifest(f"out/parts/{number:04d}")["totals"]["cost_usd"] for number in (1, 2, 3)]
    assert money(manifest["totals"]["cost_usd"]) == sum(map(money, sums)) == money(gateway.books()["billed_usd"])
    assert [part["rows"] for part in manifest["split"]["parts"]] == [33, 34, 33]
    calls = len(gateway.asks)
    assert command(gateway, "run", "job.yaml")[0] == 0
    assert len(gateway.asks) == calls == 100
    bench.job("whole.yaml", model=model, keep=["kind"], output="whole", params={"max_output_tokens": 400})
    assert command(gateway, "run", "whole.yaml")[0] == 0
    assert bench.results().schema == bench.results("whole").schema
    whole, parts = (bench.results(out).select(SEEN) for out in ("whole", "out"))
    assert whole.equals(parts)
    assert bench.results()["response_text"].to_list() == [answer_to(f"Say t{n}") for n in range(100)]
    assert command(None, "status", "out", "--verify")[0] == 0


def test_equal_requests_in_different_parts_are_paid_once_a_part_and_told(
    bench: Bench, command: Any, gateways: Any
) -> None:
    """Within a part a request is paid once; parts know nothing of each other, and the merged manifest says what that
    has cost. Rows that bring ids of their own keep them, whole numbers too, also where they own another row's answer.
    """
    gateway: Gateway = gateways()
    rows = [
        {"custom_id": str(n % 6), "body": {"messages": [{"role": "user", "content": f"q{n % 10}"}]}} for n in range(60)
    ]
    bench.rows(rows)
    bench.job(prompt=None)
    (bench.folder / "job.yaml").write_text(
        yaml.safe_dump({"model": "gemini-3-pro", "input": "rows.jsonl", "output": "out"})
    )
    assert command(None, "split", "job.yaml", "--parts", "2")[0] == 0
    assert run_parts(command, gateway, range(1, 3)) == [0, 0]
    code, told = command(None, "merge", "out")
    assert code == 0
    assert "10 requests stand in several parts" in told
    manifest, results = bench.manifest(), bench.results()
    assert manifest["split"]["requests_paid_in_several_parts"] == 10
    again = results.filter(pl.col("reused_from").is_null())["cost_usd"][10:].sum()
    assert money(manifest["split"]["their_cost_usd"]) == money(again) > 0
    assert results["row_id"].to_list() == [str(n % 6) for n in range(60)]
    owners = [None if n % 30 < 10 else str((n // 30 * 30 + n % 10) % 6) for n in range(60)]
    assert results["reused_from"].to_list() == owners
    assert len(gateway.asks) == 20


def dear(ask: Ask) -> Reply:
    """An answer as dear as a body that allows 100 tokens can be."""
    return Reply(text=answer_to(ask.prompt), input=20, output=100, thinking=0)


async def at_once(paths: list[Path]) -> list[str]:
    """Run parts beside each other in one process; how each of them ended."""

    async def kind(path: Path) -> str:
        try:
            return str((await rowmill.run_async(rowmill.Job.load(path))).manifest["termination"]["kind"])
        except rowmill.Stopped as stopped:
            return str(stopped.manifest["termination"]["kind"])

    return await asyncio.gather(*map(kind, paths))


def test_the_cap_holds_over_all_parts(bench: Bench, command: Any, gateways: Any, monkeypatch: Any) -> None:
    """Parts that run at once never spend more than max_cost_usd together and nearly all of it; the whole says which part
    stopped for it; with more money they go on and pay for nothing twice.
    """
    gateway: Gateway = gateways(dear)
    bench.rows([{"text": f"t{n}"} for n in range(160)])
    told = {"params": {"max_output_tokens": 100}, "limits": {"concurrency": 8}}
    bench.job(max_cost_usd="0.04", **told)
    assert command(gateway, "split", "job.yaml", "--parts", "4")[0] == 0
    paths = sorted((bench.folder / "out/parts").glob("*.yaml"))
    monkeypatch.setenv("ROWMILL_BASE_URL", gateway.url)
    kinds = asyncio.run(at_once(paths))
    assert "budget" in kinds
    billed = money(gateway.books()["billed_usd"])
    assert money("0.035") < billed <= money("0.04")
    code, said = command(None, "merge", "out")
    assert code == 4
    manifest = bench.manifest()
    number = kinds.index("budget") + 1
    assert manifest["termination"]["message"].startswith(f"part {number} of 4: max_cost_usd of all 4 parts: of $0.04")
    ledger = manifest["ledger"]
    assert ledger["rows"] == 160 == ledger["ok"] + ledger["not_attempted"]
    assert money(manifest["totals"]["cost_usd"]) + money(manifest["beside"]["cost_usd"]) == billed
    assert "split it again" in said
    assert command(gateway, "run", "job.yaml")[0] == 2
    bench.job(max_cost_usd="2", **told)
    assert command(None, "split", "job.yaml")[0] == 0
    monkeypatch.setenv("ROWMILL_BASE_URL", gateway.url)
    assert asyncio.run(at_once(paths)) == ["complete"] * 4
    assert command(None, "merge", "out")[0] == 0
    assert_balanced(bench.manifest(), bench.results())
    assert len(gateway.asks) == 160
    assert money(bench.manifest()["totals"]["cost_usd"]) == money(gateway.books()["billed_usd"])


def test_a_stop_of_one_part_is_told_with_its_name(bench: Bench, command: Any, gateways: Any) -> None:
    """The key is refused in one part, another was not run: exit 5, rows counted, and nothing merged."""
    gateway: Gateway = gateways()
    bench.rows([{"text": f"t{n}"} for n in range(30)])
    bench.job()
    assert command(None, "split", "job.yaml", "--parts", "3")[0] == 0
    code, told = command(None, "merge", "out")
    assert (code, "none of its parts has been run" in told) == (2, True)
    assert command(gateway, "run", "out/parts/0001.yaml")[0] == 0
    gateway.script = lambda ask: Reply(status=401, error=("invalid_api_key", "no such key", "auth"), billed=False)
    assert command(gateway, "run", "out/parts/0002.yaml")[0] == 5
    code, told = command(None, "merge", "out")
    assert code == 5
    assert "part 2 of 3: " in told
    assert bench.manifest()["ledger"] == {
        "rows": 30, "ok": 10, "invalid": 0, "refused": 0, "failed": 0, "unreadable": 0, "not_attempted": 20,
    }  # fmt: skip
    assert not list((bench.folder / "out/results").iterdir())
    code, told = command(None, "status", "out")
    assert code == 0
    assert "part 3: not run, 10 rows" in told


def test_what_is_changed_after_the_split_is_refused_or_followed(bench: Bench, command: Any, gateways: Any) -> None:
    """Another number of parts, prompt or input is refused once a part was run, naming it and the way out; limits and
    caps are followed. A part whose output is missing is not run; rows of no part are seen.
    """
    gateway: Gateway = gateways()
    bench.rows([{"text": f"t{n}"} for n in range(10)])
    bench.job(limits={"concurrency": 9, "rpm": 600})
    assert command(None, "split", "job.yaml")[0] == 2
    assert command(None, "split", "job.yaml", "--parts", "2")[0] == 0
    code, told = command(None, "split", "job.yaml", "--parts", "50")
    assert "no more than 10 rows" in told
    assert command(None, "split", "job.yaml", "--parts", "3", "--at-once", "2")[0] == 0
    part = yaml.safe_load((bench.folder / "out/parts/0003.yaml").read_text())
    assert part["limits"] == {"concurrency": 4, "rpm": 300.0}
    assert run_parts(command, gateway) == [0, 0, 0]
    code, told = command(None, "split", "job.yaml", "--parts", "4")
    assert code == 2
    assert "split already, into 3 parts, of which 3 have been run" in told
    bench.job(prompt="Shout {{ text }}")
    code, told = command(None, "split", "job.yaml", "--parts", "3")
    assert code == 2
    assert "changed: prompt" in told
    bench.job(limits={"concurrency": 12}, max_cost_usd=3)
    assert command(None, "split", "job.yaml")[0] == 0
    part = yaml.safe_load((bench.folder / "out/parts/0002.yaml").read_text())
    assert (part["limits"], part["max_cost_usd"]) == ({"concurrency": 6}, "3")
    assert command(None, "merge", "out")[0] == 0
    # Rows are appended: the merged output is gone on with by the part that has them.
    bench.rows([{"text": f"t{n}"} for n in range(12)])
    code, told = command(None, "merge", "out")
    assert code == 2
    assert "are in no part" in told
    assert run_parts(command, gateway) == [0, 0, 0]
    assert command(None, "merge", "out")[0] == 0
    assert bench.results().height == 12 == len(gateway.asks)
    (bench.folder / "out/parts/0002/run.json").rename(bench.folder / "set-aside.json")
    code, told = command(None, "merge", "out")
    assert code == 130
    assert "part 2 of 3 has not been run" in told


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"input": {"query": "SELECT 1", "connection": "duckdb:///x.db"}}, "a query cannot be split"),
        ({"input": "-"}, "standard input cannot be split"),
        ({"max_run_cost_usd": 2}, "max_run_cost_usd caps one run"),
        ({"runner": "dask"}, "divides a job among its workers already"),
        ({"label": {"labels": ["a", "b"], "gold": "g", "min_accuracy": 0.9}}, "gold rows of the whole job"),
        ({"label": {"labels": ["a", "b"]}}, "which a part does not know"),
        ({"output": "s3://bucket/out", "max_cost_usd": 2}, "needs a Redis"),
    ],
)
def test_what_parts_cannot_do_together_is_refused(bench: Bench, command: Any, keys: dict[str, Any], says: str) -> None:
    """Before anything is written, with the key and the way out."""
    bench.rows([{"text": "t", "g": "a"}] * 4)
    bench.job(**keys)
    code, told = command(None, "split", "job.yaml", "--parts", "2")
    assert code == 2
    assert says in told
    assert not (bench.folder / "out").exists()


def test_an_output_of_a_whole_run_is_not_split(bench: Bench, command: Any, gateways: Any) -> None:
    """What stands there was paid for; and what a run adds to merged parts they know nothing of."""
    gateway: Gateway = gateways()
    bench.rows([{"text": f"t{n}"} for n in range(6)])
    bench.job(output="whole")
    assert command(gateway, "run", "job.yaml")[0] == 0
    code, told = command(None, "split", "job.yaml", "--parts", "2")
    assert code == 2
    assert "holds a run of the whole job" in told
    bench.job()
    assert command(None, "split", "job.yaml", "--parts", "2")[0] == 0
    code, told = command(gateway, "run", "job.yaml")
    assert code == 2
    assert "is split into parts" in told
    assert run_parts(command, gateway, range(1, 3)) == [0, 0]
    assert command(None, "merge", "out")[0] == 0
    bench.rows([{"text": f"t{n}"} for n in range(8)])
    assert command(gateway, "run", "job.yaml")[0] == 0
    assert bench.results().height == 8
    assert command(None, "merge", "out")[0] == 2
    assert json.loads((bench.folder / "out/run.json").read_text())["ledger"]["ok"] == 8


def test_labels_and_ids_of_parts_are_merged(bench: Bench, command: Any, gateways: Any) -> None:
    """Labels of parts are scored over all rows, and each answer is that of its row's own request. A line that cannot be
    read is its own row; an id that stands in two parts has an answer in each, and that is said.
    """
    gateway: Gateway = gateways(lambda ask: Reply(text='{"label": "a"}'))
    rows = [{"id": f"r{n}", "text": f"t{n}", "truth": "ab"[n % 2]} for n in range(40)]
    bench.rows([*rows, {"id": "r3", "text": "again", "truth": "a"}])
    with (bench.folder / "rows.jsonl").open("a") as file:
        file.write("{broken\n")
    label = {"labels": ["a", "b"], "gold": "truth", "order": "vote", "votes": 1}
    bench.job(id="id", prompt="{{ text }}", label=label)
    assert command(None, "split", "job.yaml", "--parts", "3")[0] == 0
    codes = [command(gateway, "label", f"out/parts/{number:04d}.yaml")[0] for number in (1, 2, 3)]
    assert codes == [0, 0, 3]
    code, told = command(None, "merge", "out")
    assert code == 3, told
    assert "1 id stands in several parts" in told
    manifest = bench.manifest()
    assert manifest["label"]["gold"]["rows"] == 41
    assert bench.results()["correct"].sum() == 21
    assert_balanced(manifest, bench.results())
    assert command(None, "status", "out", "--verify")[0] == 0
    assert command(gateway, "label", "job.yaml")[0] == 3
    assert len(gateway.asks) == 41
