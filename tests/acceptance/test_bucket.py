"""An input in an S3 bucket, on a real server that speaks S3, gives the same rows as the same files on disk."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import S3FileSystem

from tests.buckets import SECRET, environment_of, s3_server
from tests.conftest import Bench, assert_balanced


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The environment of a bucket's user."""
    with s3_server() as url:
        yield environment_of(url)


@pytest.fixture
def bucket(s3: dict[str, str], request: pytest.FixtureRequest) -> tuple[Any, str]:
    """A file system and the name of a bucket of the test's own."""
    files = S3FileSystem(
        access_key="tests", secret_key=SECRET, endpoint_override=s3["AWS_ENDPOINT_URL"].removeprefix("http://"),
        scheme="http", region="us-east-1", allow_bucket_creation=True,
    )  # fmt: skip
    name = f"b{abs(hash(request.node.name)) % 10**9}"
    files.create_dir(name)
    return files, name


def put(files: Any, path: str, content: bytes) -> None:
    with files.open_output_stream(path, compression=None) as stream:
        stream.write(content)


def rows(first: int, count: int) -> list[dict[str, Any]]:
    return [{"id": f"r{n}", "text": f"text number {n}"} for n in range(first, first + count)]


def jsonl(told: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in told).encode()


def parquet(told: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(told), sink)
    return sink.getvalue().to_pybytes()


def run(bench: Bench, base_url: str, s3: dict[str, str], *args: str, expect: int = 0) -> dict[str, Any]:
    ended = bench.run(base_url, "run", "job.yaml", "--direct", "--json", *args, **s3)
    assert ended.code == expect, ended.err
    return ended.manifest


def test_a_bucket_gives_the_rows_of_the_same_files_on_disk(bench, sandboxes, s3, bucket):
    """JSONL, gzip, zst and Parquet below a prefix, shards that begin in the middle of a file: the same results."""
    files, name = bucket
    sandbox = sandboxes()
    zst = pa.compress(jsonl(rows(12_000, 50)), codec="zstd", asbytes=True)
    contents = {
        "in/a.jsonl": jsonl(rows(0, 7_000)), "in/b.jsonl.gz": gzip.compress(jsonl(rows(7_000, 3_000))),
        "in/c/d.parquet": parquet(rows(10_000, 2_000)), "in/e.jsonl.zst": zst, "in/readme.txt": b"no rows",
    }  # fmt: skip
    for path, content in contents.items():
        put(files, f"{name}/{path}", content)
        (bench.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (bench.folder / path).write_bytes(content)
    bench.job(id="id", input=f"s3://{name}/in/", limits={"concurrency": 256})
    manifest = run(bench, sandbox.base_url, s3)
    assert_balanced(manifest, bench.results())
    assert manifest["ledger"]["ok"] == 12_050
    assert SECRET not in (bench.folder / "out" / "run.json").read_text()
    bench.job(id="id", input="in", limits={"concurrency": 256})
    run(bench, sandbox.base_url, s3, "-o", "disk")
    columns = ["row_id", "row_index", "status", "output", "request_key", "cost_usd"]
    assert bench.results().select(columns).equals(bench.results("disk").select(columns))


def test_a_grown_bucket_costs_its_new_rows_only(bench, sandboxes, s3, bucket):
    """Another object below the prefix: only its rows are paid for; unchanged, nothing is done at all."""
    files, name = bucket
    sandbox = sandboxes()
    put(files, f"{name}/day/1.jsonl", jsonl(rows(0, 40)))
    bench.job(id="id", input=f"s3://{name}/day/*.jsonl")
    run(bench, sandbox.base_url, s3)
    put(files, f"{name}/day/2.jsonl", jsonl(rows(40, 10)))
    run(bench, sandbox.base_url, s3)
    assert sandbox.books()["billed_calls"] == 50
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", **s3)
    assert "nothing to do" in ended.err
    assert bench.results()["row_id"].to_list() == [f"r{n}" for n in range(50)]
    assert bench.run("", "check", "job.yaml", **s3).code == 0
    forecast = bench.run("", "estimate", "job.yaml", "--json", "-o", "e", **s3).manifest
    assert forecast["rows"]["total"] == 50


@pytest.mark.parametrize(
    ("path", "more", "said"),
    [
        (
            "s3://{bucket}/nothing/",
            {},
            "no .jsonl, .json, .csv, .tsv (each also .gz or .zst), .parquet or .arrow object is there",
        ),
        ("s3://no-such-bucket-here/a.jsonl", {}, "s3://no-such-bucket-here/a.jsonl"),
        ("s3://{bucket}", {}, "no object is named"),
        ("s3://{bucket}/a.jsonl", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "http://127.0.0.1:9 does not give it"),
    ],
)
def test_a_bucket_that_cannot_be_read_is_told_by_its_address(bench, sandboxes, s3, bucket, path, more, said):
    """Exit 2 before any call, with the address and without what is secret."""
    _, name = bucket
    sandbox = sandboxes()
    bench.job(input=path.format(bucket=name))
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", timeout=180, **(s3 | more))
    assert ended.code == 2, ended.err
    assert said in ended.err
    assert SECRET not in ended.err
    assert "Traceback" not in ended.err
    assert sandbox.books()["calls"] == 0
