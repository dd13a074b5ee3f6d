"""Inputs at gs:// and az:// are the rows of the same files on disk, seen on servers that speak these stores' protocols."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowmill.schemas.errors import InputError
from rowmill.schemas.row import Cursor
from rowmill.tasks.input.reader import input_files, lines
from rowmill.tasks.system import buckets

Put = Callable[[str, bytes], None]
# The key of everybody's emulator, as its documentation has it.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@pytest.fixture
def forgotten() -> Iterator[None]:
    """No client is kept from one test to the next."""
    buckets._file_system.cache_clear()
    yield
    buckets._file_system.cache_clear()


def writer(scheme: str) -> Put:
    def put(path: str, content: bytes) -> None:
        with buckets._file_system(scheme).open_output_stream(path) as stream:
            stream.write(content)

    return put


@pytest.fixture
def gs(forgotten: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Put]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # In a process of its own: pyarrow's client waits for the server while it holds this one's interpreter.
    run = f"from gcp_storage_emulator.server import create_server as c; c('127.0.0.1', {port}, in_memory=True).run()"
    server = subprocess.Popen([sys.executable, "-c", run], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(port)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    made = urllib.request.Request(
        f"http://127.0.0.1:{port}/storage/v1/b?project=tests",
        json.dumps({"name": "box"}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(made).close()
    yield writer("gs://")
    server.terminate()
    server.wait()


@pytest.fixture
def az(forgotten: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Put]:
    azurite = shutil.which("azurite-blob", path=os.environ.get("AZURITE_BIN", os.environ["PATH"]))
    if azurite is None:
        pytest.skip("azurite-blob is not installed (npm install -g azurite)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    asked = [
        azurite,
        "--blobPort",
        str(port),
        "--inMemoryPersistence",
        "--skipApiVersionCheck",
        "--silent",
        "--disableTelemetry",
    ]
    server = subprocess.Popen(asked, cwd=tmp_path, stdout=subprocess.DEVNULL)
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;",
    )
    wait_for(port)
    buckets._file_system("az://").create_dir("box")
    yield writer("az://")
    server.terminate()
    server.wait()


def wait_for(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError


def rows(address: str) -> list[Any]:
    return [line.columns for file in input_files(address) for line in lines(file, Cursor("", 0, 0), 1 << 20)]


@pytest.mark.parametrize("store", ["gs", "az"])
def test_objects_are_read_as_files_are(store, request):
    """A prefix, a pattern, one object, a row in the middle of a Parquet file; what is not there is named."""
    put = request.getfixturevalue(store)
    put("box/d/year=2026/a.csv", b"id,a\n007,x\n008,y\n")
    put("box/d/year=2026/b.csv", b"id;a\n009;z\n")
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"n": list(range(3_000))}), sink, row_group_size=1_000)
    put("box/p.parquet", sink.getvalue().to_pybytes())
    found = rows(f"{store}://box/d/")
    assert [(row["year"], row["id"]) for row in found] == [("2026", "007"), ("2026", "008"), ("2026", "009")]
    assert len(rows(f"{store}://box/d/*/a.csv")) == 2
    [file] = input_files(f"{store}://box/p.parquet")
    assert file.place.mtime_ns  # type: ignore[union-attr]
    first, *_ = lines(file, Cursor("", 2_500, 2_500), 1 << 20)
    assert first.columns == {"n": 2_500}
    with pytest.raises(InputError, match=r"none/: no \.jsonl"):
        input_files(f"{store}://box/none/")


def test_a_store_that_does_not_answer_says_what_is_looked_for(forgotten, monkeypatch):
    """The server, and the names of the credentials, never their values."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "tests")
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    monkeypatch.setattr(buckets, "_file_system", lambda scheme: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(InputError, match=r"Azure \(tests\) does not give it: no route.*AZURE_STORAGE_KEY") as refused:
        input_files("az://box/r.csv")
    assert KEY not in str(refused.value)
    with pytest.raises(InputError, match="Google Cloud Storage.*GOOGLE_APPLICATION_CREDENTIALS"):
        input_files("gs://box/r.csv")


def test_azure_without_an_account_says_so(forgotten, monkeypatch):
    """Before anything is asked."""
    for name in list(os.environ):
        if name.startswith("AZURE_STORAGE"):
            monkeypatch.delenv(name)
    with pytest.raises(InputError, match="no storage account is named.*AZURE_STORAGE_ACCOUNT"):
        input_files("az://box/r.csv")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("https://host/a/rows.csv?x=1", r"not read from the web.*curl -fLo rows\.csv 'https://host/a/rows\.csv\?x=1'"),
        ("abfss://box@account/r.csv", "Write it as az://"),
        ("file:///tmp/r.csv", "without file://"),
        ("postgresql://me:secret@host/db", "a database gives rows by a query"),
        ("ftp://host/r.csv", "Inputs are at s3://, gs://, az:// or on disk"),
    ],
)
def test_another_address_has_its_way_out(address, told):
    """One sentence each, in which no password stands."""
    with pytest.raises(InputError, match=told) as refused:
        input_files(address)
    assert "secret" not in str(refused.value)
