"""Forecasts: coverage of their intervals by simulation, tokens against a real tokenizer's counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rowmill.tasks.forecast.regression import project
from rowmill.tasks.forecast.tokens import by_script, by_tokenizer

Population = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def lognormal(spread: float, correlation: float) -> Population:
    def draw(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        shared, own = rng.standard_normal(count), rng.standard_normal(count)
        outputs = np.exp(5 + spread * (correlation * shared + np.sqrt(1 - correlation**2) * own))
        return np.exp(6 + 0.6 * shared), outputs

    return draw


def bimodal(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    long = rng.random(count) < 0.1
    return (
        np.where(long, rng.lognormal(9, 0.3, count), rng.lognormal(5, 0.3, count)),
        np.where(long, rng.lognormal(7.5, 0.5, count), rng.lognormal(4, 0.5, count)),
    )


def heavy_tailed(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.lognormal(6, 0.5, count), (rng.pareto(2.2, count) + 1) * 100


def ordered(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted by length, as files often are: a random sample does not see it."""
    inputs, outputs = lognormal(0.8, 0.9)(rng, count)
    order = np.argsort(inputs)
    return inputs[order], outputs[order]


POPULATIONS = {
    "narrow": lognormal(0.3, 0.0),
    "usual": lognormal(0.8, 0.5),
    "wide": lognormal(1.2, 0.0),
    "wide, follows its input": lognormal(1.2, 0.9),
    "sorted": ordered,
    "bimodal": bimodal,
    "heavy tail": heavy_tailed,
}


@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("count", [100, 300])
def test_intervals_hold_as_often_as_they_say(name, count):
    """Over 200 batches the 95 % interval holds at least 92 % of the time, the 99 % bound at least 97 %."""
    held = bound = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        inputs, outputs = POPULATIONS[name](rng, 5_000)
        costs = inputs * 2e-6 + outputs * 12e-6
        sample = rng.choice(5_000, count, replace=False)
        rest = np.ones(5_000, bool)
        rest[sample] = False
        told = project(inputs[sample], costs[sample], int(rest.sum()), float(inputs[rest].sum()), seed).interval
        total = costs[rest].sum()
        held += told.low <= total <= told.high
        bound += total <= told.bound_99
    assert held >= 0.92 * 200, held
    assert bound >= 0.97 * 200, bound


def test_rows_that_all_cost_the_same_are_forecast_exactly():
    """Equal rows have one cost and an interval of no width."""
    told = project(np.full(50, 100.0), np.full(50, 0.5), 1_000, 100_000.0)
    assert told.interval.estimate == pytest.approx(500)
    assert told.interval.low == pytest.approx(told.interval.bound_99)
    assert (told.slope, told.intercept) == (0.0, pytest.approx(0.5))


COUNTS = json.loads(Path(__file__).with_name("token_counts.json").read_text())


@pytest.mark.parametrize("name", COUNTS)
def test_tokens_by_script_are_near_a_real_tokenizers(name):
    """On each of two dozen kinds of text the estimate is within 15 % of what Gemma's tokenizer counts."""
    texts = COUNTS[name]
    estimated, counted = sum(by_script(text) for text, _ in texts), sum(count for _, count in texts)
    assert estimated == pytest.approx(counted, rel=0.15)


@pytest.mark.parametrize("name", COUNTS)
def test_ten_observed_rows_correct_the_rest(name):
    """With the ratio that ten rows showed, the others of their kind are within 5 %, or 10 % of short mixed ones."""
    texts = COUNTS[name]
    seen, rest = texts[:10], texts[10:]
    ratio = sum(count for _, count in seen) / sum(by_script(text) for text, _ in seen)
    estimated = ratio * sum(by_script(text) for text, _ in rest)
    assert estimated == pytest.approx(sum(count for _, count in rest), rel=0.10)


def test_an_empty_text_has_no_tokens_and_lone_surrogates_do_no_harm():
    """Any text has a number of tokens."""
    assert by_script("") == 0
    assert by_script("a\ud800b") > 0


def test_a_tokenizer_of_the_users_own_counts_exactly(tmp_path):
    """A file in the tokenizers package's format is used as it stands."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    assert by_tokenizer(tmp_path / "tokenizer.json")("a b a") == 3
