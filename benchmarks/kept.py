"""Kept columns: what ten of them, of ten types, cost a row of a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import SCHEMA, measured, stub

FEW, MANY = 2_000, 14_000
PAIRS = 7


def table(count: int) -> pa.Table:
    """Rows with ten columns beside their id and text."""
    n = range(count)
    whole = pa.array(n, pa.int64())
    return pa.table(
        {
            "id": [f"r{i}" for i in n],
            "text": [f"person number {i} " + "lorem ipsum " * 8 for i in n],
            "c0": whole,
            "c1": [i / 7 for i in n],
            "c2": [f"customer {i % 100}" for i in n],
            "c3": pa.array([i * 10**9 for i in n], pa.timestamp("ns")),
            "c4": [i % 2 == 0 for i in n],
            "c5": [[i, i + 1] for i in n],
            "c6": [{"a": i, "b": str(i)} for i in n],
            "c7": whole.cast(pa.decimal128(21, 2)),
            "c8": pa.array(n, pa.int32()).cast(pa.date32()),
            "c9": [f"note {i} " + "x" * 40 for i in n],
        }
    )


def kept(folder: Path) -> None:
    """CPU a row at zero latency with ten kept columns over that with none, in pairs."""
    for count in (FEW, MANY):
        pq.write_table(table(count), folder / f"{count}.parquet")
    with stub(0) as port:
        pairs = [(per_row(folder, port, 0), per_row(folder, port, 10)) for _ in range(PAIRS)]
    ratio = median(ten / none for none, ten in pairs)
    print(f"ten kept columns: {ratio - 1:+.1%} of a row's CPU (median of {PAIRS} pairs), "
          f"{median(ten - none for none, ten in pairs) * 1e6:.0f} us")  # fmt: skip


def per_row(folder: Path, port: str, columns: int) -> float:
    told = {
        "model": "gemini-3-pro", "input": "x.parquet", "id": "id", "prompt": "Say {{ text }}", "schema": SCHEMA,
        "output": "out", "keep": [f"c{n}" for n in range(columns)],
    }  # fmt: skip
    job = folder / f"keep-{columns}.json"
    job.write_text(json.dumps(told))
    few, many = (
        measured([
            sys.executable, "-m", "rowmill", "run", str(job), "-i", str(folder / f"{count}.parquet"),
            "-o", str(folder / "out"), "--concurrency", "256", "--fresh", "--no-report", "-q", "--direct",
        ], port).cpu
        for count in (FEW, MANY)
    )  # fmt: skip
    return (many - few) / (MANY - FEW)
