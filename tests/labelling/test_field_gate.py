"""The gate of fields: its error rates over simulated runs, and which rows it looks at."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job
from rowmill.tasks.input.reader import job_files
from rowmill.tasks.labelling.field_gate import FieldGate, field_gate, judge_shares
from rowmill.tasks.labelling.gate import MARGIN, Verdict, error_share, look_sizes

RUNS = 250


def shares(kind: str, right: float, rows: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """What of each row is right: five fields that go wrong each by itself, rows of one to eight fields, rows that are
    right or nearly all wrong, or fields that go wrong together.
    """
    if kind == "five":
        return rng.binomial(5, right, rows) / 5
    if kind == "one to eight":
        fields = rng.integers(1, 9, rows)
        return rng.binomial(fields, right) / fields
    if kind == "whole rows":
        return np.where(rng.random(rows) < (1 - right) / 0.9, 0.1, 1.0)
    return rng.binomial(6, rng.beta(8 * right, 8 * (1 - right), rows)) / 6


def ends(told: NDArray[np.float64], wanted: float) -> Verdict:
    sizes = look_sizes(len(told))
    for look, size in enumerate(sizes):
        verdict = judge_shares(told[:size].tolist(), wanted, error_share(look, len(sizes)))
        if verdict is not Verdict.UNDECIDED:
            return verdict
    return Verdict.UNDECIDED


@pytest.mark.parametrize("kind", ["five", "one to eight", "whole rows", "together"])
@pytest.mark.parametrize(("rows", "wanted"), [(60, 0.9), (400, 0.95), (400, 0.8)])
def test_error_rates_hold(kind, rows, wanted):
    """Fields that are right MARGIN below the wanted share pass, and such as hold it are stopped, in few runs."""
    rng = np.random.default_rng(7)
    passes = sum(ends(shares(kind, wanted - MARGIN, rows, rng), wanted) is Verdict.PASS for _ in range(RUNS))
    stops = sum(ends(shares(kind, wanted, rows, rng), wanted) is Verdict.STOP for _ in range(RUNS))
    # At most 5 of 100, but for rows that are wrong as a whole where there are few; and what 250 runs may be off.
    most = 0.075 if kind == "whole rows" and rows < 100 else 0.05
    assert passes / RUNS <= most + 0.03
    assert stops / RUNS <= most + 0.03


def test_what_is_clear_is_decided_early():
    """A wide difference either way is told at the first look."""
    rng = np.random.default_rng(8)
    for right, verdict in ((0.5, Verdict.STOP), (0.995, Verdict.PASS)):
        sizes = look_sizes(1_000)
        told = shares("five", right, sizes[0], rng).tolist()
        assert judge_shares(told, 0.9, error_share(0, len(sizes))) is verdict


def test_nothing_scored_decides_nothing():
    """Without a scored row the gate neither passes nor stops early."""
    assert judge_shares([], 0.5, 1.0) is Verdict.UNDECIDED


def test_looks_are_gold_rows_alone_and_grow(tmp_path):
    """Rows without gold are never looked at; each look holds the one before; a limit leaves later rows out."""
    rows = [{"text": str(n), "truth": {"a": n} if n % 3 else None} for n in range(600)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = Job(
        model="gemini-3-flash", input=str(tmp_path / "rows.jsonl"), prompt="{{ text }}", output=str(tmp_path / "out"),
        schema={"type": "object", "properties": {"a": {"type": "integer"}}},
        gold={"column": "truth", "min_accuracy": 0.9},
    )  # fmt: skip
    gate = field_gate(job, job_files(job), None)
    assert gate is not None
    assert [len(look) for look in gate.looks] == [50, 100, 200, 400]
    assert all(one < more for one, more in zip(gate.looks, gate.looks[1:], strict=False))
    assert all(row % 3 for row in gate.looks[-1])
    limited = field_gate(job, job_files(job), 30)
    assert limited is not None
    assert sorted(limited.sample) == [row for row in range(30) if row % 3]
    with pytest.raises(JobError, match="there is none among the first 1"):
        field_gate(job, job_files(job), 1)
    assert FieldGate(0.9, ()).looks == []
