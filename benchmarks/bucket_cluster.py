"""What workers cost whose output stands in a bucket: the same rows by this process and by one worker, both into it."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import dask_cluster, s3_server
from rowmill.sandbox.process import spawn
from rowmill.sandbox.settings import Settings

ROWS, CONCURRENCY, LATENCY_S, SHARD = 15_000, 64, 0.1, 5_000
KEY = "sk-benchmark-0000000000"
RPM, RATE_ROWS = 24_000, 9_000


def run(folder: Path, environment: dict[str, str], output: str, **keys: object) -> None:
    (folder / "job.json").write_text(json.dumps({
        "model": "gemini-3-pro", "input": "rows.jsonl", "output": output, "prompt": "{{ text }}",
        "limits": {"concurrency": CONCURRENCY}, **keys,
    }))  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "rowmill", "run", "job.json", "--direct", "-q", "--no-report"],
        cwd=folder, env={**os.environ, **environment, "PYTHONPATH": dask_cluster.PYTHONPATH}, check=True,
    )  # fmt: skip


def _seen(folder: Path, runner: str, bucket: str, *, output: str) -> float:
    """From the first call to the last, in seconds."""
    with spawn(Settings(latency_ms=LATENCY_S * 1000)) as sandbox:
        environment = {
            "ROWMILL_API_KEY": KEY, "ROWMILL_BASE_URL": sandbox.base_url, "ROWMILL_WORK_DIR": str(folder / "copies"),
            **s3_server.environment(bucket),
        }  # fmt: skip
        if runner == "local":
            run(folder, environment, output, runner=runner)
        else:
            with dask_cluster.running(1, folder, environment) as cluster:
                run(folder, environment | {"DASK_SCHEDULER_ADDRESS": cluster.address}, output, runner=runner)
        books = sandbox.books()
        return float(books["last_at"] - books["first_at"])


def _rate(folder: Path, bucket: str) -> tuple[float, int]:
    """The share of one rate that two workers use while both have rows, and how many calls were refused."""
    with spawn(Settings(rpm=RPM, limit_window="bucket", latency_ms=50, detail=True)) as sandbox:
        environment = {
            "ROWMILL_API_KEY": KEY, "ROWMILL_BASE_URL": sandbox.base_url, "ROWMILL_WORK_DIR": str(folder / "copies"),
            **s3_server.environment(bucket),
        }  # fmt: skip
        (folder / "rows.jsonl").write_text("".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(RATE_ROWS)))
        with dask_cluster.running(2, folder, environment) as cluster:
            limits = {"concurrency": 160, "rpm": RPM}
            told = environment | {"DASK_SCHEDULER_ADDRESS": cluster.address}
            run(folder, told, f"s3://{s3_server.BUCKET}/rate", runner="dask", limits=limits)
        calls = sorted((one["at"], one["status"]) for one in sandbox.books(detail=True)["detail"])
    # From when both have their share until the smaller shard nears its end.
    middle = [at for at, _ in calls[:7_500] if calls[0][0] + 5 <= at]
    return len(middle) / (middle[-1] - middle[0]) / (RPM / 60), sum(status == 429 for _, status in calls)


def main(times: int = 3) -> None:
    """Pairs of the same rows by this process and by one worker, one after the other, the second first in every other
    pair; of each the time from the first call to the last, and how many processes wanted a core meanwhile.
    """
    pairs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name, s3_server.running() as bucket:
        folder = Path(name)
        (folder / "rows.jsonl").write_text("".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(ROWS)))
        for number in range(times):
            pair = {}
            for runner in ("local", "dask") if number % 2 == 0 else ("dask", "local"):
                pair[runner] = _seen(folder, runner, bucket, output=f"s3://{s3_server.BUCKET}/{runner}-{number}")
                print(f"{runner}: {pair[runner]:.2f} s, load {os.getloadavg()[0]:.1f}", flush=True)
            pairs.append(pair)
        share, refused = _rate(folder, bucket)
    ideal_s, shards = ROWS * LATENCY_S / CONCURRENCY, ROWS // SHARD
    for runner in ("local", "dask"):
        print(f"{runner}: {statistics.median(pair[runner] for pair in pairs) / ideal_s:.3f} of the calls alone")
    # Between the first call and the last there is one change of shards less than there are shards.
    more = [(pair["dask"] - pair["local"]) / (shards - 1) for pair in pairs]
    of_shard = [one / (pair["local"] / shards) for one, pair in zip(more, pairs, strict=True)]
    print(
        f"a shard of {SHARD:,} rows takes {statistics.median(more):.3f} s more by a worker: "
        f"{statistics.median(of_shard):.1%} of its time here ({', '.join(f'{one:.1%}' for one in of_shard)})"
    )
    print(f"two workers use {share:.1%} of one rate; {refused} calls were refused; load {os.getloadavg()[0]:.1f}")
