"""The division of limits: what all workers hold together never exceeds the whole, though they hear at different times."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.tasks.cluster.limit_split import BudgetShare, even, even_slots, money


def step(draw, given_out, acked, share):
    """One beat: some workers are heard, one may come or go, and all is divided anew."""
    for name in given_out:
        if draw(st.booleans()):
            acked[name] = given_out[name]
    if len(given_out) < 4 and draw(st.booleans()):
        name = f"w{draw(st.integers(0, 10**6))}"
        given_out.setdefault(name, type(share)(0))
        acked.setdefault(name, type(share)(0))
    elif given_out and draw(st.booleans()):
        gone = draw(st.sampled_from(sorted(given_out)))
        del given_out[gone], acked[gone]
    return {name: max(given_out[name], acked[name]) for name in given_out}


@given(st.data(), st.integers(1, 500), st.integers(0, 6))
def test_slots_given_and_still_held_are_never_more_than_there_are(data, whole, expected):
    """Whoever is heard late, comes or goes: what all may use at any moment is within the whole, and settles evenly."""
    given_out, acked = {}, {}
    for _ in range(12):
        held = step(data.draw, given_out, acked, 0)
        given_out.update(even_slots(whole, expected, held))
        assert sum(max(given_out[name], acked[name]) for name in given_out) <= whole
    for _ in range(2):
        acked = dict(given_out)
        given_out = even_slots(whole, 0, acked)
    if given_out:
        assert sum(given_out.values()) == whole
        assert max(given_out.values()) - min(given_out.values()) <= 1


@given(st.data(), st.floats(1, 1e6), st.integers(0, 6))
def test_rates_are_divided_by_the_same_law(data, whole, expected):
    """Requests and tokens a minute, which can be divided: never more than the whole, even once all have heard."""
    given_out, acked = {}, {}
    for _ in range(12):
        held = step(data.draw, given_out, acked, 0.0)
        given_out.update(even(whole, expected, held))
        assert sum(max(given_out[name], acked[name]) for name in given_out) <= whole * (1 + 1e-9)
    for _ in range(2):
        acked = dict(given_out)
        given_out = even(whole, 0, acked)
    for share in given_out.values():
        assert share == pytest.approx(whole / len(given_out))


@given(st.integers(0, 2**32), st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 1_000))
def test_money_of_all_workers_stays_within_the_cap(seed, cap, workers, call):
    """Workers spend as much as they may, hear late, and the sum never passes the cap; in the end it is used up."""
    rng = random.Random(seed)
    spent = dict.fromkeys([f"w{n}" for n in range(workers)], 0)
    goes_by = dict.fromkeys(spent, 0)
    short = dict.fromkeys(spent, 0)
    ordered = dict.fromkeys(spent, 0)
    for beat in range(200):
        held = {name: max(ordered[name], goes_by[name]) for name in spent}
        ordered = money(cap, workers, {name: BudgetShare(held[name], spent[name], short[name]) for name in spent})
        for name in spent:
            if beat > 150 or rng.random() < 0.5:
                goes_by[name] = ordered[name]
            calls = rng.randint(0, 40) if beat < 20 else 10**6
            spent[name] += call * min(calls, max(0, goes_by[name] - spent[name]) // call)
            goes_by[name] = max(goes_by[name], spent[name])
            short[name] = call if goes_by[name] - spent[name] < call else 0
        assert sum(spent.values()) <= cap
    assert cap - sum(spent.values()) < call
