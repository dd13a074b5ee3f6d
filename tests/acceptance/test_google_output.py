"""An output at gs://, on a server that holds to generations as Google's reference documents: as one on disk and at s3://."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Iterator

import polars as pl
import pytest

from rowmill.schemas.errors import OutputError
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.output.bucket.objects import Conflict, Objects
from rowmill.tasks.output.bucket.probe import probe
from tests.acceptance.test_replica import write_rows
from tests.conftest import PERSON, Bench, assert_balanced, money
from tests.google_storage import GoogleStorage, google_storage

OUT, BELOW = "gs://answers/runs/one", "runs/one/"


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleStorage]:
    with google_storage() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server


def environment(bench: Bench, google: GoogleStorage, machine: str = "a") -> dict[str, str]:
    return {"STORAGE_EMULATOR_HOST": google.url, "ROWMILL_WORK_DIR": str(bench.folder / f"machine-{machine}")}


def names(google: GoogleStorage) -> list[str]:
    return sorted(name.removeprefix(BELOW) for name in google.objects)


def results(google: GoogleStorage) -> pl.DataFrame:
    parts = [name for name in sorted(google.objects) if name.startswith(f"{BELOW}results/")]
    return pl.concat([pl.read_parquet(io.BytesIO(google.objects[name][0])) for name in parts])


def test_results_stand_there_as_on_disk(bench, sandboxes, google):
    """The same rows, costs and manifest; nothing of the journal is left; another machine pays for the new rows alone."""
    sandbox = sandboxes()
    write_rows(bench, 200)
    bench.job("local.yaml", output="local", id="id", schema=PERSON)
    bench.job(output=OUT, id="id", schema=PERSON)
    assert bench.run(sandbox.base_url, "run", "local.yaml", "--direct").code == 0
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json", **environment(bench, google))
    assert ended.code == 0, ended.err
    assert "old versions" not in ended.err
    assert_balanced(ended.manifest, results(google))
    same = ["row_id", "status", "output", "cost_usd", "request_key"]
    assert results(google)[same].equals(bench.results("local")[same])
    assert names(google) == ["history.jsonl", "ledger.jsonl", "results/part-000000.parquet", "run.json"]
    write_rows(bench, 250)
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json", **environment(bench, google, "b"))
    assert ended.code == 0, ended.err
    assert sandbox.books()["billed_calls"] == 200 + 250
    assert results(google)["row_id"].to_list() == [f"r{n}" for n in range(250)]


@pytest.mark.nightly
def test_a_kill_loses_and_doubles_nothing(bench, sandboxes, google):
    """Killed in the middle and gone on with: every row once, at most what was in flight is paid again; `status` from a
    third machine tells both.
    """
    sandbox = sandboxes(latency_ms=60)
    write_rows(bench, 400)
    bench.job(output=OUT, id="id", limits={"concurrency": 16})
    process = bench.start(sandbox.base_url, "run", "job.yaml", "--direct", "-q", **environment(bench, google))
    while process.poll() is None and sandbox.books()["billed_calls"] < 120:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    settled = sum(content.count(b"\n") for name, (content, _) in google.objects.items() if "/journal/" in name)
    assert settled > 100
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json", **environment(bench, google))
    assert ended.code == 0, ended.err
    assert_balanced(ended.manifest, results(google))
    assert results(google)["row_id"].to_list() == [f"r{n}" for n in range(400)]
    books = sandbox.books()
    assert books["billed_calls"] - 400 <= 16
    told, bound = (money(ended.manifest["totals"][name]) for name in ("cost_usd", "unknown_cost_bound_usd"))
    assert told <= money(books["billed_usd"]) <= told + bound
    assert [name for name in names(google) if name.startswith("journal")] == []
    told = bench.run("", "status", OUT, "--json", **environment(bench, google, "c"))
    assert told.code == 0
    assert told.manifest["ledger"]["rows"] == 400


def test_conditions_go_by_generations(google):
    """One of many writes over what all of them saw; a tag from a listing serves; a stale one is a conflict, also where
    the same content stands there again under another generation; what is absent is deleted.
    """
    objects = Objects(OUT)
    assert probe(objects).ignored is None
    first = objects.put("lock", b"first", over=None)
    [listed] = objects.list()
    assert listed.etag == first
    won: list[int] = []

    def write(number: int) -> None:
        try:
            Objects(OUT).put("lock", f"of {number}".encode(), over=first)
            won.append(number)
        except Conflict:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    with pytest.raises(Conflict):
        objects.put("lock", b"late", over=first)
    with pytest.raises(Conflict):
        objects.put("lock", b"new", over=None)
    assert objects.get("lock") == f"of {won[0]}".encode()
    objects.delete(["absent", "lock", "absent too"])
    assert list(objects.list()) == []
    with pytest.raises(Conflict):
        objects.put("lock", b"over nothing", over=first)


def _refusal(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((403, _refusal("AccessDenied")), "the role Storage Object User"),
        ((401, _refusal("AuthenticationRequired")), "set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth"),
        ((404, _refusal("NoSuchBucket")), "there is no such bucket"),
        ((403, _refusal("RetentionPolicyNotMet")), "name a bucket without one"),
    ],
)
def test_what_it_refuses_is_told_with_the_way_out(tmp_path, monkeypatch, answer, said):
    """No right, no credentials, no bucket, a retention policy: one sentence in Google's own words, before a call."""
    with google_storage(answers={"PUT": answer}) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        with pytest.raises(OutputError) as refused:
            Mirror(Objects(OUT), tmp_path).lock()
    assert str(refused.value).startswith(f"{OUT}: ")
    assert said in str(refused.value)
    assert "<" not in str(refused.value)
    assert "AWS" not in str(refused.value)


def test_a_server_that_ignores_generations_is_refused(tmp_path, monkeypatch):
    """A probe finds it before the first call, as at s3://."""
    with google_storage(holds=False) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        with pytest.raises(OutputError, match="so two machines could pay for the same rows"):
            Mirror(Objects(OUT), tmp_path).lock()
        assert server.objects == {}


@pytest.mark.parametrize(
    "content", [None, '{"private_key": "hidden-key"', '{"type": "external_account", "x": "hidden-key"}']
)
def test_credentials_that_cannot_be_read_are_a_sentence(tmp_path, monkeypatch, content):
    """A missing, a cut and an unknown file: the file or its form is named, what it holds is not."""
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    path = tmp_path / "key.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(OutputError) as refused:
        Objects(OUT)
    assert "the client of Google Cloud Storage cannot be made" in str(refused.value)
    assert "hidden-key" not in str(refused.value)
    assert "gcloud auth application-default login" in (refused.value.hint or "")


def test_an_emulator_is_shown_no_credentials(google, tmp_path, monkeypatch):
    """What STORAGE_EMULATOR_HOST names gets a token of no worth, whatever credentials this machine has."""
    path = tmp_path / "key.json"
    path.write_text(
        '{"type": "authorized_user", "client_id": "a", "client_secret": "hidden", "refresh_token": "hidden"}'
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    Objects(OUT).put("one", b"x", over=None)
    assert google.tokens == {"Bearer emulator"}
