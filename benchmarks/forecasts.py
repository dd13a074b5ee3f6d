"""Forecasts: how often their intervals hold, how wide they are, and how long runs take beside what was told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import media
from rowmill.sandbox.process import spawn
from rowmill.sandbox.settings import Settings
from rowmill.tasks.forecast.regression import Numbers, Rest, project
from rowmill.tasks.gateway.credentials import SANDBOX_KEY

Rng = np.random.Generator
Population = Callable[[Rng, int], tuple[Numbers, Numbers]]
# USD of a token, and the guess of an answer's tokens by which rows are drawn.
IN, OUT, GUESS = 2e-6, 12e-6, 300.0
BATCHES, ROWS = 200, 3_000


def lognormal(spread: float, correlation: float) -> Population:
    """Input and output tokens of rows; the outputs' logarithms have this spread."""

    def draw(rng: Rng, count: int) -> tuple[Numbers, Numbers]:
        shared, own = rng.standard_normal(count), rng.standard_normal(count)
        mixed = correlation * shared + np.sqrt(1 - correlation**2) * own
        return np.exp(6 + 0.6 * shared), np.exp(5 + spread * mixed)

    return draw


def bimodal(rng: Rng, count: int) -> tuple[Numbers, Numbers]:
    long = rng.random(count) < 0.1
    inputs = np.where(long, rng.lognormal(9, 0.3, count), rng.lognormal(5, 0.3, count))
    return inputs, np.where(long, rng.lognormal(7.5, 0.5, count), rng.lognormal(4, 0.5, count))


def heavy_tailed(rng: Rng, count: int) -> tuple[Numbers, Numbers]:
    return rng.lognormal(6, 0.5, count), (rng.pareto(2.2, count) + 1) * 100


def few_long_inputs(rng: Rng, count: int) -> tuple[Numbers, Numbers]:
    inputs, outputs = lognormal(0.5, 0.3)(rng, count)
    long = rng.random(count) < 0.03
    return np.where(long, 40 * inputs, inputs), np.where(long, 20 * outputs, outputs)


def rare_giants(rng: Rng, count: int) -> tuple[Numbers, Numbers]:
    inputs, outputs = lognormal(0.5, 0.3)(rng, count)
    return inputs, np.where(rng.random(count) < 0.01, 50 * outputs, outputs)


def translation(rng: Rng, count: int) -> tuple[Numbers, Numbers]:
    inputs = rng.lognormal(6, 1.2, count)
    return inputs, inputs * rng.lognormal(0, 0.2, count)


POPULATIONS: dict[str, Population] = {
    "outputs σ 0.8, r 0.5": lognormal(0.8, 0.5),
    "outputs σ 1.2": lognormal(1.2, 0.0),
    "bimodal, 10 % long": bimodal,
    "Pareto 2.2": heavy_tailed,
    "3 % of inputs ×40, output ×20": few_long_inputs,
    "output follows input, σ 1.2": translation,
    "1 % of answers ×50, whatever the input": rare_giants,
}
JOBS: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "cap $3, no max_output_tokens": (
        600, {"latency_ms": 100}, {"max_cost_usd": 3, "limits": {"concurrency": 32}},
    ),
    "cap $1, max_output_tokens 500": (
        600, {"latency_ms": 100},
        {"max_cost_usd": 1, "limits": {"concurrency": 32}, "params": {"max_output_tokens": 500}},
    ),
    "3 % of calls 503": (
        2_000, {"latency_ms": 40, "faults": {"upstream_error": 0.03}}, {"limits": {"concurrency": 16}},
    ),
    "sliding window, 3,000 a minute": (
        1_000, {"latency_ms": 40}, {"limits": {"concurrency": 32, "rpm": 3_000, "window": "sliding"}},
    ),
    "3,000 a minute, evenly": (1_000, {"latency_ms": 40}, {"limits": {"concurrency": 32, "rpm": 3_000}}),
}  # fmt: skip


def main(folder: Path, batches: int = BATCHES) -> None:
    """The tables of docs/forecast.md; the seeds are 0, 1, 2... by batch."""
    media.main()
    for count in (60, 200):
        for name, population in POPULATIONS.items():
            shown = []
            for by_size in (True, False):
                held, bound, width = _coverage(population, count, batches, by_size=by_size)
                shown.append(f"{'by size' if by_size else 'plain'} {held:.0%}, {bound:.0%}, ±{width:.0%}")
            print(f"{name}, {count} rows: {'; '.join(shown)}")
    for name, (rows, settings, job) in JOBS.items():
        told, taken = _duration(folder / name.replace(" ", "_"), rows, settings, job=job)
        print(f"{name}: told {told['seconds']:.1f} s ({told['binds']}), took {taken:.1f} s with start-up")


def _coverage(population: Population, count: int, batches: int, *, by_size: bool) -> tuple[float, float, float]:
    """(share of intervals that held, of bounds that held, median half-width)."""
    held, bound, widths = 0, 0, []
    for seed in range(batches):
        rng = np.random.default_rng(seed)
        inputs, outputs = population(rng, ROWS)
        costs = inputs * IN + outputs * OUT
        sizes = inputs * IN + GUESS * OUT if by_size else np.ones(ROWS)
        order = np.argsort(rng.random(ROWS) / sizes)
        sample, rest = order[:count], order[count:]
        chosen = sample[sizes[sample] * count < sizes.sum()] if by_size else sample
        covariate = 1 / sizes if by_size else inputs
        units = float(sizes[rest].sum())
        at = len(rest) / units if by_size else float(inputs[rest].mean())
        told = project(covariate[chosen], costs[chosen] / sizes[chosen], Rest(len(rest), units, at), seed=seed).interval
        total = float(costs[rest].sum())
        held += told.low <= total <= told.high
        bound += total <= told.bound_99
        widths.append((told.high - told.low) / 2 / total)
    return held / batches, bound / batches, float(np.median(widths))


def _duration(
    folder: Path, rows: int, settings: Mapping[str, Any], *, job: Mapping[str, Any]
) -> tuple[dict[str, Any], float]:
    """(what an estimate after a pilot of 40 rows tells, the seconds that the run's process took)."""
    folder.mkdir()
    lines = (
        json.dumps({"id": f"r{n}", "text": f"person {n} of the village {'word ' * (n % 40)}"}) for n in range(rows)
    )
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    keys = {"model": "gemini-3-pro", "input": "rows.jsonl", "id": "id", "output": "out", "prompt": "{{ text }}"}
    (folder / "job.json").write_text(json.dumps({**keys, "schema": schema, **job}))
    with spawn(Settings(**settings)) as sandbox:
        environment = {**os.environ, "ROWMILL_API_KEY": SANDBOX_KEY, "ROWMILL_BASE_URL": sandbox.base_url}

        def rowmill(*args: str) -> str:
            command = [sys.executable, "-m", "rowmill", *args]
            ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
            return ended.stdout

        told = json.loads(rowmill("estimate", "job.json", "--pilot", "40", "--json"))["pace"]
        began = time.perf_counter()
        rowmill("run", "job.json", "--direct", "-q")
        return told, time.perf_counter() - began
