"""Start-up: seconds from a command to its first call, and of the commands that make none."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.measure import ROOT, rowmill, rows
from rowmill.sandbox.process import spawn

RUNS = 3
TRIVIAL_FLOW = (
    "from prefect import flow\n@flow\nasync def f(): print('first', flush=True)\nimport asyncio; asyncio.run(f())"
)


def startup(folder: Path) -> None:
    input_ = rows(folder, 1_000)
    with spawn() as sandbox:
        environment = {**os.environ, "ROWMILL_API_KEY": "sk-bench-000000", "ROWMILL_BASE_URL": sandbox.base_url,
                       "PREFECT_HOME": str(folder / "home"), "PREFECT_LOGGING_LEVEL": "ERROR",
                       "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90"}  # fmt: skip
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        times: dict[str, list[float]] = {"--direct": [], "embedded server": [], "trivial flow": []}
        # The first round warms Prefect's home and the file cache.
        for run in range(RUNS + 1):
            for who, found in times.items():
                began = time.time()
                if who == "trivial flow":
                    first = _trivial(environment)
                else:
                    sandbox.reset()
                    told = ("--direct",) if who == "--direct" else ("--json",)
                    command = rowmill(folder, input_, "started", *told, concurrency=256)
                    subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True)
                    first = float(sandbox.books()["first_at"])
                if run:
                    found.append(first - began)
        print("from the command to the first call: "
              + ", ".join(f"{who} {median(found):.2f} s" for who, found in times.items()))  # fmt: skip
        for words in (
            ["--help"],
            ["status", str(folder / "started")],
            ["check", str(folder / "job.json"), "-i", str(input_)],
        ):
            print(f"rowmill {words[0]}: {median(_run(words, environment) for _ in range(5)):.2f} s")


def _trivial(environment: dict[str, str]) -> float:
    process = subprocess.Popen(
        [sys.executable, "-c", TRIVIAL_FLOW], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    first = time.time()
    process.communicate()
    return first


def _run(words: list[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "rowmill", *words], env=environment, cwd=ROOT, check=True, capture_output=True
    )
    return time.perf_counter() - began
