"""The gate's error rates, its looks, and the order in which gold rows come."""

from __future__ import annotations

import random

import numpy as np
import pytest

from rowmill.schemas.label import Label
from rowmill.tasks.labelling.gate import (
    FALSE_PASS,
    FALSE_STOP,
    MARGIN,
    Verdict,
    error_share,
    judge,
    judge_share,
    least_rows,
    look_sizes,
    tail,
)
from rowmill.tasks.labelling.gold import Draw
from rowmill.tasks.labelling.scores import cohen_kappa, kappa_error


def exact_rates(rows: int, true: float, wanted: float) -> tuple[float, float, float]:
    """Probability to pass, to be stopped early, and the mean number of rows asked: by all paths, not by chance."""
    looks = look_sizes(rows)
    alive = np.array([1.0])
    passed = stopped = asked = 0.0
    for number, size in enumerate(looks):
        step = size - (looks[number - 1] if number else 0)
        chances = np.array([tail(k, step, true) - tail(k + 1, step, true) for k in range(step + 1)])
        alive = np.convolve(alive, chances)
        verdicts = [
            judge_share(right, size, wanted, share=error_share(number, len(looks))) for right in range(size + 1)
        ]
        ends = np.array([verdict is not Verdict.UNDECIDED for verdict in verdicts])
        passed += float(alive[[verdict is Verdict.PASS for verdict in verdicts]].sum())
        stopped += float(alive[[verdict is Verdict.STOP for verdict in verdicts]].sum())
        last = number == len(looks) - 1
        asked += size * float(alive.sum() if last else alive[ends].sum())
        alive = np.where(ends, 0.0, alive)
    return passed, stopped, asked


@pytest.mark.parametrize("rows", [40, 60, 150, 400, 800])
@pytest.mark.parametrize("wanted", [0.6, 0.9, 0.97])
def test_the_error_rates_hold(rows, wanted):
    """Two points below the gate passes in at most 5 of 100 runs; what is as good as asked is stopped early as seldom."""
    if rows < least_rows(wanted, len(look_sizes(rows))):
        pytest.skip("refused before a call")
    assert exact_rates(rows, wanted - MARGIN, wanted)[0] <= FALSE_PASS
    assert exact_rates(rows, wanted - 0.03, wanted)[0] <= FALSE_PASS
    assert exact_rates(rows, wanted, wanted)[1] <= FALSE_STOP


def test_simulated_runs_agree():
    """At .90 with 150 gold rows a true .88 passes in no more of 400 simulated runs than the rate allows."""
    label = Label.model_validate({"labels": ["a", "b"], "min_accuracy": 0.9})
    passed, rng = 0, random.Random(3)
    for _ in range(400):
        rows = [(("a",), ("a",) if rng.random() < 0.88 else ("b",)) for _ in range(150)]
        looks = look_sizes(150)
        for number, size in enumerate(looks):
            verdict = judge(label, rows[:size], {}, look=number, looks=len(looks)).verdict
            if verdict is not Verdict.UNDECIDED:
                break
        passed += verdict is Verdict.PASS
    assert passed <= 0.05 * 400 + 2 * (400 * 0.05 * 0.95) ** 0.5


def test_it_stops_and_passes_early():
    """At a true .5 few of 800 gold rows are paid for, and at a true .99 few before the rest goes on."""
    passed, stopped, asked = exact_rates(800, 0.5, 0.9)
    assert (passed < 1e-9, stopped > 0.999, asked < 60) == (True, True, True)
    passed, _, asked = exact_rates(800, 0.99, 0.9)
    assert passed > 0.999
    assert asked < 300


def test_a_label_that_is_never_found_does_not_pass():
    """min_recall looks at one label alone: an accuracy of .97 does not hide that no fraud is found."""
    label = Label.model_validate({"labels": ["fraud", "fine"], "min_accuracy": 0.9, "min_recall": {"fraud": 0.8}})
    sample = [(("fine",), ("fine",))] * 290 + [(("fraud",), ("fine",))] * 10
    judged = judge(label, sample, {"fraud": [(("fraud",), ("fine",))] * 40}, look=0, looks=1)
    assert judged.verdict is Verdict.STOP
    assert "0 of 40 gold rows of 'fraud' were found" in judged.words
    found = [(("fraud",), ("fraud",))] * 39 + [(("fraud",), None)]
    assert judge(label, sample, {"fraud": found}, look=0, looks=1).verdict is Verdict.PASS


def test_kappa_is_judged_with_its_error():
    """κ must be shown too; the standard error is that of many simulated tables."""
    label = Label.model_validate({"labels": ["a", "b"], "min_kappa": 0.6})
    alike = [(("a",), ("a",))] * 450 + [(("b",), ("b",))] * 450
    assert judge(label, alike + [(("a",), ("b",))] * 50, {}, look=0, looks=1).verdict is Verdict.PASS
    assert judge(label, alike + [(("a",), ("b",))] * 900, {}, look=0, looks=1).verdict is Verdict.STOP
    assert judge(label, alike[445:455], {}, look=0, looks=1).verdict is Verdict.UNDECIDED
    shares = np.array([[0.4, 0.1], [0.05, 0.45]])
    rng = np.random.default_rng(5)
    kappas = [cohen_kappa(rng.multinomial(400, shares.ravel()).reshape(2, 2)) for _ in range(2_000)]
    assert kappa_error((shares * 400).round().astype(np.int64)) == pytest.approx(np.std(kappas), rel=0.08)


@pytest.mark.parametrize("rows", [1, 7, 50, 74, 75, 149, 151, 2_000])
def test_looks_grow_to_all_rows_and_share_the_rates(rows):
    """The last look has every gold row, and the parts of the error rate add up to one."""
    looks = look_sizes(rows)
    assert looks[-1] == rows
    assert looks == sorted(set(looks))
    assert sum(error_share(number, len(looks)) for number in range(len(looks))) == pytest.approx(1)


def test_gold_is_balanced_by_label_in_every_part():
    """Among the first gold rows each label stands about as often as among all, and the draw keeps its size."""
    draw = Draw(300)
    for row in range(3_000):
        draw.meet(row, ("rare",) if row % 10 == 0 else ("common",))
    order = draw.in_order()
    assert len(order) == len(set(order)) == 300
    rare = sum(row % 10 == 0 for row in order)
    for size in (20, 50, 100, 200):
        assert abs(sum(row % 10 == 0 for row in order[:size]) - size * rare / 300) <= 1
