"""The same flow under real Prefect: embedded, against a server, and from a deployment with a worker."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from rowmill.flows.cli import STARTING
from rowmill.tasks.output.folder_lock import is_locked
from tests.conftest import KEY, PERSON, Bench, assert_balanced

ROOT = Path(__file__).resolve().parents[2]
PREFECT = [sys.executable, "-m", "prefect"]


def prefect_environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ROWMILL_", "PREFECT_"))}
    quiet = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "NO_COLOR": "1"}
    return {**kept, **quiet, "PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT / "src"), **more}


def assert_key_is_nowhere(folder: Path) -> None:
    for path in folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A Prefect server of the test's own; gives its environment and its API address."""
    home = tmp_path_factory.mktemp("prefect-home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = prefect_environment(home, PREFECT_API_URL=f"http://127.0.0.1:{port}/api")
    process = subprocess.Popen(
        [*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: call(environment, "/health") is True, 90)
        yield environment
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def call(environment: dict[str, str], path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        environment["PREFECT_API_URL"] + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)
    except OSError:
        return None


def wait_for(condition: Any, seconds: float) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError("waited in vain")


def test_run_on_the_embedded_server(bench: Bench, sandboxes: Any, tmp_path: Path) -> None:
    """`rowmill run` is a Prefect flow on the embedded server: same rows, quiet, the key in no file of Prefect's."""
    sandbox = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"t{n}"} for n in range(60)])
    bench.job(id="id", schema=PERSON)
    home = tmp_path / "home"
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--json", PREFECT_HOME=str(home))
    assert ended.code == 0, ended.err
    assert_balanced(ended.manifest, bench.results())
    assert "Traceback" not in ended.err
    assert [line for line in ended.err.splitlines() if "prefect" in line.lower()] == [STARTING]
    assert_key_is_nowhere(home)
    assert (home / "prefect.db").exists()


def test_a_prefect_server_that_does_not_answer_is_told_in_one_line(bench: Bench, sandboxes: Any) -> None:
    """An unreachable PREFECT_API_URL is exit 2 with its mend, without a call and without a traceback."""
    sandbox = sandboxes()
    bench.rows([{"text": "t"}])
    bench.job()
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "-q", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert ended.code == 2
    assert "PREFECT_API_URL" in ended.err
    assert "--direct" in ended.err
    assert "Traceback" not in ended.err
    assert sandbox.books()["calls"] == 0


def test_run_against_a_server_names_its_task_runs_by_rows(bench: Bench, sandboxes: Any, server: Any) -> None:
    """Against a running server the flow run bears the job's name and its task runs are row ranges, not rows."""
    sandbox = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"t{n}"} for n in range(5_600)])
    bench.job(id="id", name="two-shards", limits={"concurrency": 128})
    ended = bench.run(
        sandbox.base_url, "run", "job.yaml", "--json", **{k: v for k, v in server.items() if k.startswith("PREFECT_")}
    )
    assert ended.code == 0, ended.err
    runs = call(server, "/flow_runs/filter", {"flow_runs": {"name": {"any_": ["two-shards"]}}})
    assert [run["state_name"] for run in runs] == ["Completed"]

    def task_names() -> Any:
        found = call(server, "/task_runs/filter", {"flow_runs": {"id": {"any_": [runs[0]["id"]]}}})
        return sorted(run["name"] for run in found) if len(found) == 3 else None

    # The third tells Prefect of the output, as an asset.
    assert wait_for(task_names, 30) == ["output", "rows 0-4999", "rows 5000-5599"]
    assert KEY not in json.dumps(runs)


def test_the_flows_sandbox_parameter_starts_a_sandbox(bench: Bench, sandboxes: Any, server: Any) -> None:
    """extract(job, sandbox=True) asks a sandbox of its own; the address in the environment is not called."""
    elsewhere = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"t{n}"} for n in range(5)])
    bench.job(id="id", name="a-sandbox-of-its-own")
    program = (
        "import asyncio\nfrom rowmill.flows.extract import extract\n"
        "state = asyncio.run(extract(job_file='job.yaml', sandbox=True, return_state=True))\nprint(state.name)\n"
    )
    told = {name: value for name, value in server.items() if name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=bench.folder, env=bench.environment(elsewhere.base_url, **told),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.strip() == "Completed"
    assert bench.results().height == 5
    assert elsewhere.books()["calls"] == 0


def artifact(server: dict[str, str], key: str) -> str:
    told = call(server, "/artifacts/filter", {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"})
    return str(told[0]["data"]) if told else ""


def test_a_run_leaves_artifacts_and_an_event(bench: Bench, sandboxes: Any, server: Any) -> None:
    """A run's end is an artifact, its failures are a table, and its end, early or good, is an event with its cost, which
    automations can act on.
    """
    sandbox = sandboxes(spend_limit_usd="0.08")
    rows = [{"id": f"r{n}", "text": f"t{n}" + ("[[fault:invalid_request]]" if n == 3 else "")} for n in range(200)]
    bench.rows(rows)
    bench.job(id="id", name="told", params={"max_output_tokens": 300})
    told = {name: value for name, value in server.items() if name.startswith("PREFECT_")}
    ended = bench.run(sandbox.base_url, "run", "job.yaml", **told)
    assert "invalid_request" in ended.err, ended.err
    assert ended.code == 4, ended.err
    markdown = artifact(server, "rowmill-run-told")
    assert "spend_limit: 200 rows" in markdown
    assert "report.html" in markdown
    assert "invalid_request" in artifact(server, "rowmill-failures-told")

    def event(kind: str) -> Any:
        found = call(server, "/events/filter", {"filter": {"event": {"name": [f"rowmill.run.{kind}"]}}})
        return [one for one in (found or {"events": []})["events"] if one["payload"]["ledger"]["rows"] == 200] or None

    seen = wait_for(lambda: event("spend_limit"), 30)[0]
    assert seen["resource"]["prefect.resource.name"] == "told"
    assert seen["payload"]["ledger"]["rows"] == 200
    run = call(server, "/flow_runs/filter", {"flow_runs": {"name": {"any_": ["told"]}}})[0]
    assert set(run["tags"]) >= {"rowmill", "gemini-3-pro"}
    share = float(artifact(server, "rowmill-progress-told"))
    assert 0 < share < 100

    def log_lines() -> Any:
        found = call(server, "/logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}})
        lines = [line["message"] for line in found or () if line["name"] == "rowmill"]
        return lines if any("spend_limit: 200 rows" in line for line in lines) else None

    lines = wait_for(log_lines, 30)
    assert any(line.startswith("rows 0 to 199: ") for line in lines)
    sandbox.change(spend_limit_usd=None)
    assert bench.run(sandbox.base_url, "run", "job.yaml", "-q", **told).code == 3
    seen = wait_for(lambda: event("complete"), 30)[0]
    assert (seen["payload"]["cost_usd"], seen["payload"]["calls"]) == (
        bench.manifest()["totals"]["cost_usd"], bench.manifest()["totals"]["calls"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def deployments(server: dict[str, str]) -> dict[str, str]:
    """The server with the deployments of prefect.yaml; gives the environment of whoever serves them."""
    environment = {**server, "ROWMILL_HOME": str(ROOT)}
    prefect(environment, "work-pool", "create", "local-process", "--type", "process", "--overwrite")
    call(server, "/work_pools/", {"name": "docker", "type": "docker"})
    prefect(environment, "--no-prompt", "deploy", "--all")
    return environment


@contextmanager
def worker_for(
    deployments: dict[str, str], base_url: str, folder: Path, *, name: str = "first"
) -> Iterator[dict[str, str]]:
    """A process worker that serves the deployments, and its environment."""
    environment = {**deployments, "ROWMILL_API_KEY": KEY, "ROWMILL_BASE_URL": base_url}
    worker = subprocess.Popen(
        [*PREFECT, "worker", "start", "--pool", "local-process", "--name", name],
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield environment
    finally:
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(30)


def prefect(environment: dict[str, str], *command: str) -> None:
    done = subprocess.run(
        [*PREFECT, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def start_run(server: dict[str, str], deployment: str, **parameters: Any) -> None:
    """A flow run of a deployment (`flow/name`), due now."""
    known = wait_for(lambda: call(server, f"/deployments/name/{deployment}"), 60)
    # A busy server may answer late: asked again, it is the same run.
    due = {"parameters": parameters, "state": {"type": "SCHEDULED"}, "idempotency_key": str(uuid4())}
    assert wait_for(lambda: call(server, f"/deployments/{known['id']}/create_flow_run", due), 60)


def runs_named(server: dict[str, str], name: str) -> list[dict[str, Any]]:
    return call(server, "/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}}) or []


def state_of(server: dict[str, str], name: str) -> Any:
    runs = call(server, "/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
    return (runs[0]["state_name"], runs[0]) if runs else ("", {})


def test_deployment_runs_the_same_flow(
    bench: Bench, sandboxes: Any, server: Any, deployments: Any, tmp_path: Path
) -> None:
    """`prefect deploy --all` and a process worker run the flow of prefect.yaml unchanged, from a job file."""
    sandbox = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"t{n}"} for n in range(40)])
    job = bench.job("plain.yaml", id="id", schema=PERSON)
    with worker_for(deployments, sandbox.base_url, tmp_path):
        prefect(deployments, "deployment", "run", "rowmill-extract/extract", "--param", f"job_file={job}")
        wait_for(lambda: state_of(server, "plain")[0] == "Completed", 90)
    assert_balanced(bench.manifest(), bench.results())
    assert_key_is_nowhere(Path(server["PREFECT_HOME"]))


@pytest.mark.nightly
def test_a_run_that_is_due_while_another_works_is_cancelled_or_waits_as_chosen(
    bench: Bench, sandboxes: Any, server: Any, deployments: Any, tmp_path: Path
) -> None:
    """CANCEL_NEW lets the night's run have its output alone; ENQUEUE lets the next begin when the first has ended."""
    sandbox = sandboxes(latency_ms=400)
    bench.rows([{"id": f"r{n}", "text": f"t{n}"} for n in range(80)])
    told = {"id": "id", "limits": {"concurrency": 4}}
    nightly = bench.job("nightly.yaml", **told)
    label = bench.job("queued.yaml", output="labels", prompt="{{ text }}", label={"labels": ["a", "b"]}, **told)
    with worker_for(deployments, sandbox.base_url, tmp_path):
        for flow, job in (("rowmill-extract/extract-nightly", nightly), ("rowmill-label/label", label)):
            for _ in range(2):
                start_run(server, flow, job_file=str(job))

        def runs(deployment: str) -> list[dict[str, Any]]:
            return call(server, "/flow_runs/filter", {"deployments": {"name": {"any_": [deployment]}}}) or []

        def states(deployment: str) -> list[str]:
            return sorted(run["state_name"] for run in runs(deployment))

        wait_for(lambda: states("extract-nightly") == ["Cancelled", "Completed"], 120)
        wait_for(lambda: states("label") == ["Completed", "Completed"], 120)
        first, second = sorted(runs("label"), key=lambda run: run["start_time"])
    assert first["end_time"] <= second["start_time"]
    assert sandbox.books()["prompts_billed_twice"] == 0
    assert bench.results().height == bench.results("labels").height == 80


@pytest.mark.nightly
def test_an_estimate_is_deployed_too_and_leaves_an_artifact(
    bench: Bench, sandboxes: Any, server: Any, deployments: Any, tmp_path: Path
) -> None:
    """The estimate's deployment pays for its pilot alone, tells the forecast in an artifact, and fails above a limit."""
    sandbox = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"t{n}"} for n in range(200)])
    job = bench.job("dear.yaml", id="id", schema=PERSON)
    with worker_for(deployments, sandbox.base_url, tmp_path):
        start_run(server, "rowmill-estimate/estimate", job_file=str(job), pilot=40)
        wait_for(lambda: state_of(server, "estimate dear")[0] == "Completed", 90)
        start_run(server, "rowmill-estimate/estimate", job_file=str(job), require_under=0.000001)
        wait_for(lambda: len(runs_named(server, "estimate dear")) == 2 and state_of(server, "estimate dear")[0], 90)
        wait_for(lambda: "Refused" in [run["state_name"] for run in runs_named(server, "estimate dear")], 90)
    assert sandbox.books()["calls"] == 40
    told = call(server, "/artifacts/filter", {"artifacts": {"key": {"any_": ["rowmill-estimate-rowmill"]}}})
    assert "learned from 40 random rows" in told[0]["data"]
    assert_key_is_nowhere(Path(server["PREFECT_HOME"]))


@pytest.mark.nightly
def test_a_comparison_of_plans_is_deployed_too_and_leaves_an_artifact(
    bench: Bench, sandboxes: Any, server: Any, deployments: Any, tmp_path: Path
) -> None:
    """The deployment `tune` asks gold rows within its budget and tells the plans in an artifact; none held is a failure."""
    names = ["bug", "praise"]
    sandbox = sandboxes(labels={f"ticket {n}.": names[n % 2] for n in range(120)})
    bench.rows([{"id": f"r{n}", "text": f"ticket {n}.", "truth": names[n % 2]} for n in range(120)])
    label = {"labels": names, "gold": "truth"}
    job = bench.job("plans.yaml", id="id", prompt="{{ text }}", label=label, params={"max_output_tokens": 60})
    with worker_for(deployments, sandbox.base_url, tmp_path):
        told = {"job_file": str(job), "budget_usd": 1.5}
        start_run(server, "rowmill-tune/tune", **told, target=0.8)
        wait_for(lambda: state_of(server, "tune plans")[0] == "Completed", 120)
        start_run(server, "rowmill-tune/tune", **told, target=1.0, margin=0.001, limit=20)
        wait_for(lambda: "NonePlanHolds" in [run["state_name"] for run in runs_named(server, "tune plans")], 120)
    assert float(sandbox.books()["billed_usd"]) <= 3
    told = call(server, "/artifacts/filter", {"artifacts": {"key": {"any_": ["rowmill-tune-rowmill"]}}})
    assert "| plan |" in told[0]["data"]
    assert_key_is_nowhere(Path(server["PREFECT_HOME"]))


def test_spend_limit_on_a_deployment_gives_the_worker_back(
    bench: Bench, sandboxes: Any, server: Any, deployments: Any, tmp_path: Path
) -> None:
    """With `wait` a deployed run is rescheduled for the turn of the hour, its process ends, and it completes by itself."""
    sandbox = sandboxes(spend_limit_usd="0.01")
    bench.rows([{"id": f"r{n}", "text": f"t{n}"} for n in range(80)])
    job = bench.job("limited.yaml", id="id", on_spend_limit="wait", limits={"concurrency": 4}, max_hours=99)
    with worker_for(deployments, sandbox.base_url, tmp_path):
        start_run(server, "rowmill-extract/extract", job_file=str(job))
        wait_for(lambda: state_of(server, "limited")[0] == "AwaitingSpendReset", 90)
        run = state_of(server, "limited")[1]
        assert run["state_type"] == "SCHEDULED"
        assert run["next_scheduled_start_time"].endswith(":00:05Z")
        assert bench.manifest()["waiting"]["reason"] == "spend_limit"
        deadline = bench.manifest()["deadline"]
        wait_for(lambda: not is_locked(bench.folder / "out"), 30)
        assert 0 < bench.results().height < 80
        sandbox.change(spend_limit_usd=None)
        # The hour turns: the same state, due now.
        due = {"type": "SCHEDULED", "name": "AwaitingSpendReset", "state_details": {"scheduled_time": now()}}
        call(server, f"/flow_runs/{run['id']}/set_state", {"state": due, "force": True})
        wait_for(lambda: state_of(server, "limited")[0] == "Completed", 90)
    assert state_of(server, "limited")[1]["id"] == run["id"]
    # The hours are those since the flow run first began.
    assert bench.manifest()["deadline"] == deadline
    assert_balanced(bench.manifest(), bench.results())
    assert bench.results().height == 80
    assert sandbox.books()["prompts_billed_twice"] == 0


def test_a_wait_is_visible_in_prefect_and_can_be_interrupted(bench: Bench, sandboxes: Any, server: Any) -> None:
    """Run by hand against a server, the wait for a spend limit is the flow run's state; Ctrl-C ends it with 130."""
    sandbox = sandboxes(spend_limit_usd="0")
    bench.rows([{"text": "t"}])
    bench.job(name="by-hand", on_spend_limit="wait")
    process = subprocess.Popen(
        bench.command("run", "job.yaml", "-q"),
        cwd=bench.folder,
        env=bench.environment(sandbox.base_url, **{k: v for k, v in server.items() if k.startswith("PREFECT_")}),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: state_of(server, "by-hand")[0] == "AwaitingSpendReset", 60)
    assert state_of(server, "by-hand")[1]["state_type"] == "RUNNING"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    wait_for(lambda: state_of(server, "by-hand")[0] == "Interrupted", 30)


def now() -> str:
    return datetime.now(UTC).isoformat()


def test_prefect_yaml_has_only_keys_that_prefect_reads() -> None:
    """Unknown keys vanish silently in prefect.yaml, so each key is one that is known to work, each entrypoint real."""
    told = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    assert set(told) <= {"name", "prefect-version", "pull", "build", "push", "deployments", "definitions"}
    keys = {
        "name", "description", "entrypoint", "work_pool", "tags", "schedules", "concurrency_limit", "parameters",
        "job_variables", "version", "pull",
    }  # fmt: skip
    for deployment in told["deployments"]:
        assert set(deployment) <= keys, deployment
        path, name = deployment["entrypoint"].split(":")
        assert f"async def {name}(" in (ROOT / path).read_text()
        known = {"job", "job_file", "limit", "fresh", "retry_failed", "sandbox", "variables", "target", "budget_usd"}
        assert set(deployment.get("parameters", {})) <= known


def postgres_bin() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """A PostgreSQL of the test's own on a free port; gives the address of an empty database as Prefect takes it."""
    tools = postgres_bin()
    if tools is None or (os.geteuid() == 0 and subprocess.run(["id", "postgres"], capture_output=True).returncode):
        pytest.skip("needs Debian's postgresql")
    data = tmp_path / "postgres"
    data.mkdir()
    # It refuses to run as root; whoever else runs the tests is its owner.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if user:
        for folder in (data, *tmp_path.parents[:3], tmp_path):
            folder.chmod(folder.stat().st_mode | 0o711)
        subprocess.run(["chown", "postgres", str(data)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"cwd": str(data), "check": True, "capture_output": True}
    subprocess.run([*user, str(tools / "initdb"), "-D", str(data), "-U", "rowmill", "-A", "trust"], **place)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {data} -c fsync=off"
    subprocess.run(
        [*user, str(tools / "pg_ctl"), "-D", str(data), "-w", "-l", str(data / "log"), "-o", options, "start"], **place
    )
    pid = int((data / "postmaster.pid").read_text().split()[0])
    try:
        yield f"postgresql+asyncpg://rowmill@127.0.0.1:{port}/postgres"
    finally:
        # At once, and by its number: its folder may be gone before it.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGQUIT)


@pytest.mark.nightly
def test_prefect_on_postgresql(bench: Bench, sandboxes: Any, postgres: str) -> None:
    """The same command with Prefect's database on PostgreSQL: same rows, the flow run recorded there, the key nowhere."""
    sandbox = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"t{n}"} for n in range(60)])
    bench.job(id="id", schema=PERSON, name="on-postgresql")
    ended = bench.run(
        sandbox.base_url, "run", "job.yaml", "--json", timeout=180, PREFECT_HOME=str(bench.folder / "home"),
        PREFECT_API_DATABASE_CONNECTION_URL=postgres, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="90",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert_balanced(ended.manifest, bench.results())
    assert not (bench.folder / "home" / "prefect.db").exists()
    port = postgres.rsplit(":", 1)[1].split("/")[0]
    tools = postgres_bin()
    assert tools is not None
    query = "select name || ':' || state_type from flow_run"
    told = subprocess.run(
        [str(tools / "psql"), "-h", "127.0.0.1", "-p", port, "-U", "rowmill", "-d", "postgres", "-At", "-c", query],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.split() == ["on-postgresql:COMPLETED"]
    assert_key_is_nowhere(bench.folder / "home")


def test_a_large_bill_waits_for_approval_on_a_deployment(
    bench: Bench, sandboxes: Any, server: Any, deployments: Any, tmp_path: Path
) -> None:
    """With `approve_over` the flow run is suspended with a form that tells the forecast; nothing is sent, the worker is
    free. Resumed with a sum, the same run begins anew, spends no more than that, and says so.
    """
    sandbox = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"t{n}"} for n in range(60)])
    job = bench.job("dear-night.yaml", id="id", params={"max_output_tokens": 200}, limits={"concurrency": 2})
    with worker_for(deployments, sandbox.base_url, tmp_path):
        start_run(server, "rowmill-extract/extract", job_file=str(job), approve_over=0.000001)
        wait_for(lambda: state_of(server, "dear-night")[0] == "Suspended", 90)
        run = state_of(server, "dear-night")[1]
        assert sandbox.books()["calls"] == 0
        keyset = run["state"]["state_details"]["run_input_keyset"]
        form = {one["key"]: json.loads(one["value"]) for one in inputs_of(server, run["id"])}
        schema = form[keyset["schema"]]
        assert {"approved_usd", "forecast_usd", "low_usd", "high_usd", "cap_usd"} <= set(schema["properties"])
        assert "60 rows to ask" in form[keyset["description"]]
        proposed = schema["properties"]["approved_usd"]["default"]
        assert proposed >= schema["properties"]["bound_99_usd"]["default"] > 0
        # Resumed while its first process still ends, a run is taken by its worker for one that crashed.
        wait_for(lambda: not is_locked(bench.folder / "out") and not has_a_process(run["id"]), 60)
        approved = {"approved_usd": 0.02, **dict.fromkeys(("forecast_usd", "low_usd", "high_usd"), 0)}
        call(server, f"/flow_runs/{run['id']}/resume", {"run_input": {**approved, "bound_99_usd": 0}})
        wait_for(lambda: state_of(server, "dear-night")[0] == "Budget", 90)
    assert state_of(server, "dear-night")[1]["id"] == run["id"]
    assert bench.manifest()["job"]["max_run_cost_usd"] == "0.02"
    assert 0 < float(sandbox.books()["billed_usd"]) <= 0.02


def has_a_process(run_id: str) -> bool:
    """Whether a process that a worker started for this flow run still lives."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"PREFECT__FLOW_RUN_ID={run_id}".encode() in (process / "environ").read_bytes():
                return True
    return False


def inputs_of(environment: dict[str, str], run_id: str) -> Any:
    return call(environment, f"/flow_runs/{run_id}/input/filter", {"prefix": "", "limit": 50})
