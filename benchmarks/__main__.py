"""`make bench`: cost per row, memory and start-up, each as a ratio to a baseline in the same run."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.process import spawn

ROOT = Path(__file__).resolve().parent.parent
RUNS = 3
FEW, MANY = 5_000, 50_000
CONCURRENCY = 256
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["name", "n"],
    "additionalProperties": False,
}
TRIVIAL_FLOW = (
    "from prefect import flow\n@flow\nasync def f(): print('first', flush=True)\nimport asyncio; asyncio.run(f())"
)


@contextmanager
def stub(latency_ms: float) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.stub", str(latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def measured(command: list[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MB of a command and what it waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    if status:
        raise SystemExit(f"{command} ended with {status}: {process.stderr.read().decode() if process.stderr else ''}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, used.ru_maxrss / 1024


def write_rows(path: Path, count: int) -> None:
    with open(path, "w") as file:
        for n in range(count):
            file.write(json.dumps({"id": f"r{n}", "text": f"person number {n} " + "lorem ipsum " * 8}) + "\n")


def write_job(folder: Path) -> Path:
    job = {"model": "gemini-3-pro", "input": "few.jsonl", "id": "id", "prompt": "Say {{ text }}", "schema": SCHEMA,
           "limits": {"concurrency": CONCURRENCY}, "output": "out"}  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job))
    return folder / "job.json"


def rowmill(job: Path, rows: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "flows.cli", "run", str(job), "-i", str(rows), "-o", str(out), "--direct", "-q"]


def per_row(folder: Path) -> None:
    """Marginal CPU and wall a row at zero latency, and peak memory: the slope between few and many rows."""
    job = write_job(folder)
    for name, count in (("small", 1_000), ("few", FEW), ("many", MANY)):
        write_rows(folder / f"{name}.jsonl", count)
    ratios, ours_cpu, bare_cpu, growth = [], [], [], []
    with stub(0) as port:
        environment = {
            **os.environ,
            "ROWMILL_API_KEY": "sk-bench-000000",
            "ROWMILL_BASE_URL": f"http://127.0.0.1:{port}",
        }
        for run in range(RUNS):
            out = folder / f"out{run}"
            slopes = {}
            for who in ("bare", "rowmill"):
                told = {}
                for name in ("few", "many"):
                    rows = folder / f"{name}.jsonl"
                    target = out.with_name(f"{who}{run}{name}")
                    bare = [sys.executable, "-m", "benchmarks.bare", port, str(rows), str(CONCURRENCY), str(target)]
                    told[name] = measured(bare if who == "bare" else rowmill(job, rows, target), environment)
                slopes[who] = (told["many"][1] - told["few"][1]) / (MANY - FEW)
                if who == "rowmill":
                    small = measured(rowmill(job, folder / "small.jsonl", out.with_name(f"small{run}")), environment)
                    growth.append(told["many"][2] - small[2])
            bare_cpu.append(slopes["bare"])
            ours_cpu.append(slopes["rowmill"])
            ratios.append(slopes["rowmill"] / slopes["bare"])
    print(f"CPU a row, zero latency, concurrency {CONCURRENCY}: rowmill {statistics.median(ours_cpu) * 1e3:.3f} ms, "
          f"bare loop {statistics.median(bare_cpu) * 1e3:.3f} ms, ratio {statistics.median(ratios):.2f}")  # fmt: skip
    print(f"memory: {MANY:,} rows take {statistics.median(growth):.0f} MB more than 1,000 rows")


def latency_bound(folder: Path) -> None:
    """Wall of 5,000 rows at 100 ms: how much of the bare loop's speed is kept."""
    job = folder / "job.json"
    ratios = []
    with stub(100) as port:
        environment = {
            **os.environ,
            "ROWMILL_API_KEY": "sk-bench-000000",
            "ROWMILL_BASE_URL": f"http://127.0.0.1:{port}",
        }
        for run in range(RUNS):
            rows, target = folder / "few.jsonl", folder / f"latency{run}"
            bare = measured(
                [sys.executable, "-m", "benchmarks.bare", port, str(rows), str(CONCURRENCY), f"{target}b"], environment
            )
            ours = measured(rowmill(job, rows, target), environment)
            ratios.append(bare[0] / ours[0])
    print(
        f"5,000 rows at 100 ms, {CONCURRENCY} in flight, whole process: {statistics.median(ratios):.2f} x the bare loop"
    )


def first_call(folder: Path) -> None:
    """Seconds from the command to its first call: --direct, and on the embedded server beside a trivial flow."""
    job = folder / "job.json"
    with spawn() as sandbox:
        environment = {**os.environ, "ROWMILL_API_KEY": "sk-bench-000000", "ROWMILL_BASE_URL": sandbox.base_url,
                       "PREFECT_HOME": str(folder / "home"), "PREFECT_LOGGING_LEVEL": "ERROR",
                       "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90"}  # fmt: skip
        times: dict[str, list[float]] = {"--direct": [], "embedded server": [], "trivial flow": []}
        for run in range(RUNS + 1):
            for who in times:
                began = time.time()
                if who == "trivial flow":
                    process = subprocess.Popen(
                        [sys.executable, "-c", TRIVIAL_FLOW], env=environment, stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL, cwd=ROOT,
                    )  # fmt: skip
                    assert process.stdout is not None
                    process.stdout.readline()
                    first = time.time()
                    process.communicate()
                else:
                    sandbox.reset()
                    target = folder / f"first{run}{who.replace(' ', '')}"
                    command = rowmill(job, folder / "small.jsonl", target)
                    measured([part for part in command if part != "--direct" or who == "--direct"], environment)
                    first = sandbox.books()["first_at"]
                # The first round warms Prefect's home and the file cache.
                if run:
                    times[who].append(first - began)
    told = ", ".join(f"{who} {statistics.median(found):.2f} s" for who, found in times.items())
    print(f"from the command to the first call: {told}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="rowmill-bench-") as name:
        folder = Path(name)
        per_row(folder)
        latency_bound(folder)
        first_call(folder)


if __name__ == "__main__":
    main()
