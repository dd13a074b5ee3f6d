"""What Prefect keeps for nights that nobody watches: a gateway's block, caps as Variables, automations, assets, results."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from rowmill.flows.gateway_block import RowmillGateway
from rowmill.flows.orchestration.asset import asset_key
from rowmill.flows.orchestration.gateway_access import gateway_for
from rowmill.flows.orchestration.run_result import RESULT_MOST, run_result
from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job
from rowmill.schemas.termination import TerminationKind
from tests.acceptance.test_prefect import PREFECT, ROOT, call, server, wait_for  # noqa: F401
from tests.conftest import KEY, PERSON, Bench, money
from tests.http_thread import served

NOWHERE = "00000000-0000-4000-8000-000000000000"


@contextmanager
def webhook() -> Iterator[tuple[str, list[str]]]:
    """A place for alerts: its address, and what came."""
    came: list[str] = []

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.rfile.read(int(self.headers["content-length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with served(ThreadingHTTPServer(("127.0.0.1", 0), Take)) as http:
        yield f"http://127.0.0.1:{http.server_address[1]}/", came


def program(environment: dict[str, str], folder: Path, text: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout


MAKE_BLOCKS = """
import asyncio, sys
from rowmill.flows.gateway_block import RowmillGateway
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.variables import Variable

async def main():
    await RowmillGateway(base_url=sys.argv[1], api_key=sys.argv[2]).asave("tests-gateway", overwrite=True)
    hook = CustomWebhookNotificationBlock(name="alerts", url=sys.argv[3], json_data={"text": "{{subject}} {{body}}"})
    print(await hook.asave("alerts", overwrite=True))
    await Variable.aset("night_usd", 0.02, overwrite=True)

asyncio.run(main())
"""
RUN = """
import asyncio
from prefect.client.orchestration import get_client
from rowmill.flows.extract import extract

state = asyncio.run(extract({args}, return_state=True))
print(state.name)

async def read():
    async with get_client() as client:
        run = await client.read_flow_run(state.state_details.flow_run_id)
        return await run.state.aresult(raise_on_failure=False)

result = asyncio.run(read())
print(result["ledger"]["rows"] if isinstance(result, dict) else result)
"""


@pytest.mark.nightly
def test_alerts_blocks_variables_assets_and_results(bench: Bench, sandboxes: Any, server: Any) -> None:  # noqa: F811
    """The automations of automations.yaml are taken by `prefect automation create`, and a run of too many bad rows and
    one that has used up its cap send an alert each; a job asks the gateway of its block, a cap comes from a Variable; the
    output is an asset with rows and cost; the manifest is the state's result for who reads it elsewhere; the key is
    nowhere in plain text.
    """
    sandbox = sandboxes()
    # Neither an address nor a key of the environment's: the block tells both.
    environment = {**server, "ROWMILL_API_KEY": "sk-of-somebody-else", "ROWMILL_BASE_URL": "http://127.0.0.1:9"}
    with webhook() as (address, came):
        made = subprocess.run(
            [sys.executable, "-c", MAKE_BLOCKS, sandbox.base_url, KEY, address],
            env=environment, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        told = (ROOT / "automations.yaml").read_text().replace(NOWHERE, made.stdout.strip())
        (bench.folder / "automations.yaml").write_text(told)
        created = subprocess.run(
            [*PREFECT, "automation", "create", "--from-file", "automations.yaml"],
            cwd=bench.folder, env=environment, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert created.returncode == 0, created.stdout + created.stderr
        names = {one["name"] for one in call(server, "/automations/filter", {})}
        assert names == {"rowmill-quality", "rowmill-drift", "rowmill-money", "rowmill-stopped", "rowmill-died"}

        bench.rows([{"id": f"r{n}", "text": f"t{n}"} for n in range(120)])
        bench.job(
            "good.yaml", id="id", name="capped night", schema=PERSON, gateway_block="tests-gateway", output="out/capped",
            params={"max_output_tokens": 400},
        )  # fmt: skip
        args = "job_file='good.yaml', variables={'max_run_cost_usd': 'night_usd'}"
        assert program(environment, bench.folder, RUN.format(args=args)).split("\n")[:2] == ["Budget", "120"]
        bench.rows([{"id": f"r{n}", "text": f"t{n} [[fault:invalid_request]]"} for n in range(600)])
        bench.job(
            "bad.yaml", id="id", name="bad night", schema=PERSON, gateway_block="tests-gateway", output="out/bad",
            limits={"concurrency": 8},
        )  # fmt: skip
        assert program(environment, bench.folder, RUN.format(args="job_file='bad.yaml'")).split("\n")[0] == "Quality"
        wait_for(lambda: len(came) >= 2, 60)
    capped = bench.manifest("out/capped")
    assert money(capped["totals"]["cost_usd"]) <= money("0.02")
    alerts = {name: next(one for one in came if name in one) for name in ("capped night", "bad night")}
    assert "rowmill: capped night: budget" in alerts["capped night"]
    assert f"{capped['ledger']['ok']} of 120 rows are ok, {capped['totals']['cost_usd']} USD" in alerts["capped night"]
    assert "rowmill: bad night: quality" in alerts["bad night"]
    assert "invalid_request" in alerts["bad night"]

    def assets() -> Any:
        found = call(
            server, "/events/filter", {"filter": {"event": {"name": ["prefect.asset.materialization.succeeded"]}}}
        )
        return (found or {}).get("events") if len((found or {}).get("events", [])) == 2 else None

    told = {one["resource"]["prefect.resource.name"]: one for one in wait_for(assets, 30)}
    capped_asset = told["capped night"]
    assert capped_asset["resource"]["prefect.resource.id"] == asset_key(str(bench.folder / "out/capped"))
    assert capped_asset["payload"]["rows"] == capped["ledger"]
    assert capped_asset["payload"]["cost_usd"] == capped["totals"]["cost_usd"]
    for path in Path(server["PREFECT_HOME"]).rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_a_block_holds_address_and_key_together() -> None:
    """What the block says is asked, with the block's key; a bad address names the block; both kinds of block are refused."""
    gateway = RowmillGateway(base_url="http://127.0.0.1:1", api_key=KEY).gateway()
    assert (gateway.base_url, gateway.api_key) == ("http://127.0.0.1:1", KEY)
    assert KEY not in repr(RowmillGateway(api_key=KEY))
    with pytest.raises(JobError):
        RowmillGateway(base_url="nowhere", api_key=KEY).gateway()
    assert RowmillGateway(base_url="http://127.0.0.1:1").gateway().api_key == ""
    keys = {"model": "gemini-3-pro", "input": "rows.jsonl", "output": "out", "prompt": "x"}
    with gateway_for(Job(**keys, gateway_block="b"), sandbox=False, settings=None) as told:
        assert told is None
    with pytest.raises(ValueError, match="drop api_key_block"):
        Job(**keys, gateway_block="b", api_key_block="c")


def test_a_variable_that_is_not_there_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of Variables come over the overrides; one that is missing names itself, its key and the command."""
    from rowmill.flows.orchestration import variables

    async def get(name: str) -> Any:
        return {"cap": 5}.get(name)

    monkeypatch.setattr(variables.Variable, "aget", get)
    told = asyncio.run(variables.with_variables({"max_cost_usd": 1, "model": "m"}, {"max_cost_usd": "cap"}))
    assert told == {"max_cost_usd": 5, "model": "m"}
    assert asyncio.run(variables.with_variables(None, None)) is None
    with pytest.raises(JobError, match="no Prefect Variable 'gone' for limits.rpm"):
        asyncio.run(variables.with_variables(None, {"limits.rpm": "gone"}))


def test_a_result_is_bounded_whatever_the_manifest_holds() -> None:
    """Up to 256 KiB the manifest is the result; beyond it the longest parts go, named, and ledger and totals stay."""
    manifest = {"ledger": {"rows": 1}, "totals": {"cost_usd": "1"}, "termination": {}, "course": [1.5] * 10, "job": {}}
    assert run_result(manifest) == manifest
    long = {
        **manifest,
        "parts": {f"part-{n:06d}.parquet": {"bytes": n} for n in range(20_000)},
        "course": [1.5] * 90_000,
    }
    told = run_result(long)
    assert told["left_out"] == ["course", "parts"]
    assert told["ledger"] == {"rows": 1}
    assert len(json.dumps(told)) < RESULT_MOST


@pytest.mark.parametrize(
    ("output", "key"),
    [
        ("s3://b/out/night", "s3://b/out/night"),
        ("/data/out [1]/ä b", "file:///data/out_20_5B1_5D/_C3_A4_20b"),
        ("/" + "x" * 700, "file:///" + "x" * 504),
    ],
)
def test_any_output_has_an_assets_key(output: str, key: str) -> None:
    """Prefect's keys are addresses without blanks and signs of their own."""
    from prefect.assets import Asset

    assert asset_key(output) == key
    assert Asset(key=asset_key(output)).key == key


def test_automations_name_events_that_runs_emit() -> None:
    """Every event that an alert waits for is the end of a run of some kind, and each kind but good ends is one."""
    told = yaml.safe_load((ROOT / "automations.yaml").read_text())["automations"]
    expected = [event for one in told for event in one["trigger"]["expect"] if event.startswith("rowmill.")]
    quiet = {TerminationKind.COMPLETE, TerminationKind.INTERRUPTED, TerminationKind.DEADLINE}
    assert sorted(expected) == sorted(f"rowmill.run.{kind.value}" for kind in set(TerminationKind) - quiet)


def test_prefect_finds_the_block_by_itself() -> None:
    """The distribution names the block's module under `prefect.collections`, and it imports no pipeline."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["prefect.collections"]
    assert told == {"rowmill": RowmillGateway.__module__}
    code = "import sys, rowmill.flows.gateway_block; print([m for m in sys.modules if m.startswith('rowmill.tasks')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
