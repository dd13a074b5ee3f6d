"""What workers elsewhere cost: the same rows by one process and by one worker of a cluster, answers of 100 ms."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import dask_cluster
from rowmill.sandbox.process import spawn
from rowmill.sandbox.settings import Settings

ROWS, CONCURRENCY, LATENCY_S, SHARD = 20_000, 64, 0.1, 5_000
KEY = "sk-benchmark-0000000000"


def run(folder: Path, base_url: str, runner: str, *, address: str) -> None:
    (folder / "job.json").write_text(json.dumps({
        "model": "gemini-3-pro", "input": "rows.jsonl", "output": f"out-{runner}", "prompt": "{{ text }}",
        "limits": {"concurrency": CONCURRENCY}, "runner": runner,
    }))  # fmt: skip
    environment = {
        **os.environ,
        "ROWMILL_API_KEY": KEY,
        "ROWMILL_BASE_URL": base_url,
        "PYTHONPATH": dask_cluster.PYTHONPATH,
    }
    subprocess.run(
        [sys.executable, "-m", "rowmill", "run", "job.json", "--direct", "-q", "--no-report", "--fresh"],
        cwd=folder, env={**environment, "DASK_SCHEDULER_ADDRESS": address}, check=True,
    )  # fmt: skip


def main(times: int = 3) -> None:
    """Per run: from the first call to the last, over what the calls alone take."""
    ideal = ROWS * LATENCY_S / CONCURRENCY
    told: dict[str, list[float]] = {"local": [], "dask": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rows.jsonl").write_text("".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(ROWS)))
        for _ in range(times):
            for runner, seen in told.items():
                with spawn(Settings(latency_ms=LATENCY_S * 1000)) as sandbox:
                    environment = {"ROWMILL_API_KEY": KEY, "ROWMILL_BASE_URL": sandbox.base_url}
                    with dask_cluster.running(1, folder, environment) as cluster:
                        run(folder, sandbox.base_url, runner, address=cluster.address)
                    books = sandbox.books()
                    seen.append((books["last_at"] - books["first_at"]) / ideal)
    for runner, seen in told.items():
        print(f"{runner}: {statistics.median(seen):.3f} of the calls alone ({', '.join(f'{one:.3f}' for one in seen)})")
    extra = (statistics.median(told["dask"]) - statistics.median(told["local"])) * ideal / (ROWS / SHARD)
    share = extra / (ideal * SHARD / ROWS)
    print(f"a shard of {SHARD:,} rows takes {extra:.3f} s more by a worker: {share:.1%} of its time")
