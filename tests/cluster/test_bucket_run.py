"""Workers that share nothing with their coordinator but a bucket: in one process, on a real server that speaks S3."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Collection
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks import redis_server, s3_server
from rowmill.flows.dataframe import extract_frame
from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pipeline import carry_out
from rowmill.schemas.errors import InputError, JobError, OutputError, StorageError
from rowmill.schemas.job import Job
from rowmill.schemas.row import NO_SHARD, Cursor, Shard
from rowmill.tasks.cluster import runners, worker_input
from rowmill.tasks.cluster.backends.backend import STARTING, WorkerLost
from rowmill.tasks.cluster.bucket_mailbox import BucketMailbox
from rowmill.tasks.cluster.fitness import unfit
from rowmill.tasks.cluster.messages import Parcel, Report, ShardWork, StoredInput, unpacked
from rowmill.tasks.cluster.worker import settle_parcel
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.input.reader import shard_rows
from rowmill.tasks.job.job_file import load_job
from rowmill.tasks.output.bucket import lease, mirror
from rowmill.tasks.output.bucket.objects import Objects
from rowmill.tasks.output.bucket.worker_pieces import PieceWriter
from rowmill.tasks.output.location import output_to_write
from rowmill.tasks.run.run_plan import Options
from rowmill.tasks.system import buckets
from tests.buckets import OUT, body, environment_of, names, results
from tests.conftest import KEY, PERSON, Bench, assert_balanced, money
from tests.google_storage import google_storage

AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
AZURITE = shutil.which("azurite-blob", path=os.environ.get("AZURITE_BIN", os.environ["PATH"]))
NANIO = shutil.which("nanio", path=f"{os.environ.get('PATH', '')}{os.pathsep}{os.path.dirname(sys.executable)}")
PNG = bytes.fromhex("89504e470d0a1a0a") + b"0" * 64


class Threads:
    """An engine whose workers are threads of this process. `looks` is how often they are found importing first;
    `loses` how many of their first leases are lost once their work is done.
    """

    address = "threads"

    def __init__(self, looks: int = 0, loses: int = 0) -> None:
        self.looks, self.loses = looks, loses
        self.parcels: list[Parcel] = []

    async def fitness(self, parcel: Parcel) -> dict[str, str | None]:
        if self.looks:
            self.looks -= 1
            return {"one": STARTING}
        return {"one": await asyncio.to_thread(unfit, parcel)}

    async def settle(self, parcel: Parcel, workers: Collection[str]) -> Report:
        self.parcels.append(parcel)
        report = await asyncio.to_thread(settle_parcel, parcel)
        if self.loses:
            self.loses -= 1
            raise WorkerLost("it was killed")
        return report

    async def aclose(self) -> None:
        """Nobody to let go of."""


@pytest.fixture
def s3(s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The bucket, which this process knows too."""
    more = {"ROWMILL_WORK_DIR": str(tmp_path / "copies"), "ROWMILL_API_KEY": KEY}
    for name, value in (environment_of(s3.meta.endpoint_url) | more).items():
        monkeypatch.setenv(name, value)
    return s3


async def run(bench: Bench, base_url: str, engine: Threads, monkeypatch: pytest.MonkeyPatch, **keys: Any) -> Any:
    """A run of the bench's rows into the bucket, asked by that engine."""

    async def open_engine(*_: Any) -> Threads:
        return engine

    monkeypatch.setattr(runners, "open_engine", open_engine)
    job = load_job(bench.job(**{"output": OUT, "runner": "dask", "id": "id", **keys}))
    with output_to_write(job) as (local, mirror):
        async with opened(local, Options(), Gateway(base_url, KEY), mirror=mirror) as opened_run:
            return (await carry_out(opened_run)).as_dict()


async def test_results_are_those_of_a_local_run(bench, sandboxes, s3, monkeypatch, caplog):
    """The same rows and costs; a worker writes in a folder that only it knows, and nothing of its is left. Workers that
    are importing are waited for, and that is said.
    """
    sandbox = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"person number {n % 140}"} for n in range(150)])
    manifest = await run(bench, sandbox.base_url, Threads(looks=1), monkeypatch, schema=PERSON)
    assert_balanced(manifest, results(s3))
    assert manifest["ledger"]["ok"] == 150
    assert sandbox.books()["billed_calls"] == 140
    assert sorted(names(s3)) == ["history.jsonl", "ledger.jsonl", "results/part-000000.parquet", "run.json"]
    assert "waiting for 1 workers that are importing rowmill" in caplog.text
    bench.job("local.yaml", output="local", id="id", schema=PERSON)
    assert bench.run(sandbox.base_url, "run", "local.yaml", "--direct").code == 0
    same = ["row_id", "status", "output", "cost_usd", "request_key", "reused_from"]
    assert results(s3)[same].equals(bench.results("local")[same])


async def test_a_lost_lease_is_gone_on_with(bench, sandboxes, s3, monkeypatch):
    """What its holder had put stands; what may have been in flight is bounded; late pieces are read by nobody."""
    monkeypatch.setattr(BucketMailbox, "ended_s", 0.2)
    sandbox = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"row {n}"} for n in range(60)])
    engine = Threads(loses=1)
    manifest = await run(bench, sandbox.base_url, engine, monkeypatch, limits={"concurrency": 8})
    assert manifest["ledger"]["ok"] == 60
    assert_balanced(manifest, results(s3))
    assert sandbox.books()["billed_calls"] == 60
    first = engine.parcels[0]
    # Whoever is given the work of an ended lease again sends nothing.
    again = await asyncio.to_thread(settle_parcel, first)
    assert again.taken or again.refused is not None
    assert sandbox.books()["billed_calls"] == 60
    late = f"runs/one/journal/away-000000-{unpacked(first).token}-9999.jsonl/000000009999"
    s3.put_object(Bucket="answers", Key=late, Body=b"late")
    bench.rows([{"id": f"r{n}", "text": f"row {n}"} for n in range(61)])
    manifest = await run(bench, sandbox.base_url, Threads(), monkeypatch, limits={"concurrency": 8})
    assert manifest["ledger"]["ok"] == 61
    assert money(sandbox.books()["billed_usd"]) == money(manifest["totals"]["cost_usd"])
    assert not [name for name in names(s3) if "away" in name]


@pytest.mark.parametrize("stored", [0, 1, 4])
async def test_answers_that_a_worker_could_not_store_are_bounded(bench, sandboxes, s3, monkeypatch, stored):
    """A worker whose right to write is taken away ends the run: its calls in flight may be paid again, and are told. One
    that could store nothing sends nothing.
    """
    sandbox = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"row {n}"} for n in range(60)])
    append, puts = PieceWriter.append, iter(range(1_000))

    def refuse(self: PieceWriter, path: Path, end: int) -> None:
        if end > self._sent and next(puts) >= stored:
            raise OSError(5, "no right to it", OUT)
        append(self, path, end)

    with monkeypatch.context() as patch:
        patch.setattr(PieceWriter, "append", refuse)
        manifest = await run(bench, sandbox.base_url, Threads(), monkeypatch, limits={"concurrency": 8})
    assert manifest["termination"]["kind"] == "storage"
    assert "no right to it" in manifest["termination"]["message"]
    manifest = await run(bench, sandbox.base_url, Threads(), monkeypatch, limits={"concurrency": 8})
    assert manifest["ledger"]["ok"] == 60
    books = sandbox.books()
    assert 60 + (stored > 0) <= books["billed_calls"] <= 60 + 8 * (stored > 0)
    paid, bound = (money(manifest["totals"][name]) for name in ("cost_usd", "unknown_cost_bound_usd"))
    assert paid <= money(books["billed_usd"]) <= paid + bound


@pytest.mark.nightly
@pytest.mark.parametrize("is_asked", [True, False])
async def test_a_coordinator_that_was_replaced_while_it_slept_changes_nothing(
    bench, sandboxes, s3, monkeypatch, tmp_path, is_asked
):
    """Another one takes over from a folder of its own, with what the sleeper's worker had put; when that wakes, with the
    work of its worker or before that has begun, it writes nothing and asks nothing.
    """
    monkeypatch.setattr(BucketMailbox, "ended_s", 0.2)
    monkeypatch.setattr(mirror, "RENEW_S", 600.0)
    monkeypatch.setattr(lease, "HOLD_S", 4.0)
    monkeypatch.setattr(lease, "TAKE_S", 6.0)
    sandbox = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"row {n}"} for n in range(60)])
    asleep, awake = asyncio.Event(), asyncio.Event()

    class Sleeper(Threads):
        async def settle(self, parcel: Parcel, workers: Collection[str]) -> Report:
            report = await asyncio.to_thread(settle_parcel, parcel) if is_asked else None
            asleep.set()
            await awake.wait()
            return report or await asyncio.to_thread(settle_parcel, parcel)

    old = asyncio.create_task(run(bench, sandbox.base_url, Sleeper(), monkeypatch, limits={"concurrency": 8}))
    await asleep.wait()
    monkeypatch.setenv("ROWMILL_WORK_DIR", str(tmp_path / "another"))
    manifest = await run(bench, sandbox.base_url, Threads(), monkeypatch, limits={"concurrency": 8})
    awake.set()
    with suppress(StorageError):
        assert (await old)["termination"]["kind"] != "complete"
    assert manifest["ledger"]["ok"] == 60
    assert_balanced(manifest, results(s3))
    assert sandbox.books()["billed_calls"] == 60
    # A claim that came late is swept by the next run.
    left = sorted(name for name in names(s3) if not name.endswith(".claim"))
    assert left == ["history.jsonl", "ledger.jsonl", "results/part-000000.parquet", "run.json"]
    assert json.loads(body(s3, "run.json"))["run_id"] == manifest["run_id"]


async def test_media_come_from_the_bucket(bench, sandboxes, s3, monkeypatch):
    """A worker reads them where the coordinator does; one that is not there costs its own row."""
    sandbox = sandboxes(detail=True)
    s3.put_object(Bucket="answers", Key="media/a/one.png", Body=PNG)
    photos = ["a/one.png", "a/two.png", "../one.png"]
    bench.rows([{"id": f"r{n}", "text": f"row {n}", "photo": photo} for n, photo in enumerate(photos)])
    keys = {"attachments": ["photo"], "media_root": "s3://answers/media", "model": "gemini-3-flash"}
    manifest = await run(bench, sandbox.base_url, Threads(), monkeypatch, **keys)
    assert results(s3)["status"].to_list() == ["ok", "failed", "failed"]
    assert "there is no such object below media_root" in results(s3)["error_message"][1]
    assert manifest["ledger"]["ok"] == 1


@pytest.mark.nightly
async def test_rows_that_cannot_be_read_twice_are_read_from_the_bucket(bench, sandboxes, s3, monkeypatch, tmp_path):
    """A query's rows are in the bucket before the first call; workers read a copy of their machine's; a run that goes
    on from another machine reads the same rows though the query gives others by now.
    """
    sandbox = sandboxes()
    with sqlite3.connect(bench.folder / "x.db") as database:
        database.execute("CREATE TABLE t (id TEXT, text TEXT)")
        database.executemany("INSERT INTO t VALUES (?, ?)", [(f"r{n:02}", f"row {n}") for n in range(60)])
    keys: dict[str, Any] = {
        "input": {"query": "SELECT * FROM t ORDER BY id", "connection": "sqlite:///x.db"},
        "params": {"max_output_tokens": 500}, "limits": {"concurrency": 2}, "keep": ["text"],
    }  # fmt: skip
    monkeypatch.setattr(worker_input, "work_folder", lambda _: tmp_path / "workers")
    manifest = await run(bench, sandbox.base_url, Threads(), monkeypatch, max_cost_usd=0.02, **keys)
    assert manifest["termination"]["kind"] == "budget"
    assert 0 < manifest["ledger"]["ok"] < 60
    assert {"stored-input.parquet", "stored-input.source.json"} <= set(names(s3))
    copies = [path.name for path in (tmp_path / "workers").rglob("*") if path.is_file()]
    assert copies == ["stored-input.parquet"]
    with sqlite3.connect(bench.folder / "x.db") as database:
        database.execute("UPDATE t SET text = 'another'")
    monkeypatch.setenv("ROWMILL_WORK_DIR", str(tmp_path / "another"))
    manifest = await run(bench, sandbox.base_url, Threads(), monkeypatch, **keys)
    assert manifest["ledger"]["ok"] == 60
    assert sandbox.books()["billed_calls"] == 60
    assert results(s3)["row_id"].to_list() == [f"r{n:02}" for n in range(60)]
    assert results(s3)["text"].to_list() == [f"row {n}" for n in range(60)]


async def test_a_frame_is_asked_by_workers_elsewhere(sandboxes, s3, monkeypatch, tmp_path):
    """Its rows stand in the bucket, where each worker reads them, and its results come back; a grown one costs its new
    rows.
    """

    async def open_engine(*_: Any) -> Threads:
        return Threads()

    monkeypatch.setattr(runners, "open_engine", open_engine)
    monkeypatch.setattr(worker_input, "work_folder", lambda _: tmp_path / "workers")
    sandbox = sandboxes()
    for rows in (20, 25):
        frame = pl.DataFrame({"text": [f"row {n}" for n in range(rows)], "n": range(rows)})
        told = await extract_frame(
            frame, OUT, gateway=Gateway(sandbox.base_url, KEY), model="gemini-3-flash", prompt="Say {{ text }}",
            keep=["n"], runner="dask", report=False,
        )  # fmt: skip
        assert told["n"].to_list() == list(range(rows))
        assert told["status"].to_list() == ["ok"] * rows
        assert sandbox.books()["billed_calls"] == rows
    assert "stored-input.parquet" in names(s3)
    assert [path.name for path in (tmp_path / "workers").rglob("*.parquet")] == ["stored-input.parquet"] * 2


async def test_stored_rows_are_read_by_a_copy_under_the_coordinators_name(s3, tmp_path, monkeypatch):
    """It is taken once by a machine, and taken for the coordinator's file, wherever that stands."""
    monkeypatch.setattr(worker_input, "work_folder", lambda _: tmp_path / "workers")
    content, known_as = b'{"id": "a"}\n{"id": "b"}\n', "/elsewhere/stored-input.jsonl"
    s3.put_object(Bucket="answers", Key="runs/one/stored-input.jsonl", Body=content)
    digest = blake2b(content, digest_size=16).hexdigest()
    job = Job(model="gemini-3-flash", input="-", output="out", prompt="x")
    stored = StoredInput("stored-input.jsonl", len(content), digest, known_as)
    work = ShardWork("r", "t", job, False, "", "", {}, "", {}, NO_SHARD, (), address=OUT, stored=stored)
    for _ in range(2):
        files = worker_input.input_of(work)
        shard = Shard(0, 0, 2, Cursor(known_as, 0, 0), "")
        assert [row.row_id for row in shard_rows(shard, files, "id", max_line_bytes=1_000)] == ["a", "b"]
        s3.delete_object(Bucket="answers", Key="runs/one/stored-input.jsonl")


@pytest.mark.parametrize("content", [b"", b"PAR1 of another run"])
async def test_a_copy_of_other_rows_is_not_read(s3, tmp_path, monkeypatch, content):
    """What stands in the bucket is compared with what the coordinator stored, and nothing is left of it."""
    monkeypatch.setattr(worker_input, "work_folder", lambda _: tmp_path / "workers")
    s3.put_object(Bucket="answers", Key="runs/one/stored-input.parquet", Body=content)
    stored = StoredInput("stored-input.parquet", 9, "0" * 32, "/elsewhere/stored-input.parquet")
    job = Job(model="gemini-3-flash", input="-", output="out", prompt="x")
    work = ShardWork("r", "t", job, False, "", "", {}, "", {}, NO_SHARD, (), address=OUT, stored=stored)
    with pytest.raises(InputError, match="others than the run's"):
        worker_input.input_of(work)
    assert [path for path in (tmp_path / "workers").rglob("*") if path.is_file()] == []


async def test_a_worker_that_cannot_write_there_is_not_used(bench, sandboxes, s3, monkeypatch):
    """It says why, and where, before a call is made."""

    def refuse(_: BucketMailbox) -> None:
        raise OSError(5, "no right to it", OUT)

    monkeypatch.setattr(BucketMailbox, "knock", refuse)
    sandbox = sandboxes()
    bench.rows([{"id": "r0", "text": "row"}])
    with pytest.raises(JobError, match=f"it cannot write to {OUT}: no right to it"):
        await run(bench, sandbox.base_url, Threads(), monkeypatch)
    assert sandbox.books()["calls"] == 0


@pytest.mark.nightly
@pytest.mark.skipif(redis_server.REDIS is None, reason="needs Debian's redis-server")
@pytest.mark.skipif(NANIO is None, reason="needs a server without conditional writes: pip install nanio, beside pytest")
async def test_a_server_without_conditional_writes_serves_a_cluster_with_redis(
    bench, sandboxes, monkeypatch, tmp_path, caplog
):
    """A real server that ignores conditions is refused, and with a Redis serves coordinator and workers."""
    assert NANIO is not None
    sandbox = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"row {n}"} for n in range(80)])
    with s3_server.started(lambda port: [
        NANIO, "serve", "--data-dir", str(tmp_path / "buckets"), "--host", "127.0.0.1", "--port", str(port),
    ], NANIO_ACCESS_KEY="tests", NANIO_SECRET_KEY="tests-secret") as url:  # fmt: skip
        for name, value in s3_server.environment(url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ROWMILL_API_KEY", KEY)
        monkeypatch.setenv("ROWMILL_WORK_DIR", str(tmp_path / "copies"))
        with pytest.raises(OutputError, match="does not hold to If-None-Match"):
            await run(bench, sandbox.base_url, Threads(), monkeypatch)
        with redis_server.running() as port:
            monkeypatch.setenv("ROWMILL_REDIS_URL", f"redis://127.0.0.1:{port}/0")
            engine = Threads()
            manifest = await run(bench, sandbox.base_url, engine, monkeypatch)
            again = await asyncio.to_thread(settle_parcel, engine.parcels[0])
    assert manifest["ledger"]["ok"] == sandbox.books()["billed_calls"] == 80
    assert again.taken or again.refused is not None
    assert f"the lease on this output is in Redis (redis://127.0.0.1:{port}" in caplog.text


@pytest.mark.nightly
async def test_an_output_at_google_is_as_one_in_s3(bench, sandboxes, monkeypatch, tmp_path):
    """Workers, lock and journal by the same code, over generations: a lost lease is gone on with, and another machine
    pays for the new rows alone.
    """
    sandbox = sandboxes()
    monkeypatch.setenv("ROWMILL_API_KEY", KEY)
    with google_storage() as google:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", google.url)
        for machine, rows, loses in (("a", 80, 1), ("b", 90, 0)):
            monkeypatch.setenv("ROWMILL_WORK_DIR", str(tmp_path / machine))
            bench.rows([{"id": f"r{n}", "text": f"row {n}"} for n in range(rows)])
            engine = Threads(loses=loses)
            manifest = await run(bench, sandbox.base_url, engine, monkeypatch, output="gs://answers/runs/one")
            assert manifest["ledger"]["ok"] == sandbox.books()["billed_calls"] == rows
        left = sorted(one.name for one in Objects("gs://answers/runs/one").list())
    parts = ["results/part-000000.parquet", "results/part-000001.parquet"]
    assert left == ["history.jsonl", "ledger.jsonl", *parts, "run.json"]


@pytest.mark.nightly
@pytest.mark.skipif(
    AZURITE is None, reason="needs Azure's own emulator: npm install azurite (AZURITE_BIN names its folder)"
)
async def test_an_output_in_azure_is_as_one_in_s3(bench, sandboxes, monkeypatch, tmp_path):
    """Workers, lock and journal by the same code: another machine goes on with it, and pays for the new rows alone."""
    assert AZURITE is not None
    sandbox = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"row {n}"} for n in range(80)])

    def command(port: int) -> list[str]:
        return [AZURITE, "--blobPort", str(port), "--inMemoryPersistence", "--skipApiVersionCheck", "--silent",
                "--disableTelemetry"]  # fmt: skip

    with s3_server.listening(command) as port:
        monkeypatch.setenv(
            "AZURE_STORAGE_CONNECTION_STRING",
            f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={AZURE_KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;",
        )
        monkeypatch.setenv("ROWMILL_API_KEY", KEY)
        buckets._file_system.cache_clear()
        buckets._file_system("az://").create_dir("answers")
        for machine, rows in (("a", 80), ("b", 90)):
            monkeypatch.setenv("ROWMILL_WORK_DIR", str(tmp_path / machine))
            bench.rows([{"id": f"r{n}", "text": f"row {n}"} for n in range(rows)])
            manifest = await run(bench, sandbox.base_url, Threads(), monkeypatch, output="az://answers/runs/one")
            assert manifest["ledger"]["ok"] == sandbox.books()["billed_calls"] == rows
        left = sorted(one.name for one in Objects("az://answers/runs/one").list())
    parts = ["results/part-000000.parquet", "results/part-000001.parquet"]
    assert left == ["history.jsonl", "ledger.jsonl", *parts, "run.json"]
