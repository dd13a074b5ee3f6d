"""Drift: a changed model is seen, and one that answers a little otherwise each time is not taken for one."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from rowmill.schemas.label import Labelling
from rowmill.schemas.outcome import Outcome, Status
from rowmill.tasks.run.drift import differs, leaves, measure


def ok(value: object) -> Outcome:
    return Outcome("r", 0, Status.OK, output_text=value if isinstance(value, str) else json.dumps(value))


def label(*labels: str) -> Outcome:
    return Outcome("r", 0, Status.OK, output_text="{}", labelling=Labelling(labels=labels))


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        (ok({"a": 1, "b": [1, 2], "c": None}), ok({"c": None, "b": [1, 2], "a": 1.0}), 0),
        (ok({"a": 1, "b": [1, 2]}), ok({"a": 1, "b": [1, 3]}), 1 / 3),
        (ok({"a": 1}), ok({"a": 1, "b": 2}), 1 / 2),
        (ok({"a": True}), ok({"a": 1}), 1),
        (ok({"a": []}), ok({"a": {}}), 1),
        (ok("a text"), ok("a text"), 0),
        (ok("a text"), ok("another"), 1),
        (label("x", "y"), label("y", "x"), 0),
        (label("x"), label("y"), 1),
        (ok({"a": 1}), Outcome("r", 0, Status.REFUSED), 1),
        (Outcome("r", 0, Status.INVALID), Outcome("r", 0, Status.INVALID), 0),
    ],
)
def test_what_differs(one, other, share):
    """Fields of objects, labels in any order, texts; a refusal is an answer of its own."""
    assert differs(one, other) == pytest.approx(share)
    assert differs(other, one) == pytest.approx(share)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner)))
def test_an_answer_is_like_itself(value):
    """Whatever it holds."""
    assert differs(ok({"a": value}), ok({"a": value})) == 0
    assert leaves(json.dumps(value))


@given(st.integers(0, 60), st.integers(0, 60))
def test_of_labels_it_is_mcnemars_exact_test(more, fewer):
    """As scipy reckons it, one-sided."""
    changed, chance = [1.0] * more + [0.0] * fewer + [0.0], [0.0] * more + [1.0] * fewer + [0.0]
    found = measure(changed, chance, 1).p_value
    expected = binomtest(more, more + fewer, alternative="greater").pvalue if more + fewer else 1.0
    assert found == pytest.approx(expected)


def nights(differs_now: float, differs_anyway: float, count: int, *, fields: int) -> int:
    """How many of these nights of 50 rows are stopped. A model's answer to a field is its usual one, or by chance
    another; a changed model has other usual ones for a share of them.
    """
    rng, stopped = random.Random(7), 0
    for night in range(count):
        changed, chance = [], []
        for _ in range(50):
            stands, first, second = ([rng.random() < differs_anyway for _ in range(fields)] for _ in range(3))
            moved = [rng.random() < differs_now for _ in range(fields)]
            changed.append(sum((a != b) != c for a, b, c in zip(stands, first, moved, strict=True)) / fields)
            chance.append(sum(a != b for a, b in zip(first, second, strict=True)) / fields)
        stopped += measure(changed, chance, night).exceeds(0.05)
    return stopped


@pytest.mark.parametrize("fields", [1, 3])
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.4])
def test_a_model_that_is_the_same_is_rarely_stopped(noise, fields):
    """However often two askings of it differ: at most three nights of 100, where one is expected at the most."""
    assert nights(0.0, noise, 100, fields=fields) <= 3


@pytest.mark.parametrize(("now", "noise", "fields", "seen"), [(0.25, 0.0, 1, 90), (0.5, 0.1, 1, 70), (0.3, 0.1, 5, 90)])
def test_a_model_that_has_changed_is_seen(now, noise, fields, seen):
    """A quarter of the labels changed, half of them where one answer in ten is chance, a third of five fields."""
    assert nights(now, noise, 100, fields=fields) >= seen
