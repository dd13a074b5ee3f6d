"""Moved rows: what it costs to run again over an input that was appended to, edited, or put into another order.

Each change starts from the same settled output; its CPU is told over that of the first run, and the stub's count of
calls shows what was asked again.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.measure import Cost, measured, rowmill, rows, stub

ROWS = 300_000
Lines = list[str]


def _row(n: int) -> str:
    return json.dumps({"id": f"n{n}", "text": f"somebody new, number {n} " + "lorem ipsum " * 8}) + "\n"


def _appended(lines: Lines) -> Lines:
    return lines + [_row(n) for n in range(len(lines) // 100)]


def _edited(lines: Lines) -> Lines:
    middle = len(lines) // 2
    return [*lines[:middle], lines[middle].replace("person", "people"), *lines[middle + 1 :]]


def _deleted(lines: Lines) -> Lines:
    middle = len(lines) // 2
    return lines[:middle] + lines[middle + 1 :]


# What is done to the lines, and how many rows have to be asked for it (a share of all, or a number).
CHANGES: dict[str, tuple[Callable[[Lines], Lines], Callable[[int], int]]] = {
    "nothing": (lambda lines: lines, lambda _: 0),
    "1 % appended": (_appended, lambda count: count // 100),
    "one row edited": (_edited, lambda _: 1),
    "one row deleted": (_deleted, lambda _: 0),
    "one row put at the top": (lambda lines: [_row(0), *lines], lambda _: 1),
    "sorted the other way": (lambda lines: lines[::-1], lambda _: 0),
}


def moved(folder: Path, count: int = ROWS, times: int = 3) -> dict[str, float]:
    """CPU of each change over that of the first run; medians."""
    told: dict[str, list[float]] = {name: [] for name in CHANGES}
    settled, out = folder / "settled", folder / "out"
    source = rows(folder, count)
    lines = source.read_text().splitlines(keepends=True)
    input_ = folder / "moved.jsonl"
    with stub(0) as port:
        for _ in range(times):
            shutil.copy(source, input_)
            first = measured(rowmill(folder, input_, "out", concurrency=256), port)
            shutil.rmtree(settled, ignore_errors=True)
            out.rename(settled)
            print(f"first run: {first.cpu:.1f} s of CPU, {first.peak_mb:.0f} MB", flush=True)
            for name, (change, asked) in CHANGES.items():
                input_.write_text("".join(change(lines)))
                shutil.copytree(settled, out)
                before = _calls(out)
                cost = _again(folder, input_, port)
                calls = _calls(out) - before
                assert calls == asked(count), f"{name}: {calls:,} calls, {asked(count):,} rows to ask"
                told[name].append(cost.cpu / first.cpu)
                print(f"{name}: {cost.cpu:.2f} s, {cost.cpu / first.cpu:.1%}, {cost.peak_mb:.0f} MB", flush=True)
                shutil.rmtree(out)
    for name, ratios in told.items():
        print(f"{count:,} settled rows, {name}: {median(ratios):.1%} of the first run's CPU")
    return {name: median(ratios) for name, ratios in told.items()}


def _calls(out: Path) -> int:
    manifest = json.loads((out / "run.json").read_text())
    return int(manifest["totals"]["calls"]) + int((manifest.get("beside") or {}).get("calls", 0))


def _again(folder: Path, input_: Path, port: str) -> Cost:
    return measured([word for word in rowmill(folder, input_, "out", concurrency=256) if word != "--fresh"], port)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory(prefix="rowmill-bench-") as name:
        moved(Path(name), int(sys.argv[1]), int(sys.argv[2]))
