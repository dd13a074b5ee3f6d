"""A cluster whose output stands in a bucket: machines that share no disk, and every promise of a local run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks import dask_cluster, ray_cluster
from tests.buckets import OUT, SECRET, environment_of, names, results
from tests.conftest import KEY, PERSON, Bench, assert_balanced, money

IN = "s3://answers/in/rows.jsonl"
# What may differ between two runs that asked the same.
OF_THE_RUN = ["run_id", "started_at", "finished_at", "latency_ms"]


def of_bucket(s3: Any, url: str | None = None) -> dict[str, str]:
    return environment_of(url or s3.meta.endpoint_url)


@pytest.fixture
def clusters(s3: Any, tmp_path: Path) -> Iterator[Callable[..., dask_cluster.Cluster]]:
    """Start clusters whose workers call that gateway and know that bucket, each in a folder of its own."""
    with ExitStack() as stack:

        def start(base_url: str, workers: int = 2, **more: str) -> dask_cluster.Cluster:
            folder = tmp_path / f"cluster-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            told = {"ROWMILL_API_KEY": KEY, "ROWMILL_BASE_URL": base_url, **of_bucket(s3), **more}
            return stack.enter_context(dask_cluster.running(workers, folder, told))

        yield start


def write_rows(bench: Bench, s3: Any, rows: list[dict[str, Any]], more: bytes = b"") -> None:
    bench.rows(rows)
    body = (bench.folder / "rows.jsonl").read_bytes() + more
    (bench.folder / "rows.jsonl").write_bytes(body)
    s3.put_object(Bucket="answers", Key="in/rows.jsonl", Body=body)


def machine(bench: Bench, s3: Any, name: str = "a", **more: str) -> dict[str, str]:
    """What a coordinator's machine knows; each has a disk of its own."""
    return {**of_bucket(s3), "ROWMILL_WORK_DIR": str(bench.folder / f"machine-{name}"), **more}


def start(bench: Bench, base_url: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    return bench.start(base_url, "run", "job.yaml", "--direct", "--json", **environment)


def end(process: subprocess.Popen[str], expect: int = 0) -> tuple[dict[str, Any], str]:
    out, err = process.communicate(timeout=400)
    assert process.returncode == expect, err
    return json.loads(out), err


def wait_for_calls(sandbox: Any, count: int) -> None:
    until = time.monotonic() + 300
    while sandbox.books()["billed_calls"] < count:
        assert time.monotonic() < until
        time.sleep(0.02)


def holders(cluster: dask_cluster.Cluster) -> list[int]:
    """The worker processes that write a segment now."""
    found = []
    for worker in cluster.workers:
        folder = Path("/proc") / str(worker.pid) / "fd"
        opened = [os.readlink(one) for one in folder.iterdir() if one.exists()]
        if any("/journal/away-" in one for one in opened):
            found.append(worker.pid)
    return found


def assert_left_clean(s3: Any) -> None:
    """Nothing of the journal, the workers, or a probe is left."""
    left = [name for name in names(s3) if not name.startswith("results/part-")]
    assert sorted(left) == ["history.jsonl", "ledger.jsonl", "run.json"]


pytestmark = pytest.mark.nightly


def launch(bench: Bench, s3: Any, sandbox: Any, rows: int, cluster: Any, *, url: str | None = None, **keys: Any) -> Any:
    """So many rows, each of its own, and a run of them on that cluster into the bucket."""
    write_rows(bench, s3, [{"id": f"r{n}", "text": f"row {n}"} for n in range(rows)])
    bench.job(output=OUT, input=IN, id="id", runner="dask", scheduler=cluster.address, **keys)
    return start(bench, sandbox.base_url, machine(bench, s3) | of_bucket(s3, url))


def assert_each_once(
    s3: Any, manifest: dict[str, Any], sandbox: Any, rows: int, again: int, *, is_clean: bool = True
) -> None:
    """Every row once, at most so many paid again, and the books agree within what is told as maybe paid."""
    told = results(s3)
    assert_balanced(manifest, told)
    assert told["row_id"].to_list() == [f"r{n}" for n in range(rows)]
    assert manifest["ledger"]["ok"] == rows
    books = sandbox.books()
    assert books["billed_calls"] - rows <= again
    cost, bound = (money(manifest["totals"][name]) for name in ("cost_usd", "unknown_cost_bound_usd"))
    beside = manifest.get("beside") or {}
    more = money(beside.get("cost_usd", 0)) + money(beside.get("unknown_cost_bound_usd", 0))
    assert cost <= money(books["billed_usd"]) <= cost + bound + more
    if is_clean:
        assert_left_clean(s3)


def test_results_are_those_of_a_local_run(bench, sandboxes, s3, clusters):
    """Row for row the same answers, costs and reuses as a local run's, and no file that two processes must see."""
    count = 7_000
    rows = [{"id": f"r{n}", "text": f"person number {n % (count - 1_500)}", "town": n % 7} for n in range(count)]
    del rows[6_000]["text"]
    write_rows(bench, s3, rows, b"no row\n")
    told = {"id": "id", "schema": PERSON, "keep": ["town"], "limits": {"concurrency": 64}}
    local, away = sandboxes(), sandboxes()
    bench.job("local.yaml", output="local", **told)
    assert bench.run(local.base_url, "run", "local.yaml", "--direct").code == 3
    cluster = clusters(away.base_url)
    bench.job(output=OUT, input=IN, runner="dask", scheduler=cluster.address, **told)
    manifest, err = end(start(bench, away.base_url, machine(bench, s3)), expect=3)
    here, there = bench.results("local").drop(OF_THE_RUN), results(s3).drop(OF_THE_RUN)
    differs = [name for name in here.columns if not here[name].equals(there[name])]
    # The line that cannot be read is told with its file.
    assert differs == ["error_message"]
    assert here.filter(status="failed").equals(there.filter(status="failed"))
    assert_balanced(manifest, there)
    assert money(away.books()["billed_usd"]) == money(manifest["totals"]["cost_usd"])
    assert away.books()["most_in_flight"] <= 64
    assert away.books()["prompts_billed_twice"] == 0
    assert_left_clean(s3)
    assert SECRET not in err


def test_a_killed_worker_loses_nothing(bench, sandboxes, s3, clusters):
    """Its disk is out of reach, and yet its shard goes on where it was: at most its calls in flight are paid again,
    and the books hold all of them as maybe paid.
    """
    sandbox = sandboxes(latency_ms=100)
    cluster = clusters(sandbox.base_url)
    process = launch(bench, s3, sandbox, 8_000, cluster, limits={"concurrency": 64})
    wait_for_calls(sandbox, 2_500)
    os.kill(holders(cluster)[0], signal.SIGKILL)
    manifest, err = end(process)
    assert "is lost" in err
    assert_each_once(s3, manifest, sandbox, 8_000, 64)
    assert manifest["totals"]["retries"].get("interrupted", 0) <= 64


def test_a_worker_that_was_thought_dead_commits_nothing(bench, sandboxes, s3, clusters):
    """One that wakes after its lease has ended sends no further call; its late pieces are read by nobody."""
    sandbox = sandboxes(latency_ms=50)
    cluster = clusters(sandbox.base_url, 1)
    process = launch(bench, s3, sandbox, 4_000, cluster, limits={"concurrency": 32})
    wait_for_calls(sandbox, 800)
    [sleeper] = holders(cluster)
    os.kill(sleeper, signal.SIGSTOP)
    try:
        cluster.start_worker()
        before = sandbox.books()["billed_calls"]
        wait_for_calls(sandbox, before + 500)
    finally:
        os.kill(sleeper, signal.SIGCONT)
    manifest, err = end(process)
    assert "not heard" in err
    # What it wrote when it woke may come after the end; the next start deletes it.
    assert_each_once(s3, manifest, sandbox, 4_000, 32, is_clean=False)
    bench.job(output=OUT, input=IN, id="id", limits={"concurrency": 32})
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", **machine(bench, s3))
    assert "nothing to do" in ended.err
    assert_left_clean(s3)


def test_a_killed_coordinator_is_replaced_from_another_machine(bench, sandboxes, s3, clusters):
    """The workers stop by themselves; another machine, which has nothing but the bucket, goes on with what they wrote."""
    sandbox = sandboxes(latency_ms=50)
    cluster = clusters(sandbox.base_url)
    process = launch(bench, s3, sandbox, 9_000, cluster, limits={"concurrency": 64})
    wait_for_calls(sandbox, 3_000)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    shutil.rmtree(bench.folder / "machine-a")
    time.sleep(16)
    stopped = sandbox.books()
    assert stopped["in_flight"] == 0
    status = bench.run(sandbox.base_url, "status", OUT, "--json", **machine(bench, s3, "c"))
    assert json.loads(status.out)["ledger"]["ok"] >= stopped["billed_calls"] - 64
    time.sleep(1)
    assert sandbox.books()["billed_calls"] == stopped["billed_calls"]
    manifest, _ = end(start(bench, sandbox.base_url, machine(bench, s3, "b")))
    assert_each_once(s3, manifest, sandbox, 9_000, 64)


def test_a_cluster_and_its_coordinator_killed_together_lose_nothing(bench, sandboxes, s3, clusters):
    """A whole site goes dark: a local run elsewhere goes on, and what was in flight is told as maybe paid."""
    sandbox = sandboxes(latency_ms=100)
    cluster = clusters(sandbox.base_url)
    process = launch(bench, s3, sandbox, 8_000, cluster, limits={"concurrency": 64})
    wait_for_calls(sandbox, 2_500)
    os.killpg(process.pid, signal.SIGKILL)
    for worker in cluster.workers:
        worker.kill()
    process.communicate()
    bench.job(output=OUT, input=IN, id="id", limits={"concurrency": 64})
    manifest, err = end(start(bench, sandbox.base_url, machine(bench, s3, "b")))
    assert "ended without its workers" in err
    assert_each_once(s3, manifest, sandbox, 8_000, 64)


def test_a_bucket_that_fails_every_fourth_request_costs_nothing(bench, sandboxes, s3, clusters, unsteady):
    """Errors, throttles, lost answers and cut connections between the bucket and every machine: the books are equal."""
    sandbox = sandboxes(latency_ms=50)
    proxy = unsteady(s3.meta.endpoint_url, every=4)
    cluster = clusters(sandbox.base_url, **of_bucket(s3, proxy.url))
    process = launch(bench, s3, sandbox, 6_000, cluster, url=proxy.url, limits={"concurrency": 48})
    manifest, _ = end(process)
    assert proxy.failed > 100
    assert_each_once(s3, manifest, sandbox, 6_000, 0)


def test_a_scheduler_that_dies_ends_the_run_resumable(bench, sandboxes, s3, clusters):
    """Its address is told, what was paid for stands in the bucket, and a local run elsewhere goes on."""
    sandbox = sandboxes(latency_ms=100)
    cluster = clusters(sandbox.base_url)
    process = launch(bench, s3, sandbox, 6_000, cluster, limits={"concurrency": 32})
    wait_for_calls(sandbox, 500)
    cluster.scheduler.kill()
    manifest, _ = end(process, expect=130)
    assert manifest["termination"]["code"] == "scheduler"
    assert cluster.address in manifest["termination"]["message"]
    sandbox.change(latency_ms=5)
    bench.job(output=OUT, input=IN, id="id", limits={"concurrency": 32})
    manifest, _ = end(start(bench, sandbox.base_url, machine(bench, s3, "b")))
    assert_each_once(s3, manifest, sandbox, 6_000, 32)


def processes_of(folder: str) -> list[int]:
    """The processes of a Ray node, by the folder that each was started with."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def test_a_ray_head_that_dies_ends_the_run_resumable(bench, sandboxes, s3):
    """With all that ran on it: its address is told within seconds, and a local run elsewhere goes on."""
    sandbox = sandboxes(latency_ms=100)
    write_rows(bench, s3, [{"id": f"r{n}", "text": f"row {n}"} for n in range(6_000)])
    bench.job(output=OUT, input=IN, id="id", runner="ray", limits={"concurrency": 32})
    environment = {"ROWMILL_API_KEY": KEY, **of_bucket(s3)}
    with (
        tempfile.TemporaryDirectory(prefix="ray") as short,
        ray_cluster.running(2, Path(short), environment) as address,
    ):
        process = start(bench, sandbox.base_url, machine(bench, s3, RAY_ADDRESS=address))
        wait_for_calls(sandbox, 500)
        for pid in processes_of(short):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        manifest, err = end(process, expect=130)
    assert manifest["termination"]["code"] == "scheduler"
    assert address in manifest["termination"]["message"]
    assert "Traceback" not in err
    sandbox.change(latency_ms=5)
    bench.job(output=OUT, input=IN, id="id", limits={"concurrency": 32})
    manifest, _ = end(start(bench, sandbox.base_url, machine(bench, s3, "b")))
    assert_each_once(s3, manifest, sandbox, 6_000, 32)


def holders_knowing(url: str) -> list[int]:
    """The processes that write a segment now, of those that know this bucket's server."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if url.encode() not in (process / "environ").read_bytes():
                continue
            opened = [os.readlink(one) for one in (process / "fd").iterdir() if one.exists()]
            if any("/journal/away-" in one for one in opened):
                found.append(int(process.name))
    return found


def test_killed_ray_workers_and_a_killed_coordinator_lose_nothing(bench, sandboxes, s3):
    """A worker of Ray's is killed, and the run goes on with what it wrote; then the coordinator, and another machine
    goes on by the same cluster: every row once, at most what was in flight is paid again, the books equal.
    """
    sandbox = sandboxes(latency_ms=100)
    write_rows(bench, s3, [{"id": f"r{n}", "text": f"row {n}"} for n in range(8_000)])
    bench.job(output=OUT, input=IN, id="id", runner="ray", limits={"concurrency": 32})
    environment = {"ROWMILL_API_KEY": KEY, **of_bucket(s3)}
    with (
        tempfile.TemporaryDirectory(prefix="ray") as short,
        ray_cluster.running(2, Path(short), environment) as address,
    ):
        process = start(bench, sandbox.base_url, machine(bench, s3, RAY_ADDRESS=address))
        wait_for_calls(sandbox, 1_200)
        os.kill(holders_knowing(s3.meta.endpoint_url)[0], signal.SIGKILL)
        wait_for_calls(sandbox, 3_000)
        os.killpg(process.pid, signal.SIGKILL)
        _, err = process.communicate()
        assert "is lost" in err
        shutil.rmtree(bench.folder / "machine-a")
        manifest, err = end(start(bench, sandbox.base_url, machine(bench, s3, "b", RAY_ADDRESS=address)))
    assert "Traceback" not in err
    assert_each_once(s3, manifest, sandbox, 8_000, 2 * 32)


@pytest.mark.parametrize("runner", ["dask", "ray"])
def test_a_query_is_read_from_the_bucket_by_workers_elsewhere(bench, sandboxes, s3, clusters, runner):
    """The machines share the bucket alone: its rows are those that the coordinator's query gave, as in a local run."""
    sandbox = sandboxes()
    with sqlite3.connect(bench.folder / "x.db") as database:
        database.execute("CREATE TABLE t (id TEXT, text TEXT, n INTEGER)")
        database.executemany("INSERT INTO t VALUES (?, ?, ?)", [(f"r{n}", f"row {n}", n) for n in range(3_000)])
    told: dict[str, Any] = {
        "input": {"query": "SELECT * FROM t ORDER BY n", "connection": "sqlite:///x.db"}, "id": "id",
        "keep": ["text", "n"], "schema": PERSON, "limits": {"concurrency": 32},
    }  # fmt: skip
    bench.job("local.yaml", output="local", **told)
    assert bench.run(sandbox.base_url, "run", "local.yaml", "--direct").code == 0
    more = {"ROWMILL_WORK_DIR": str(bench.folder / "machine-w")}
    with ExitStack() as stack:
        if runner == "dask":
            address = clusters(sandbox.base_url, **more).address
        else:
            short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ray")))
            environment = {"ROWMILL_API_KEY": KEY, **of_bucket(s3), **more}
            address = stack.enter_context(ray_cluster.running(2, short, environment))
        bench.job(output=OUT, runner=runner, scheduler=address, **told)
        manifest, err = end(start(bench, sandbox.base_url, machine(bench, s3)))
    assert "Traceback" not in err
    here, there = bench.results("local").drop(OF_THE_RUN), results(s3).drop(OF_THE_RUN)
    assert here.equals(there)
    assert_balanced(manifest, results(s3))
    copies = [one.name for one in (bench.folder / "machine-w").rglob("*") if one.is_file()]
    assert copies == ["stored-input.parquet"]
