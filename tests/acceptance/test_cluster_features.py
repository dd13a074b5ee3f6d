"""Whatever a job asks for, a cluster whose machines share a bucket alone answers as one process does, at the same cost."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest

from benchmarks import dask_cluster
from rowmill.sandbox.process import Running
from tests.buckets import BUCKET, environment_of, s3_bucket
from tests.conftest import KEY, PERSON, Bench, assert_balanced, money

pytestmark = pytest.mark.nightly

# What may differ between two runs that asked the same.
OF_THE_RUN = ["run_id", "started_at", "finished_at", "latency_ms"]
OF_A_PACK = ("input_tokens", "output_tokens", "thought_tokens", "cost_usd", "cost_credits", "response_text", "votes")
PNG = bytes.fromhex("89504e470d0a1a0a") + b"0" * 64
MOODS = ["calm", "angry", "glad"]
TOOL = {
    "name": "get_weather",
    "description": "Weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with s3_bucket() as client:
        yield client


@pytest.fixture(scope="module")
def cluster(bucket: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dask_cluster.Cluster]:
    """Two workers that know the bucket and the key, in a folder of their own."""
    folder = tmp_path_factory.mktemp("cluster")
    told = {
        "ROWMILL_API_KEY": KEY,
        "ROWMILL_WORK_DIR": str(folder / "work"),
        **environment_of(bucket.meta.endpoint_url),
    }
    with dask_cluster.running(2, folder, told) as running:
        yield running


class Twice:
    """One job, run by this process and by the cluster, each against a gateway of its own that answers the same."""

    def __init__(self, bench: Bench, bucket: Any, address: str, gateways: tuple[Running, Running]) -> None:
        self.bench, self.bucket, self.address = bench, bucket, address
        self.here, self.there = gateways
        self.output = f"s3://{BUCKET}/out/{bench.folder.name}"
        self.environment = {
            **environment_of(bucket.meta.endpoint_url), "ROWMILL_WORK_DIR": str(bench.folder / "machine")
        }  # fmt: skip

    def run(
        self, *args: str, expect: int = 0, command: str = "run", stdin: str | None = None, **keys: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The manifests of both; stdin is a file of the bench."""
        self.bench.job("here.yaml", **{"output": "here", **keys})
        self.bench.job("there.yaml", **{"output": self.output, "runner": "dask", "scheduler": self.address, **keys})
        return (
            self._carry_out(self.here, command, "here.yaml", *args, expect=expect, stdin=stdin),
            self._carry_out(self.there, command, "there.yaml", *args, expect=expect, stdin=stdin),
        )

    def _carry_out(self, gateway: Running, command: str, *args: str, expect: int, stdin: str | None) -> dict[str, Any]:
        with open(self.bench.folder / stdin if stdin else os.devnull, "rb") as rows:
            done = subprocess.run(
                self.bench.command(command, *args, "--direct", "--json"), cwd=self.bench.folder, stdin=rows,
                env=self.bench.environment(gateway.base_url, **self.environment), capture_output=True, text=True,
                timeout=300, check=False,
            )  # fmt: skip
        assert done.returncode == expect, done.stderr
        manifest: dict[str, Any] = json.loads(done.stdout)
        return manifest

    def results(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows of both outputs."""
        prefix = self.output.removeprefix(f"s3://{BUCKET}/") + "/results/"
        found = self.bucket.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
        parts = [self.bucket.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in found]
        return self.bench.results("here"), pl.concat([pl.read_parquet(io.BytesIO(part)) for part in parts])

    def assert_same(self, manifests: tuple[dict[str, Any], dict[str, Any]], *, besides: tuple[str, ...] = ()) -> None:
        """Row for row the same, the same was paid, and the books agree."""
        # Not every job has votes.
        here, there = (frame.drop([*OF_THE_RUN, *besides], strict=False) for frame in self.results())
        if "votes" in here.columns:
            here, there = (frame.with_columns(timeless(frame["votes"])) for frame in (here, there))
        assert [name for name in here.columns if not here[name].equals(there[name])] == []
        assert here.columns == there.columns
        for manifest, gateway, frame in zip(manifests, (self.here, self.there), self.results(), strict=True):
            assert_balanced(manifest, frame)
            paid = money(manifest["totals"]["cost_usd"]) + money((manifest.get("beside") or {}).get("cost_usd", 0))
            assert money(gateway.books()["billed_usd"]) == paid
        assert manifests[0]["ledger"] == manifests[1]["ledger"]


def timeless(votes: pl.Series) -> pl.Series:
    """The votes of each row without how long they took."""
    told = votes.to_list()
    return pl.Series(
        "votes", [row and [{k: v for k, v in vote.items() if k != "latency_ms"} for vote in row] for row in told]
    )


@pytest.fixture
def twice(
    bench: Bench, bucket: Any, cluster: dask_cluster.Cluster, sandboxes: Callable[..., Running]
) -> Callable[..., Twice]:
    return lambda **told: Twice(bench, bucket, cluster.address, (sandboxes(**told), sandboxes(**told)))


def people(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"id": f"r{n}", "text": f"person number {n}", **more} for n in range(count)]


EXTRACTED = {"id": "id", "schema": PERSON, "limits": {"concurrency": 16}}


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"votes": 3}, 0),
        ({"votes": {"most": 3, "escalate": {"model": "gemini-3-pro", "below": 0.9}}, "model": "gemini-3-flash"}, 0),
        ({"rows_per_call": 5}, 0),
        ({"evidence": True, "rows_per_call": 3}, 0),
        ({"evidence": True, "require_evidence": True}, 3),
        ({"evidence": ["name"], "evidence_columns": ["text"], "votes": 3}, 0),
        ({"params": {"stream": True, "thinking": "low", "include_thoughts": True}}, 0),
        ({"params": {"stream": True}, "model": "gemini-3-flash", "structured": "prompt"}, 0),
        ({"schema": None, "tools": [TOOL]}, 0),
        ({"schema": None, "params": {"search": True}, "model": "gemini-3-flash"}, 0),
    ],
    ids=lambda keys: "-".join(keys) if isinstance(keys, dict) else None,
)
def test_extraction(bench, twice, keys, code):
    """Votes, escalation, packs, quotes, streams, functions and search."""
    both = twice()
    bench.rows(people(120))
    asked = {name: value for name, value in {**EXTRACTED, **keys}.items() if value is not None}
    # Which rows share a call depends on when others are answered, and so do their shares of its bill.
    besides = OF_A_PACK if "rows_per_call" in keys else ()
    both.assert_same(both.run(expect=code, **asked), besides=besides)


def test_fields_against_gold(bench, twice):
    """Accuracy per field is that of the same rows."""
    both = twice()
    bench.rows([{**row, "truth": {"name": "number", "n": n}} for n, row in enumerate(people(90))])
    here, there = both.run(**EXTRACTED, gold="truth", votes=3)
    both.assert_same((here, there))
    assert here["fields"] == there["fields"]
    assert here["field_quality"] == there["field_quality"]


@pytest.mark.parametrize("more", [{}, {"rows_per_call": 4}, {"votes": 3, "escalate": {"model": "gemini-3-pro"}}])
def test_labels(bench, twice, more):
    """Votes, agreement, escalation and accuracy against gold."""
    rows = [{"id": f"r{n}", "text": f"mail number {n}.", "truth": MOODS[n % 3] if n % 2 else None} for n in range(120)]
    told = {row["text"]: MOODS[n % 3] for n, row in enumerate(rows)}
    both = twice(labels=told, right=0.8)
    bench.rows(rows)
    section = {"labels": MOODS, "gold": "truth", "votes": 3} | {
        key: more[key] for key in more if key != "rows_per_call"
    }
    packs = {key: more[key] for key in more if key == "rows_per_call"}
    manifests = both.run(
        command="label", id="id", model="gemini-3-flash", label=section, limits={"concurrency": 16}, **packs
    )
    both.assert_same(manifests, besides=OF_A_PACK if packs else ())
    if not packs:
        assert manifests[0]["label"] == manifests[1]["label"]


def test_a_canary(bench, twice):
    """Settled rows are asked again before new ones, by the coordinator, and the verdict is the same."""
    both = twice()
    asked = {**EXTRACTED, "canary": {"rows": 20, "drift": 0.05}}
    bench.rows(people(80))
    both.run(**asked)
    bench.rows(people(110))
    here, there = both.run(**asked)
    assert here["canary"]["verdict"] == there["canary"]["verdict"]
    assert there["canary"]["calls"] == here["canary"]["calls"] > 0
    both.assert_same((here, there))


def test_what_failed_is_asked_again(bench, twice):
    """`--retry-failed` asks the same rows, and they end alike."""
    both = twice()
    bench.rows(people(150))
    asked = {**EXTRACTED, "retries": {"transport": 0, "content": 0}}
    for gateway in (both.here, both.there):
        gateway.change(faults={"wrong_schema": 0.3})
    first = both.run(**asked, expect=3)
    assert first[0]["ledger"] == first[1]["ledger"]
    assert first[0]["ledger"]["invalid"] > 10
    for gateway in (both.here, both.there):
        gateway.change(faults={})
    here, there = both.run("--retry-failed", **asked)
    assert there["ledger"]["ok"] == here["ledger"]["ok"] == 150
    both.assert_same((here, there))


def test_a_cap_holds_over_all_workers(bench, twice):
    """Neither more than the cap is spent nor a row paid for twice, and the next run without one ends as a local run."""
    both = twice(latency_ms=20)
    bench.rows(people(200))
    asked = {**EXTRACTED, "params": {"max_output_tokens": 400}}
    for manifest in both.run(**asked, max_cost_usd=0.1, expect=4):
        assert manifest["termination"]["kind"] == "budget"
        assert 0 < manifest["ledger"]["ok"] < 200
    assert money(both.there.books()["billed_usd"]) <= Decimal("0.1")
    both.assert_same(both.run(**asked))
    assert both.there.books()["prompts_billed_twice"] == 0


def test_a_spend_limit_stops_all_workers(bench, twice):
    """Within their calls in flight; what was settled stands, and the next run goes on."""
    both = twice(spend_limit_usd="0.1", latency_ms=20)
    bench.rows(people(200))
    for manifest in both.run(**EXTRACTED, expect=4):
        assert manifest["termination"]["kind"] == "spend_limit"
    refused = both.there.books()["calls_by_status"]
    assert refused.get("429", 0) <= 16, refused
    for gateway in (both.here, both.there):
        gateway.change(spend_limit_usd=None)
    # Which rows had met the limit depends on when.
    both.assert_same(both.run(**EXTRACTED), besides=("attempts",))


def test_rows_with_media_and_requests_of_their_own(bench, twice, bucket):
    """Media come from a folder here and from the bucket there; a row may carry its own messages."""
    both = twice()
    (bench.folder / "media").mkdir()
    (bench.folder / "media" / "one.png").write_bytes(PNG)
    bucket.put_object(Bucket=BUCKET, Key="media/one.png", Body=PNG)
    bench.rows([{"id": f"r{n}", "text": f"row {n}", "photo": "one.png" if n % 3 else "none.png"} for n in range(40)])
    asked = {"id": "id", "model": "gemini-3-flash", "attachments": ["photo"]}
    bench.job("here.yaml", output="here", media_root="media", **asked)
    here = both._carry_out(both.here, "run", "here.yaml", expect=3, stdin=None)
    bench.job(
        "there.yaml",
        output=both.output,
        media_root=f"s3://{BUCKET}/media",
        runner="dask",
        scheduler=both.address,
        **asked,
    )
    there = both._carry_out(both.there, "run", "there.yaml", expect=3, stdin=None)
    # A file that is not there is told by its place.
    both.assert_same((here, there), besides=("error_message",))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "xlsx", "xlsx by standard input"])
def test_rows_that_only_the_coordinator_can_read(bench, twice, kind, tmp_path):
    """Standard input and workbooks are read once, by the coordinator; each worker has a copy from the bucket."""
    both = twice()
    frame = pl.DataFrame({"id": [f"r{n:04}" for n in range(150)], "text": [f"row {n}" for n in range(150)]})
    asked = {**EXTRACTED, "keep": ["text"]}
    if kind.startswith("xlsx"):
        book = openpyxl.Workbook()
        for row in (frame.columns, *frame.iter_rows()):
            book.active.append(row)
        book.save(bench.folder / "rows.xlsx")
        piped = "rows.xlsx" if kind != "xlsx" else None
        manifests = both.run(**asked, input="-" if piped else "rows.xlsx", stdin=piped)
    else:
        path = bench.folder / f"rows.{kind}"
        frame.write_ndjson(path) if kind == "jsonl" else frame.write_csv(path)
        manifests = both.run(**asked, input="-", stdin=path.name)
    both.assert_same(manifests)


FRAME = """
import sys, json, polars as pl, rowmill
kind, output, scheduler = sys.argv[1:]
frame = pl.DataFrame({"id": [f"r{n}" for n in range(150)], "text": [f"row {n}" for n in range(150)], "n": range(150)})
rows = {"polars": frame, "pandas": frame.to_pandas() if kind == "pandas" else None, "dicts": frame.to_dicts()}[kind]
keys = {"runner": "dask", "scheduler": scheduler} if scheduler else {}
schema = json.loads(sys.stdin.read())
told = rowmill.extract(rows, output, model="gemini-3-pro", prompt="Say {{ text }}", id="id", keep=["n"], schema=schema,
                       progress=False, report=False, **keys)
told = told if isinstance(told, pl.DataFrame) else pl.from_pandas(told[["row_id", "status", "n"]])
print(json.dumps(told.select("row_id", "status", "n").rows()))
"""


@pytest.mark.parametrize("kind", ["polars", "pandas", "dicts"])
def test_a_frame(bench, twice, kind):
    """Its results come back from the bucket, row for row; a second call pays for nothing."""
    both = twice()
    told = []
    for gateway, output, scheduler in (
        (both.here, "here", ""), (both.there, both.output, both.address), (both.there, both.output, both.address)
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", FRAME, kind, output, scheduler], cwd=bench.folder, input=json.dumps(PERSON),
            env=bench.environment(gateway.base_url, **both.environment), capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told.append(json.loads(done.stdout))
    assert told[0] == told[1] == told[2]
    here, there = both.results()
    assert here.drop(OF_THE_RUN).equals(there.drop(OF_THE_RUN))
    assert both.there.books()["billed_calls"] == both.here.books()["billed_calls"] == 150
    assert not Path(bench.folder / "out").exists()
