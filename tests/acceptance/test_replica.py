"""An output in an S3 bucket, on a real server that speaks S3: every promise of an output on disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks import redis_server
from rowmill.schemas.errors import DamageError, OutputError, StorageError
from rowmill.tasks.output.bucket import stores
from rowmill.tasks.output.bucket.lease import HOLD_S
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.output.bucket.objects import Objects
from tests.buckets import OUT, SECRET, body, environment_of, names, results
from tests.conftest import PERSON, Bench, assert_balanced, money


def environment(bench: Bench, s3: Any, machine: str = "a") -> dict[str, str]:
    """What a machine's processes know; each machine has a disk of its own."""
    return {
        **environment_of(s3.meta.endpoint_url),
        "ROWMILL_WORK_DIR": str(bench.folder / f"machine-{machine}"),
    }


def write_rows(bench: Bench, count: int) -> None:
    bench.rows([{"id": f"r{n}", "text": f"person number {n}"} for n in range(count)])


def test_results_stand_in_the_bucket_as_on_disk(bench, sandboxes, s3):
    """The same rows, costs and manifest; nothing of the journal is left; a second run pays for the new rows alone."""
    sandbox = sandboxes()
    write_rows(bench, 300)
    bench.job("local.yaml", output="local", id="id", schema=PERSON)
    bench.job(output=OUT, id="id", schema=PERSON)
    assert bench.run(sandbox.base_url, "run", "local.yaml", "--direct").code == 0
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json", **environment(bench, s3))
    assert ended.code == 0, ended.err
    assert ended.manifest["output"] == OUT
    assert_balanced(ended.manifest, results(s3))
    same = ["row_id", "status", "output", "cost_usd", "request_key"]
    assert results(s3)[same].equals(bench.results("local")[same])
    assert sorted(names(s3)) == ["history.jsonl", "ledger.jsonl", "results/part-000000.parquet", "run.json"]
    assert json.loads(body(s3, "run.json"))["job"]["output"] == OUT
    write_rows(bench, 400)
    # Another machine goes on, which has nothing but the bucket.
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json", **environment(bench, s3, "b"))
    assert ended.code == 0, ended.err
    assert sandbox.books()["billed_calls"] == 300 + 400
    assert results(s3)["row_id"].to_list() == [f"r{n}" for n in range(400)]
    assert SECRET not in ended.err


# Half a minute of waiting for the dead machine's hold; a test below waits it out by day as well.
OTHER_MACHINE = pytest.param("b", marks=pytest.mark.nightly)


@pytest.mark.parametrize("machine", ["a", OTHER_MACHINE])
def test_kills_lose_and_double_nothing(bench, sandboxes, s3, machine):
    """Killed at any moment, and gone on with by the same machine or by another: every row once, and at most what was
    in flight is paid again.
    """
    sandbox = sandboxes(latency_ms=60)
    write_rows(bench, 700)
    bench.job(output=OUT, id="id", limits={"concurrency": 16})
    died = 0
    for kill in range(3 if machine == "a" else 1):
        process = bench.start(sandbox.base_url, "run", "job.yaml", "--direct", "-q", **environment(bench, s3))
        before = sandbox.books()["billed_calls"]
        while process.poll() is None and sandbox.books()["billed_calls"] < before + 90 + 40 * kill:
            time.sleep(0.01)
        assert process.poll() is None, process.communicate()
        os.killpg(process.pid, signal.SIGKILL)
        died += 1
        process.communicate()
    ended = bench.run(
        sandbox.base_url, "run", "job.yaml", "--direct", "--json", "--no-report", **environment(bench, s3, machine)
    )
    assert ended.code == 0, ended.err
    assert ("is locked by" in ended.err) == (machine == "b")
    books = sandbox.books()
    assert_balanced(ended.manifest, results(s3))
    assert results(s3)["row_id"].to_list() == [f"r{n}" for n in range(700)]
    assert books["billed_calls"] - 700 <= died * 16
    told, bound = (money(ended.manifest["totals"][name]) for name in ("cost_usd", "unknown_cost_bound_usd"))
    assert told <= money(books["billed_usd"])
    if machine == "a":
        assert money(books["billed_usd"]) <= told + bound
    assert [name for name in names(s3) if name.startswith("journal")] == []


def test_an_answer_counts_once_it_is_in_the_bucket(bench, sandboxes, s3):
    """While a run lives, every settled row of its journal stands in the bucket as immutable pieces; its disk may be lost."""
    sandbox = sandboxes(latency_ms=50)
    write_rows(bench, 600)
    bench.job(output=OUT, id="id", limits={"concurrency": 16})
    process = bench.start(sandbox.base_url, "run", "job.yaml", "--direct", "-q", **environment(bench, s3))
    while sandbox.books()["billed_calls"] < 200:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    shutil.rmtree(bench.folder / "machine-a")
    pieces = [name for name in names(s3) if name.startswith("journal/shard-000000.jsonl/")]
    assert len(pieces) > 3
    journal = b"".join(body(s3, name) for name in sorted(pieces))
    assert journal.count(b" O ") >= sandbox.books()["billed_calls"] - 16
    status = bench.run(sandbox.base_url, "status", OUT, "--json", **environment(bench, s3, "c"))
    assert json.loads(status.out)["ledger"]["ok"] == journal.count(b" O ")


def test_one_run_at_a_time(bench, sandboxes, s3):
    """A second run, from this machine or another, is refused while the first lives, and told who holds the output."""
    sandbox = sandboxes(latency_ms=200)
    write_rows(bench, 2_000)
    bench.job(output=OUT, limits={"concurrency": 4})
    first = bench.start(sandbox.base_url, "run", "job.yaml", "--direct", "-q", **environment(bench, s3))
    while ".lock" not in names(s3) or sandbox.books()["calls"] < 5:
        time.sleep(0.05)
    for machine in ("a", "b"):
        second = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", **environment(bench, s3, machine))
        assert second.code == 2
        assert f"{OUT}: another run works on this output" in second.err
        assert "Traceback" not in second.err
    status = bench.run(sandbox.base_url, "status", OUT, "--json", **environment(bench, s3))
    assert json.loads(status.out)["state"] == "running"
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=30)
    assert first.returncode == 130
    assert ".lock" not in names(s3)
    assert results(s3).height == sandbox.books()["billed_calls"]


@pytest.mark.nightly
def test_a_run_that_lost_its_lock_writes_and_sends_nothing(bench, sandboxes, s3):
    """One that slept while another took over ends by itself: the other's results stand as they are."""
    sandbox = sandboxes(latency_ms=50)
    write_rows(bench, 900)
    bench.job(output=OUT, id="id", limits={"concurrency": 8})
    sleeper = bench.start(sandbox.base_url, "run", "job.yaml", "--direct", **environment(bench, s3))
    while sandbox.books()["billed_calls"] < 200:
        time.sleep(0.02)
    os.killpg(sleeper.pid, signal.SIGSTOP)
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json", **environment(bench, s3, "b"))
    assert ended.code == 0, ended.err
    stood = {name: body(s3, name) for name in names(s3)}
    calls = sandbox.books()["calls"]
    os.killpg(sleeper.pid, signal.SIGCONT)
    _, err = sleeper.communicate(timeout=60)
    assert sleeper.returncode != 0, err
    assert "Traceback" not in err
    assert {name: body(s3, name) for name in names(s3)} == stood
    assert sandbox.books()["calls"] <= calls + 8
    assert results(s3)["row_id"].to_list() == [f"r{n}" for n in range(900)]


def test_a_bucket_that_fails_for_a_while_costs_nothing(bench, sandboxes, s3, unsteady):
    """Errors, throttling, cut connections and answers that are lost after the write: the run goes on and ends right."""
    sandbox = sandboxes(latency_ms=20)
    write_rows(bench, 500)
    bench.job(output=OUT, id="id", limits={"concurrency": 16})
    proxy = unsteady(s3.meta.endpoint_url, every=4)
    told = environment(bench, s3) | {"AWS_ENDPOINT_URL": proxy.url}
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json", "--no-report", **told)
    assert ended.code == 0, ended.err
    assert proxy.failed > 10
    assert_balanced(ended.manifest, results(s3))
    assert results(s3).height == sandbox.books()["billed_calls"] == 500
    assert sorted(names(s3)) == ["history.jsonl", "ledger.jsonl", "results/part-000000.parquet", "run.json"]


def test_a_bucket_that_goes_away_stops_the_run_resumable(bench, sandboxes, s3, unsteady, monkeypatch):
    """What can no longer be stored is not asked for: exit 2, and when the bucket is back the run goes on."""
    sandbox = sandboxes(latency_ms=30)
    write_rows(bench, 1_500)
    bench.job(output=OUT, id="id", limits={"concurrency": 8})
    proxy = unsteady(s3.meta.endpoint_url)
    told = environment(bench, s3) | {"AWS_ENDPOINT_URL": proxy.url}
    process = bench.start(sandbox.base_url, "run", "job.yaml", "--direct", "--no-report", **told)
    while sandbox.books()["billed_calls"] < 100:
        time.sleep(0.02)
    proxy.is_down = True
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    assert SECRET not in err
    proxy.is_down = False
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json", "--no-report", **told)
    assert ended.code == 0, ended.err
    assert results(s3)["row_id"].to_list() == [f"r{n}" for n in range(1_500)]
    assert sandbox.books()["billed_calls"] - 1_500 <= 8


@pytest.mark.parametrize(
    ("output", "keys", "more", "said"),
    [
        ("s3://nowhere/out", {}, {}, "s3://nowhere/out"),
        ("s3://answers", {}, {}, "no folder of a bucket is named"),
        ("s3://answers/runs//one", {}, {}, "s3://answers/runs//one: no folder of a bucket can have this name"),
        ("http://answers/out", {}, {}, "http://answers/out: no address of an output"),
        (OUT, {}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "http://127.0.0.1:9 refuses it"),
        (OUT, {}, {"ROWMILL_WORK_DIR": "/proc/nowhere"}, "Set ROWMILL_WORK_DIR"),
    ],
)
def test_an_output_that_cannot_be_used_is_refused(bench, sandboxes, s3, output, keys, more, said):
    """No such bucket, no folder, nobody there: exit 2 before a call, the address named, no secret told."""
    sandbox = sandboxes()
    bench.rows([{"text": "one"}])
    bench.job(output=output, **keys)
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", **(environment(bench, s3) | more))
    assert ended.code == 2
    assert said in ended.err
    assert SECRET not in ended.err
    assert "Traceback" not in ended.err
    assert sandbox.books()["calls"] == 0


CONDITIONS = ("If-None-Match", "If-Match")


@pytest.mark.parametrize("ignored", CONDITIONS)
def test_a_server_without_conditional_writes_is_refused(bench, sandboxes, s3, unsteady, ignored):
    """A probe finds it before the first call: exit 2, the condition and both ways out named, and nothing is left."""
    sandbox = sandboxes()
    write_rows(bench, 3)
    bench.job(output=OUT, id="id")
    proxy = unsteady(s3.meta.endpoint_url, ignores=(ignored,))
    told = environment(bench, s3) | {"AWS_ENDPOINT_URL": proxy.url}
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", **told)
    assert ended.code == 2
    assert f"{OUT}: its server does not hold to {ignored}" in ended.err
    assert "ROWMILL_REDIS_URL" in ended.err
    assert sandbox.books()["calls"] == 0
    assert names(s3) == []


def test_a_server_whose_listing_lags_behind_is_refused(tmp_path, s3, unsteady, monkeypatch):
    """Journals that are not listed would be asked, and paid, again: refused before a call."""
    nothing = b"<ListBucketResult><Name>answers</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
    proxy = unsteady(s3.meta.endpoint_url, answers={"GET": (200, nothing)})
    for name, value in (environment(Bench(tmp_path), s3) | {"AWS_ENDPOINT_URL": proxy.url}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OutputError, match="does not list an object that was just written"):
        Mirror(Objects(OUT), tmp_path).lock()
    assert names(s3) == []


@pytest.mark.nightly
@pytest.mark.skipif(redis_server.REDIS is None, reason="needs Debian's redis-server")
def test_such_a_server_is_used_with_a_lease_in_redis(bench, sandboxes, s3, unsteady):
    """Said so; a second machine is refused while the first lives, and a killed one is gone on with."""
    sandbox = sandboxes(latency_ms=100)
    write_rows(bench, 400)
    bench.job(output=OUT, id="id", limits={"concurrency": 8})
    proxy = unsteady(s3.meta.endpoint_url, ignores=CONDITIONS)
    with redis_server.running() as port:
        more = {"AWS_ENDPOINT_URL": proxy.url, "ROWMILL_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
        first = bench.start(sandbox.base_url, "run", "job.yaml", "--direct", "-q", **(environment(bench, s3) | more))
        while sandbox.books()["billed_calls"] < 50:
            time.sleep(0.05)
        second = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", **(environment(bench, s3) | more))
        assert second.code == 2
        assert "another run works on this output" in second.err
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json", **(environment(bench, s3) | more))
    assert ended.code == 0, ended.err
    assert f"the lease on this output is in Redis (redis://127.0.0.1:{port}" in ended.err
    assert_balanced(ended.manifest, results(s3))
    assert results(s3)["row_id"].to_list() == [f"r{n}" for n in range(400)]
    assert sandbox.books()["billed_calls"] - 400 <= 8


def _refusal(code: str, more: str = "") -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no {more}</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        (403, _refusal("AccessDenied"), "s3:PutObject"),
        (403, _refusal("RequestTimeTooSkewed"), "set this machine's clock"),
        (403, _refusal("SignatureDoesNotMatch"), "AWS_ACCESS_KEY_ID and its secret"),
        (301, _refusal("PermanentRedirect"), "the bucket is in another region"),
        (400, _refusal("AuthorizationHeaderMalformed", "; expecting 'eu-west-3'"), "another region, eu-west-3: set AWS_REGION"),
        (400, _refusal("InvalidRequest", "Content-MD5 is required for Object Lock"), "AWS_CHECKSUM_ALGORITHM=SHA256"),
        (501, _refusal("NotImplemented"), "does not hold to conditional writes"),
    ],
)  # fmt: skip
def test_what_a_bucket_refuses_is_told_with_the_way_out(tmp_path, s3, unsteady, monkeypatch, status, content, said):
    """No right, a wrong clock, another region, object lock: one sentence for each, before anything is sent."""
    proxy = unsteady(s3.meta.endpoint_url, answers={"PUT": (status, content)})
    for name, value in (environment(Bench(tmp_path), s3) | {"AWS_ENDPOINT_URL": proxy.url}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OutputError) as refused:
        Mirror(Objects(OUT), tmp_path).lock()
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"{OUT}: ")
    assert "<" not in str(refused.value)


def test_a_bucket_that_keeps_versions_is_used_and_told(tmp_path, s3, monkeypatch, caplog):
    """Each beat leaves an old version there: a lifecycle rule is named."""
    for name, value in environment(Bench(tmp_path), s3).items():
        monkeypatch.setenv(name, value)
    s3.put_bucket_versioning(Bucket="answers", VersioningConfiguration={"Status": "Enabled"})
    mirror = Mirror(Objects(OUT), tmp_path)
    mirror.lock()
    mirror.close()
    assert "lifecycle" in caplog.text


def test_fresh_moves_what_stood_aside_in_the_bucket(bench, sandboxes, s3):
    """--fresh pays anew and keeps what was paid for under previous/; other commands read an output by its address."""
    sandbox = sandboxes()
    write_rows(bench, 20)
    bench.job(output=OUT, id="id")
    told = environment(bench, s3)
    for flags in ([], ["--fresh"]):
        assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct", *flags, **told).code == 0
    assert len([name for name in names(s3) if name.startswith("previous/")]) == 3
    assert sandbox.books()["billed_calls"] == 40
    assert bench.run(sandbox.base_url, "estimate", "job.yaml", **told).code == 0
    report = bench.run(sandbox.base_url, "report", OUT, **environment(bench, s3, "b"))
    assert report.code == 0, report.err
    assert report.out == f"{OUT}/report.html\n"
    assert {"report.html", "estimate.json"} <= set(names(s3))
    nothing = bench.run(sandbox.base_url, "status", f"{OUT}/nothing", **told)
    assert nothing.code == 2
    assert f"{OUT}/nothing: there is no run here" in nothing.err
    compared = bench.run(sandbox.base_url, "compare", OUT, OUT, "--json", **environment(bench, s3, "c"))
    assert compared.code == 0, compared.err


def test_a_journal_that_was_being_deleted_is_not_missed(tmp_path, s3, monkeypatch):
    """Pieces go in no order: killed among them, the rest goes at the next start; a piece that is lost is damage."""
    for name, value in environment(Bench(tmp_path), s3).items():
        monkeypatch.setenv(name, value)
    objects = Objects(OUT)
    for piece in ("journal/shard-000002.jsonl/000000000007", "journal/shard-000002.jsonl/gone", "run.json"):
        objects.put(piece, b"", over=None)
    copy = tmp_path / "copy"
    copy.mkdir()
    held = Mirror(objects, copy)
    held.lock()
    held.pull()
    held.push()
    held.close()
    assert names(s3) == ["run.json"]
    objects.put("journal/shard-000002.jsonl/000000000007", b"", over=None)
    with pytest.raises(DamageError, match="piece of the journal is missing"):
        Mirror(objects, copy).pull()


def test_a_write_whose_answer_was_lost_is_ones_own(tmp_path, s3, unsteady, monkeypatch):
    """A bucket that writes and loses the answer has not given the lock to another, nor its objects: the run goes on."""
    proxy = unsteady(s3.meta.endpoint_url)
    for name, value in (environment(Bench(tmp_path), s3) | {"AWS_ENDPOINT_URL": proxy.url}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stores, "_RETRIES", {"max_retries": 0, "retry_timeout": timedelta(seconds=1)})
    held = Mirror(Objects(OUT), tmp_path)
    held.lock()
    file, journal = tmp_path / "run.json", tmp_path / "journal/shard-000000.jsonl"
    journal.parent.mkdir()
    file.write_text("{}")
    held.keep(file)
    journal.write_text("{1}")
    proxy.is_mute = True
    for told in ("{1}", "{2}"):
        file.write_text(told)
        for write in (held.hold.renew, lambda: held.keep(file), lambda: held.append(journal, 3)):
            with pytest.raises((OSError, StorageError), match="refuses it|put into the bucket"):
                write()
    proxy.is_mute = False
    held.hold.renew()
    file.write_text("{3}")
    held.keep(file)
    journal.write_text("{1}{2}")
    held.append(journal, 6)
    held.close()
    assert body(s3, "run.json") == b"{3}"
    assert b"".join(body(s3, name) for name in names(s3) if name.startswith("journal/")) == b"{1}{2}"


def test_a_lock_is_renewed_and_lost_by_the_holders_own_clock(tmp_path, s3, monkeypatch):
    """The hold ends when it was not renewed for its seconds, whatever the bucket says."""
    for name, value in environment(Bench(tmp_path), s3).items():
        monkeypatch.setenv(name, value)
    now = [100.0]
    held = Mirror(Objects(OUT), tmp_path, now=lambda: now[0])
    held.lock()
    file = tmp_path / "run.json"
    file.write_text("{}")
    held.keep(file)
    now[0] += HOLD_S
    file.write_text("{ }")
    with pytest.raises(StorageError, match="hold on this output was lost"):
        held.keep(file)
    held.close()
    assert body(s3, "run.json") == b"{}"
    assert Path(tmp_path / "run.json").read_text() == "{ }"
