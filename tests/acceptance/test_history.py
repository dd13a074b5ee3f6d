"""`rowmill history`: how the nights went, from what each of them left."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import Any

from rowmill.flows.api import carry_out_job
from rowmill.flows.cli import main
from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pipeline import carry_out
from rowmill.flows.orchestration.run_report import write_report
from rowmill.tasks.gateway.credentials import Gateway as Access
from rowmill.tasks.job.job_file import load_job
from rowmill.tasks.run.run_plan import Options
from tests.acceptance.test_fortnight import DateClock
from tests.acceptance.test_replica import environment
from tests.acceptance.test_run import numbered
from tests.conftest import KEY, Bench, money
from tests.gateways import Ask, Gateway, Reply, serving

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": ["string", "null"]}, "n": {"type": "integer"}, "kind": {"enum": ["a", "b"]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "n", "kind", "tags"],
    "additionalProperties": False,
}  # fmt: skip
KEYS: dict[str, Any] = {"id": "id", "name": "people", "schema": PERSON, "limits": {"concurrency": 8}}


def answer(ask: Ask, *, named: int = 10) -> Reply:
    """So many of ten rows have a name, every eighth breaks the schema."""
    number = int("".join(filter(str.isdigit, ask.prompt)))
    if number % 8 == 7:
        return Reply(text="{}", good=False)
    told = {"name": "n" if number % 10 < named else " ", "n": number, "kind": "ab"[number % 2], "tags": []}
    return Reply(text=json.dumps(told))


def night(bench: Bench, gateway: Gateway, day: int, rows: int, job: str = "job.yaml", **options: Any) -> dict[str, Any]:
    bench.rows(numbered(rows))

    async def run() -> dict[str, Any]:
        clock, access = DateClock(f"2030-01-{day:02}T01:00+00:00"), Access(gateway.url, KEY)
        async with opened(load_job(bench.folder / job), Options(**options), access, clock=clock, seed=day) as one:
            return await carry_out(one)

    return asyncio.run(run())


def settle(bench: Bench, gateway: Gateway, job: str) -> None:
    """A run by today's clock, wherever its output stands."""
    access = Access(gateway.url, KEY)
    job_file = load_job(bench.folder / job)
    asyncio.run(carry_out_job(job_file, Options(), progress=False, report=False, gateway=access))


def history(capsys: Any, *args: str) -> dict[str, Any]:
    assert main(["history", "--json", *args]) == 0
    return json.loads(capsys.readouterr().out)


def test_nights_over_a_growing_file(bench: Bench, capsys: Any) -> None:
    """Each run has its own rows, cost and shares; a field that is left empty from one night on is marked then and in the
    report; retries and idle nights are shown and not compared; a run that was killed is counted by the next; --fresh
    keeps it all, and an output without its history tells what its results tell.
    """
    with serving(answer) as gateway:
        bench.job(**KEYS, retries={"content": 0})
        out = str(bench.folder / "out")
        for day in range(1, 5):
            night(bench, gateway, day, 80 * day)
        bench.rows(numbered(400))
        worker = bench.start(gateway.url, "run", "job.yaml", "--direct", "-q", "--no-report")
        gateway.script = lambda ask: Reply(text=answer(ask).text, delay_s=0.02, good=False)
        gateway.wait_for(350)
        worker.kill()
        worker.communicate()
        gateway.quiet()
        assert "killed" in [run["kind"] for run in history(capsys, out)["runs"]]
        gateway.script = lambda ask: answer(ask, named=4)
        told = night(bench, gateway, 6, 400 + 80)
        night(bench, gateway, 7, 480)
        night(bench, gateway, 7, 480)
        night(bench, gateway, 8, 480, retry_failed="any")
        runs = sorted(history(capsys, out)["runs"], key=lambda one: one["kind"] == "killed")
        *four, six, idle, retried, killed = runs
        assert [run["rows"] for run in four] == [80] * 4
        assert four[0]["by_status"] == {"ok": 70, "invalid": 10, "refused": 0, "failed": 0, "unreadable": 0}
        assert four[1]["shares"]["filled"]["name"] == {"count": 70, "of": 70}
        assert four[1]["shares"]["filled"]["tags"] == {"count": 0, "of": 70}
        assert four[1]["shares"]["value"]["kind = a"] == {"count": 40, "of": 70}
        assert [one["name"] for one in six["moved"]] == ["name"]
        assert not any(run["moved"] for run in four)
        assert (idle["rows"], idle["calls"], retried["drawn"], retried["compared"]) == (0, 0, "retry", [])
        assert killed["rows"] > 0
        assert killed["rows"] + six["rows"] == 160
        # What all runs have cost is what was ever billed.
        told = bench.manifest()
        spent = sum(money(told[part]["cost_usd"]) for part in ("totals", "beside"))
        assert sum(money(run["cost_usd"]) for run in runs) == spent
        bound = sum(money(told[part]["unknown_cost_bound_usd"]) for part in ("totals", "beside"))
        assert sum(money(run["unknown_cost_bound_usd"]) for run in runs) == bound > 0
        assert sum(run["calls"] for run in runs) == sum(told[part]["calls"] for part in ("totals", "beside"))
        page = write_report(bench.folder / "out").read_text()
        assert 'id="history"' in page
        assert "filled: name" in page
        assert main(["history", out]) == 0
        assert "filled: name: 100.0% before, " in capsys.readouterr().out
        night(bench, gateway, 9, 80, fresh=True)
        after = history(capsys, out)["runs"]
        assert {run["run_id"] for run in runs} < {run["run_id"] for run in after}
        # As in an output that is older than its history.
        (bench.folder / "out/history.jsonl").unlink()
        alone = history(capsys, out)["runs"]
        assert [(run["rows"], run["cost_usd"]) for run in alone] == [(80, after[-1]["cost_usd"])]


def test_a_folder_of_dated_outputs(bench: Bench, capsys: Any) -> None:
    """One output a night: in the order of time, a changed prompt is named, another job is not compared with."""
    with serving(answer) as gateway:
        for day in (1, 2, 3):
            bench.job(
                f"{day}.yaml",
                **KEYS,
                output=f"out/night-{day}",
                prompt=f"{'Tell' if day == 3 else 'Say'} {{{{ text }}}}",
            )
            night(bench, gateway, day, 40, f"{day}.yaml")
        bench.job("other.yaml", **{**KEYS, "name": "others"}, output="out/other")
        night(bench, gateway, 4, 40, "other.yaml")
        told = history(capsys, str(bench.folder / "out"))
        assert "two-proportion" in told["method"]
        assert [run["output"].rpartition("/")[2] for run in told["runs"]] == ["night-1", "night-2", "night-3", "other"]
        assert [run["changed_keys"] for run in told["runs"]] == [[], [], ["prompt"], []]
        assert [max((one["runs_before"] for one in run["compared"]), default=0) for run in told["runs"]] == [0, 1, 2, 0]
        assert main(["history", str(bench.folder / "out"), "--last", "1"]) == 0
        shown = capsys.readouterr().out
        assert "and 3 runs before these" in shown
        assert main(["history", str(bench.folder)]) == 2
        assert "there is no run here" in capsys.readouterr().err


def test_an_output_in_a_bucket(bench: Bench, s3: Any, monkeypatch: Any, capsys: Any) -> None:
    """Its history stands there and is read without the results; where the history is gone the results tell it."""
    for name, value in environment(bench, s3).items():
        monkeypatch.setenv(name, value)
    address = "s3://answers/runs/one"
    with serving(answer) as gateway:
        bench.job(**KEYS, output=address)
        for rows in (20, 40):
            bench.rows(numbered(rows))
            settle(bench, gateway, "job.yaml")
        shutil.rmtree(bench.folder / "machine-a")
        runs = history(capsys, address)["runs"]
        assert [run["rows"] for run in runs] == [20, 20]
        assert not (bench.folder / "machine-a").exists()
        s3.delete_object(Bucket="answers", Key="runs/one/history.jsonl")
        assert [run["rows"] for run in history(capsys, address)["runs"]] == [20, 20]


def test_labels_votes_gold_and_evidence(bench: Bench, capsys: Any) -> None:
    """Shares of labels, of rows whose votes agree, that are right, and whose quotes stand in their text."""
    with serving(lambda ask: Reply(text=json.dumps({"label": "yes" if ask.seen else "no"}))) as gateway:
        rows = [{**row, "truth": "yes"} for row in numbered(12)]
        bench.job(
            "label.yaml", id="id", prompt="Is it so? {{ text }}", output="out/labels",
            label={"labels": ["yes", "no"], "votes": 3, "gold": "truth", "shuffle": False},
        )  # fmt: skip
        bench.rows(rows)
        settle(bench, gateway, "label.yaml")
        schema = {"type": "object", "properties": {"who": {"type": "string"}}, "required": ["who"]}
        bench.job("quotes.yaml", id="id", schema=schema, evidence=True, output="out/quotes", retries={"content": 0})

        def quoted(ask: Ask) -> Reply:
            quote = "person number 1" if "person number 1" in ask.prompt else "nobody"
            return Reply(text=json.dumps({"output": {"who": "x"}, "evidence": [{"field": "/who", "quote": quote}]}))

        gateway.script = quoted
        settle(bench, gateway, "quotes.yaml")
        labels, quotes = (history(capsys, str(bench.folder / f"out/{one}"))["runs"][0] for one in ("labels", "quotes"))
        assert labels["shares"]["label"] == {"yes": {"count": 12, "of": 12}}
        assert labels["shares"]["unanimous"]["label"] == {"count": 0, "of": 12}
        assert labels["shares"]["correct"]["label"] == {"count": 12, "of": 12}
        assert quotes["shares"]["supported"] == {"who": {"count": 3, "of": 12}}
