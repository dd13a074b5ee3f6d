"""Shards settled by workers elsewhere: real clusters of real processes, and every promise of a local run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal

from benchmarks import dask_cluster, ray_cluster
from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pipeline import carry_out
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.job.job_file import load_job
from rowmill.tasks.run.run_plan import Options
from rowmill.tasks.system.clock import Clock
from tests.conftest import KEY, PERSON, Bench, assert_balanced, money

# What may differ between two runs that asked the same.
OF_THE_RUN = ["run_id", "started_at", "finished_at", "latency_ms"]


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[Callable[..., dask_cluster.Cluster]]:
    """Start clusters whose workers call that gateway; they end with the test."""
    with ExitStack() as stack:

        def start(base_url: str, workers: int = 2, **more: str) -> dask_cluster.Cluster:
            folder = tmp_path / "cluster"
            folder.mkdir(exist_ok=True)
            environment = {"ROWMILL_API_KEY": KEY, "ROWMILL_BASE_URL": base_url, **more}
            return stack.enter_context(dask_cluster.running(workers, folder, environment))

        yield start


def start(bench: Bench, base_url: str, cluster: dask_cluster.Cluster, *args: str) -> subprocess.Popen[str]:
    return bench.start(base_url, "run", "job.yaml", "--direct", "--json", *args, DASK_SCHEDULER_ADDRESS=cluster.address)


def launch(bench: Bench, base_url: str, cluster: dask_cluster.Cluster, rows: int, **keys: Any) -> Any:
    """So many rows, each of its own, and a run of them on that cluster."""
    bench.rows([{"text": f"row {n}"} for n in range(rows)])
    bench.job(runner="dask", **keys)
    return start(bench, base_url, cluster)


def end(process: subprocess.Popen[str], expect: int = 0) -> tuple[dict[str, Any], str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == expect, err
    return json.loads(out), err


def wait_for_calls(sandbox: Any, count: int) -> None:
    until = time.monotonic() + 60
    while sandbox.books()["billed_calls"] < count:
        assert time.monotonic() < until
        time.sleep(0.02)


def holders(bench: Bench) -> list[int]:
    """The processes that have a lease, as the names in the cluster's own books tell: those that write a segment."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            opened = [os.readlink(one) for one in (process / "fd").iterdir()]
        except OSError:
            continue
        if any(f"{bench.folder}/out/journal/away-" in one for one in opened):
            found.append(int(process.name))
    return found


def awkward_rows(count: int) -> list[dict[str, Any]]:
    """Rows of which some ask the same across shards, and one misses what the prompt needs."""
    rows = [{"id": f"r{n}", "text": f"person number {n % (count - 2_500)}", "town": n % 7} for n in range(count)]
    del rows[7_000]["text"]
    return rows


def test_results_are_those_of_a_local_run(bench, sandboxes, clusters):
    """Row for row the same answers, costs and reuses, whoever settled them; no call is made twice."""
    rows = awkward_rows(8_000)
    bench.rows(rows)
    with open(bench.folder / "rows.jsonl", "a") as file:
        file.write("no row\n")
    told = {"id": "id", "schema": PERSON, "keep": ["town"], "limits": {"concurrency": 64}}
    local, away = sandboxes(latency_ms=10), sandboxes(latency_ms=10)
    bench.job("local.yaml", output="local", **told)
    assert bench.run(local.base_url, "run", "local.yaml", "--direct").code == 3
    bench.job(runner="dask", **told)
    manifest, _ = end(start(bench, away.base_url, clusters(away.base_url)), expect=3)
    here, there = bench.results("local").drop(OF_THE_RUN), bench.results().drop(OF_THE_RUN)
    assert_frame_equal(there, here)
    assert_balanced(manifest, there)
    assert there["reused_from"].count() > 2_000
    assert money(away.books()["billed_usd"]) == money(manifest["totals"]["cost_usd"])
    assert away.books()["most_in_flight"] <= 64
    assert away.books()["prompts_billed_twice"] == 0
    assert list((bench.folder / "out" / "journal").iterdir()) == []


def test_a_killed_worker_loses_nothing(bench, sandboxes, clusters):
    """Its shard is taken up by another, once; at most its calls in flight are paid again, and told as maybe paid."""
    sandbox = sandboxes(latency_ms=50)
    process = launch(bench, sandbox.base_url, clusters(sandbox.base_url), 8_000, limits={"concurrency": 64})
    wait_for_calls(sandbox, 3_000)
    os.kill(holders(bench)[0], signal.SIGKILL)
    manifest, err = end(process)
    assert "is lost" in err
    results, books = bench.results(), sandbox.books()
    assert_balanced(manifest, results)
    assert manifest["ledger"]["ok"] == 8_000
    # It may have been killed between two calls.
    assert 0 <= books["billed_calls"] - 8_000 <= 64
    told, bound = (money(manifest["totals"][name]) for name in ("cost_usd", "unknown_cost_bound_usd"))
    assert told <= money(books["billed_usd"]) <= told + bound


def test_a_worker_that_was_thought_dead_commits_nothing(bench, sandboxes, clusters):
    """One that wakes after its lease has ended sends no further call, and what it writes is read by nobody."""
    sandbox = sandboxes(latency_ms=50)
    cluster = clusters(sandbox.base_url, 1)
    process = launch(bench, sandbox.base_url, cluster, 4_000, limits={"concurrency": 32})
    wait_for_calls(sandbox, 1_000)
    [sleeper] = holders(bench)
    os.kill(sleeper, signal.SIGSTOP)
    try:
        cluster.start_worker()
        # Taken as lost after a while of silence; then the rest is asked elsewhere.
        before = sandbox.books()["billed_calls"]
        wait_for_calls(sandbox, before + 500)
    finally:
        os.kill(sleeper, signal.SIGCONT)
    manifest, err = end(process)
    assert "not heard" in err
    assert_balanced(manifest, bench.results())
    assert manifest["ledger"]["ok"] == 4_000
    assert sandbox.books()["billed_calls"] - 4_000 <= 32


def test_workers_stop_when_their_coordinator_is_killed(bench, sandboxes, clusters):
    """They send nothing more after the lease's seconds; the next start takes up what they wrote and pays for no more
    than was in flight.
    """
    sandbox = sandboxes(latency_ms=50)
    cluster = clusters(sandbox.base_url)
    process = launch(bench, sandbox.base_url, cluster, 8_000, limits={"concurrency": 64})
    wait_for_calls(sandbox, 3_000)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(9)
    stopped = sandbox.books()
    assert stopped["in_flight"] == 0
    status = bench.run(sandbox.base_url, "status", "out", "--json")
    assert json.loads(status.out)["ledger"]["ok"] >= stopped["billed_calls"] - 64
    time.sleep(1)
    assert sandbox.books()["billed_calls"] == stopped["billed_calls"]
    manifest, err = end(start(bench, sandbox.base_url, cluster))
    assert "ended without its workers" in err
    assert_balanced(manifest, bench.results())
    assert manifest["ledger"]["ok"] == 8_000
    assert sandbox.books()["billed_calls"] - 8_000 <= 64


@pytest.mark.nightly
def test_a_spend_limit_stops_all_workers(bench, sandboxes, clusters):
    """They stop within their calls in flight; lifted, the same command goes on, and no row is paid for twice."""
    sandbox = sandboxes(latency_ms=50)
    cluster = clusters(sandbox.base_url)
    process = launch(bench, sandbox.base_url, cluster, 7_000, limits={"concurrency": 64})
    wait_for_calls(sandbox, 1_500)
    sandbox.change(spend_limit_usd="0.000001")
    manifest, _ = end(process, expect=4)
    assert manifest["termination"]["kind"] == "spend_limit"
    assert_balanced(manifest, bench.results())
    assert sandbox.books()["calls_by_status"]["429 spend_limit_exceeded"] <= 64
    sandbox.change(spend_limit_usd=None)
    manifest, _ = end(start(bench, sandbox.base_url, cluster))
    assert manifest["ledger"]["ok"] == 7_000
    assert sandbox.books()["billed_calls"] == 7_000


def test_the_cap_holds_over_all_workers(bench, sandboxes, clusters):
    """What all of them spend together never passes max_cost_usd, and comes near it."""
    sandbox = sandboxes(latency_ms=50)
    process = launch(
        bench,
        sandbox.base_url,
        clusters(sandbox.base_url),
        8_000,
        limits={"concurrency": 32},
        params={"max_output_tokens": 300},
        max_cost_usd=2,
    )
    manifest, _ = end(process, expect=4)
    assert manifest["termination"]["kind"] == "budget"
    assert_balanced(manifest, bench.results())
    assert money("1.9") < money(sandbox.books()["billed_usd"]) <= 2


@pytest.mark.nightly
def test_workers_share_one_rate(bench, sandboxes, clusters):
    """All workers together use 97 % of the rate and draw at most one 429 in 1,000 calls."""
    rpm = 24_000
    sandbox = sandboxes(rpm=rpm, limit_window="bucket", latency_ms=50, detail=True)
    process = launch(bench, sandbox.base_url, clusters(sandbox.base_url), 9_000, limits={"concurrency": 96, "rpm": rpm})
    manifest, _ = end(process)
    assert manifest["ledger"]["ok"] == 9_000
    calls = sorted((one["at"], one["status"]) for one in sandbox.books(detail=True)["detail"])
    assert sum(status == 429 for _, status in calls) <= len(calls) / 1_000
    # From when both have their share until the smaller shard nears its end.
    middle = [at for at, _ in calls[:7_500] if calls[0][0] + 5 <= at]
    assert len(middle) / (middle[-1] - middle[0]) > 0.97 * rpm / 60


@pytest.mark.nightly
def test_a_grown_and_a_changed_input_cost_what_is_new(bench, sandboxes, clusters):
    """On workers too an unchanged request is never paid for again: rows added, moved, edited, and tried once more."""
    sandbox = sandboxes(faults={"wrong_schema": 0.02})
    rows = [{"id": f"r{n}", "text": f"person number {n}"} for n in range(5_200)]
    bench.rows(rows[:5_050])
    bench.job(id="id", schema=PERSON, retries={"content": 0}, limits={"concurrency": 64}, runner="dask")
    cluster = clusters(sandbox.base_url)
    first, _ = end(start(bench, sandbox.base_url, cluster), expect=3)
    calls = sandbox.books()["billed_calls"]
    assert calls == 5_050
    invalid = first["ledger"]["invalid"]
    assert invalid > 20
    bench.rows([{"id": "new", "text": "somebody new"}, *rows])
    sandbox.change(faults={})
    grown, _ = end(start(bench, sandbox.base_url, cluster), expect=3)
    assert sandbox.books()["billed_calls"] == calls + 151
    assert grown["ledger"]["invalid"] == invalid
    mended, _ = end(start(bench, sandbox.base_url, cluster, "--retry-failed"))
    assert sandbox.books()["billed_calls"] == calls + 151 + invalid
    assert_balanced(mended, bench.results())
    assert money(mended["totals"]["cost_usd"]) == money(sandbox.books()["billed_usd"])
    assert bench.results()["row_id"].to_list() == ["new", *(row["id"] for row in rows)]


@pytest.mark.nightly
def test_an_interrupt_drains_the_workers(bench, sandboxes, clusters):
    """Ctrl-C lets calls in flight end everywhere: exit 130, everything paid for stands, and nothing is paid again."""
    sandbox = sandboxes(latency_ms=200)
    cluster = clusters(sandbox.base_url)
    process = launch(bench, sandbox.base_url, cluster, 6_000, limits={"concurrency": 64})
    wait_for_calls(sandbox, 800)
    process.send_signal(signal.SIGINT)
    manifest, _ = end(process, expect=130)
    assert_balanced(manifest, bench.results())
    assert manifest["ledger"]["ok"] == sandbox.books()["billed_calls"]
    sandbox.change(latency_ms=10)
    manifest, err = end(start(bench, sandbox.base_url, cluster))
    assert "ended without its workers" not in err
    assert manifest["ledger"]["ok"] == sandbox.books()["billed_calls"] == 6_000


@pytest.mark.nightly
def test_a_scheduler_that_goes_away_ends_the_run_resumable(bench, sandboxes, clusters):
    """The run ends and names the address; another scheduler, or none, goes on with it."""
    sandbox = sandboxes(latency_ms=100)
    cluster = clusters(sandbox.base_url)
    process = launch(bench, sandbox.base_url, cluster, 6_000, limits={"concurrency": 32})
    wait_for_calls(sandbox, 500)
    cluster.scheduler.kill()
    manifest, _ = end(process, expect=130)
    assert manifest["termination"]["code"] == "scheduler"
    assert cluster.address in manifest["termination"]["message"]
    assert_balanced(manifest, bench.results())
    sandbox.change(latency_ms=5)
    bench.job(limits={"concurrency": 32})
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json")
    assert ended.code == 0, ended.err
    assert ended.manifest["ledger"]["ok"] == 6_000
    assert sandbox.books()["billed_calls"] - 6_000 <= 32


class TurningClock(Clock):
    """Real time; its hour can be turned."""

    turned_s = 0.0

    def wall(self) -> float:
        return super().wall() + self.turned_s


@pytest.mark.nightly
async def test_a_wait_for_the_spend_limit_holds_no_worker(bench, sandboxes, clusters):
    """While the run waits for the turn of the hour no worker has work of its; lifted, it completes by itself, one call
    going first.
    """
    sandbox = sandboxes(latency_ms=20)
    bench.rows([{"text": f"row {n}"} for n in range(6_000)])
    cluster = clusters(sandbox.base_url)
    told = bench.job(limits={"concurrency": 32}, runner="dask", scheduler=cluster.address, on_spend_limit="wait")
    clock = TurningClock()
    refused = []

    def meddle() -> None:
        wait_for_calls(sandbox, 1_000)
        sandbox.change(spend_limit_usd="0.000001")
        while not (bench.folder / "out" / "run.json").exists() or not bench.manifest().get("waiting"):
            time.sleep(0.1)
        refused.append(sandbox.books()["calls_by_status"]["429 spend_limit_exceeded"])
        refused.append(holders(bench))
        clock.turned_s = 3_600
        time.sleep(3)
        # One call has asked whether the limit still holds.
        refused.append(sandbox.books()["calls_by_status"]["429 spend_limit_exceeded"])
        sandbox.change(spend_limit_usd=None)
        clock.turned_s = 7_200

    with ThreadPoolExecutor(1) as pool:
        meddling = pool.submit(meddle)
        async with opened(load_job(told), Options(), Gateway(sandbox.base_url, KEY), clock=clock) as run:
            manifest = (await carry_out(run)).as_dict()
        meddling.result()
    met, held, probed = refused
    assert held == []
    assert met <= 32
    assert probed == met + 1
    assert manifest["termination"]["kind"] == "complete"
    assert_balanced(manifest, bench.results())
    assert sandbox.books()["billed_calls"] == manifest["ledger"]["ok"] == 6_000


@pytest.mark.nightly
def test_the_flow_settles_shards_on_workers(bench, sandboxes, clusters):
    """Under Prefect each shard is a task run of the flow's own process; its workers need no Prefect server."""
    sandbox = sandboxes(latency_ms=5)
    bench.rows([{"text": f"row {n}"} for n in range(6_000)])
    bench.job(limits={"concurrency": 32}, runner="dask")
    cluster = clusters(sandbox.base_url)
    home = str(bench.folder / "prefect")
    ended = bench.run(
        sandbox.base_url, "run", "job.yaml", "--json", DASK_SCHEDULER_ADDRESS=cluster.address, PREFECT_HOME=home,
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="90", DO_NOT_TRACK="1",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert ended.manifest["ledger"]["ok"] == 6_000
    assert sandbox.books()["billed_calls"] == 6_000


@pytest.mark.nightly
def test_labels_are_voted_on_by_workers(bench, sandboxes, clusters):
    """A labelling job with gold and a gate comes out the same: gold rows first, then the rest, votes counted alike."""
    rows = [{"text": f"row {n}", "truth": ("a", "b")[n % 2] if n % 50 == 0 else None} for n in range(5_500)]
    bench.rows(rows)
    told = {"label": {"labels": ["a", "b"], "votes": 3, "gold": "truth", "min_accuracy": 0.1}, "prompt": "{{ text }}"}
    local, away = sandboxes(), sandboxes()
    bench.job("local.yaml", output="local", **told)
    assert bench.run(local.base_url, "label", "local.yaml", "--direct").code == 0
    bench.job(runner="dask", **told)
    cluster = clusters(away.base_url)
    done = bench.run(away.base_url, "label", "job.yaml", "--direct", DASK_SCHEDULER_ADDRESS=cluster.address)
    assert done.code == 0, done.err
    columns = ["row_id", "status", "label", "agreement", "gold", "correct", "cost_usd"]
    assert bench.results()[columns].equals(bench.results("local")[columns])
    assert away.books()["billed_usd"] == local.books()["billed_usd"]


def test_a_worker_that_does_not_see_the_media_settles_no_row(bench, sandboxes, clusters):
    """Where a worker cannot make a request that the coordinator made, no row fails for it: the run ends and says why."""
    sandbox = sandboxes()
    media = bench.folder / "media"
    media.mkdir()
    (media / "a.png").write_bytes(bytes.fromhex("89504e470d0a1a0a") + b"0" * 64)
    bench.rows([{"text": f"row {n}", "photo": "a.png"} for n in range(5)])
    # The same name leads each process to a folder of its own.
    cluster = clusters(sandbox.base_url, 1)
    link = bench.folder / "seen"
    link.symlink_to("/proc/self/cwd/media")
    bench.job(runner="dask", attachments=["photo"], media_root=str(link))
    process = start(bench, sandbox.base_url, cluster)
    manifest, err = end(process, expect=130)
    assert manifest["termination"]["code"] == "workers"
    assert "the row cannot be asked by this worker" in err
    assert manifest["ledger"]["failed"] == 0
    assert sandbox.books()["calls"] == 0


@pytest.mark.parametrize("case", ["version", "key", "folder", "missing"])
def test_a_worker_that_cannot_work_for_the_run_is_refused(bench, sandboxes, clusters, tmp_path, case):
    """Another version, key, file system, or no rowmill at all: exit 2 before a call, the worker and the mend named."""
    sandbox = sandboxes()
    more, said = {}, ""
    if case == "version":
        other = tmp_path / "other" / "rowmill-9.9.dist-info"
        other.mkdir(parents=True)
        (other / "METADATA").write_text("Metadata-Version: 2.1\nName: rowmill\nVersion: 9.9\n")
        more, said = {"PYTHONPATH": f"{other.parent}:{dask_cluster.PYTHONPATH}"}, "rowmill 9.9 is installed there"
    elif case == "key":
        more, said = {"ROWMILL_API_KEY": "sk-another-0123456789abcdef"}, "ROWMILL_API_KEY is another one there"
    elif case == "missing":
        more, said = {"ROWMILL_API_KEY": ""}, "ROWMILL_API_KEY is not set there"
    bench.rows([{"text": "one"}])
    bench.job(runner="dask")
    cluster = clusters(sandbox.base_url, 1, **more)
    if case == "folder":
        bench.job(runner="dask", output="/proc/self/cwd/elsewhere")
        said = "is another folder there"
    process = start(bench, sandbox.base_url, cluster)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said in err
    assert cluster.address in err
    assert KEY not in err
    assert sandbox.books()["calls"] == 0


@pytest.mark.nightly
def test_a_ray_cluster_settles_shards_too(bench, sandboxes):
    """The same job by the CPUs of a Ray node: a process killed in the middle costs no more than its calls in flight."""
    sandbox = sandboxes(latency_ms=50)
    bench.rows([{"text": f"row {n}"} for n in range(8_000)])
    bench.job(limits={"concurrency": 64}, runner="ray")
    environment = {"ROWMILL_API_KEY": KEY}
    with (
        tempfile.TemporaryDirectory(prefix="ray") as short,
        ray_cluster.running(2, Path(short), environment) as address,
    ):
        process = bench.start(sandbox.base_url, "run", "job.yaml", "--direct", "--json", RAY_ADDRESS=address)
        wait_for_calls(sandbox, 3_000)
        os.kill(holders(bench)[0], signal.SIGKILL)
        manifest, err = end(process)
        assert "is lost" in err
        refused = bench.run(
            sandbox.base_url,
            "run",
            "job.yaml",
            "--direct",
            "--fresh",
            RAY_ADDRESS=address,
            ROWMILL_API_KEY="sk-other-0",
        )
    assert_balanced(manifest, bench.results("out/previous/*"))
    assert manifest["ledger"]["ok"] == 8_000
    assert sandbox.books()["billed_calls"] - 8_000 <= 64
    assert refused.code == 2
    assert "ROWMILL_API_KEY is another one there" in refused.err


@pytest.mark.parametrize(
    ("keys", "address", "said"),
    [
        ({"runner": "dask"}, "", "scheduler: runner: dask needs the address of its cluster"),
        ({"runner": "dask"}, "tcp://127.0.0.1:9", "tcp://127.0.0.1:9: the Dask scheduler does not answer"),
        ({"runner": "dask", "scheduler": "nowhere"}, "", "nowhere"),
        ({"runner": "ray"}, "", "set RAY_ADDRESS"),
        ({"runner": "ray", "scheduler": "127.0.0.1:9"}, "", "127.0.0.1:9: the Ray cluster does not answer"),
        ({"runner": "dask", "limits": {"rpm": 9, "window": "sliding"}}, "", "divides the limits evenly"),
        ({"scheduler": "tcp://127.0.0.1:9"}, "", "runner: local uses none"),
        ({"runner": "spark"}, "", "runner"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_refused(bench, sandboxes, keys, address, said):
    """No address, nobody there, or a job that cannot be divided: exit 2 before a call."""
    sandbox = sandboxes()
    bench.rows([{"text": "one"}])
    bench.job(**keys)
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", DASK_SCHEDULER_ADDRESS=address)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert sandbox.books()["calls"] == 0


def test_rows_share_calls_on_a_cluster_too(bench, sandboxes, clusters):
    """Workers ask ten rows a call, under one cap: the books agree to the last digit, and each call is counted once."""
    bench.rows([{"text": f"person number {n}"} for n in range(400)])
    sandbox = sandboxes(latency_ms=5, faults={"entry_missing": 0.05, "internal_error": 0.05})
    keys = {"rows_per_call": 10, "params": {"max_output_tokens": 400}, "max_cost_usd": 2.0}
    bench.job(runner="dask", schema=PERSON, **keys)
    manifest, _ = end(start(bench, sandbox.base_url, clusters(sandbox.base_url)))
    assert_balanced(manifest, bench.results())
    books = sandbox.books()
    assert money(books["billed_usd"]) == money(manifest["totals"]["cost_usd"])
    assert books["calls"] == manifest["totals"]["calls"]
    assert 40 <= books["calls"] <= 110
