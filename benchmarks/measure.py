"""Measure: a command's wall, CPU and memory; the stub it talks to; the rows it is given."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["name", "n"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of wall and CPU, peak MB."""

    wall: float
    cpu: float
    peak_mb: float


@contextmanager
def stub(latency_ms: float) -> Iterator[str]:
    """The port of a stub gateway in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.stub", str(latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def environment_of(port: str) -> dict[str, str]:
    """The environment of a command that calls the stub at this port."""
    return {
        **os.environ, "ROWMILL_API_KEY": "sk-bench-000000", "ROWMILL_BASE_URL": f"http://127.0.0.1:{port}",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }  # fmt: skip


def measured(command: list[str], port: str) -> Cost:
    """What a command and what it waits for cost. Ends the benchmark where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment_of(port), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    if status:
        raise SystemExit(f"{command} ended with {status}: {process.stderr.read().decode() if process.stderr else ''}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, used.ru_maxrss / 1024)


def rows(folder: Path, count: int) -> Path:
    """A JSONL file of so many rows, made once."""
    path = folder / f"{count}.jsonl"
    if not path.exists():
        with open(path, "w") as file:
            for n in range(count):
                file.write(json.dumps({"id": f"r{n}", "text": f"person number {n} " + "lorem ipsum " * 8}) + "\n")
    return path


def job(folder: Path) -> Path:
    path = folder / "job.json"
    told = {"model": "gemini-3-pro", "input": "x.jsonl", "id": "id", "prompt": "Say {{ text }}", "schema": SCHEMA,
            "output": "out"}  # fmt: skip
    path.write_text(json.dumps(told))
    return path


def rowmill(folder: Path, input_: Path, out: str, *more: str, concurrency: int) -> list[str]:
    """The command that runs these rows into a fresh output."""
    return [sys.executable, "-m", "rowmill", "run", str(job(folder)), "-i", str(input_), "-o", str(folder / out),
            "--concurrency", str(concurrency), "--fresh", "--no-report", "-q", *(more or ("--direct",))]  # fmt: skip


def bare(port: str, input_: Path, folder: Path, *, concurrency: int) -> list[str]:
    """The command of the baseline over the same rows."""
    return [sys.executable, "-m", "benchmarks.bare", port, str(input_), str(concurrency), str(folder / "bare.parquet")]
