"""A value is right when it is equal, equal in a normal form, or a number near enough."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.json_text import decode_json
from rowmill.tasks.fields.comparison import Match, Rule, alike_pairs, canonical, matched, refuse_incomparable, same
from rowmill.tasks.fields.tree import MISSING

TEXT, EXACT = Rule(), Rule(exact=True)
NUMBER = Rule(as_number=True, absolute=Decimal("0.01"))
SHARE = Rule(as_number=True, share=Decimal("0.05"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("said", "gold", "rule", "expected"),
    [
        ("Acme", "Acme", TEXT, Match.EXACT),
        ("ACME  Ltd ", "Acme Ltd", TEXT, Match.NORMALIZED),
        ("“Acme” – Rome", '"acme" - rome', TEXT, Match.NORMALIZED),
        ("ﬁne", "fine", TEXT, Match.NORMALIZED),
        ("e\u0301t\u00e9", "\u00e9te\u0301", TEXT, Match.NORMALIZED),
        ("Ｒｏｍｅ", "Rome", TEXT, Match.NORMALIZED),
        ("sil\u00adver", "silver", TEXT, Match.NORMALIZED),
        ("10²", "102", TEXT, None),
        ("Acme", "Acne", TEXT, None),
        ("acme", "Acme", EXACT, None),
        ("007", "7", TEXT, None),
        ("7", 7, TEXT, Match.NORMALIZED),
        ("2024-05-01", "2024-05-01T00:00:00Z", TEXT, Match.NORMALIZED),
        ("2024-05-01", "2024-05-01T00:00:01Z", TEXT, None),
        (12.5, "12.5", TEXT, Match.NORMALIZED),
        (12.5, "12.50", TEXT, None),
        (12.5, "12.50", NUMBER, Match.NUMERIC),
        (1234.5, "1,234.50", NUMBER, Match.NUMERIC),
        (1234.5, "1.234,50", NUMBER, Match.NUMERIC),
        (10.5, "10,5", NUMBER, Match.NUMERIC),
        (1.234, "1,234", NUMBER, None),
        (12.509, 12.5, NUMBER, Match.NUMERIC),
        (12.511, 12.5, NUMBER, None),
        (104, 100, SHARE, Match.NUMERIC),
        (106, 100, SHARE, None),
        (1, 1.0, TEXT, Match.EXACT),
        (True, 1, NUMBER, None),
        (True, "true", TEXT, Match.NORMALIZED),
        (None, None, EXACT, Match.EXACT),
        (MISSING, None, EXACT, Match.EXACT),
        ("", None, TEXT, Match.NORMALIZED),
        ("", None, EXACT, None),
        ([], None, TEXT, Match.NORMALIZED),
        (0, None, NUMBER, None),
        (False, None, TEXT, None),
        (None, "Acme", TEXT, None),
        ({"a": 1, "b": None}, {"a": 1}, TEXT, Match.EXACT),
        ({"a": ["X "]}, {"a": ["x"]}, TEXT, Match.NORMALIZED),
        (1e308, 1.1e308, SHARE, None),
        ("1e999999", 5, NUMBER, None),
    ],
)
def test_how_values_meet(said, gold, rule, expected):
    """What is told of each pair: how it is right, or that it is not."""
    assert matched(said, gold, rule) is expected


@given(st.lists(JSON, max_size=4), st.lists(JSON, max_size=4), st.sampled_from([TEXT, EXACT, NUMBER]))
def test_many_pairs_are_compared_as_one_is(said, gold, rule):
    """What items are matched by agrees with what they are judged by."""
    alike = alike_pairs(said, gold, rule)
    for row, one in enumerate(said):
        for column, other in enumerate(gold):
            assert alike[row, column] == (matched(one, other, rule) is not None)


def test_values_of_any_depth_are_compared():
    """Nothing that a model can say makes a comparison fail."""
    deep = decode_json('{"a":[' * 400 + "1" + "]}" * 400)
    for rule in (TEXT, EXACT, NUMBER):
        assert matched(deep, "x", rule) is None
    with pytest.raises(RecursionError):
        refuse_incomparable(deep)
    with pytest.raises(ValueError, match="digits"):
        refuse_incomparable(10**5_000)


@given(JSON)
def test_every_value_is_itself(value):
    """Any JSON value is exactly right where gold says the same."""
    assert matched(value, value, EXACT) is Match.EXACT
    assert canonical(value) == canonical(value)


@given(JSON, JSON)
def test_comparison_has_no_side_and_never_fails(one, other):
    """Two values are alike or not, whichever is gold; equal ones are always right."""
    assert same(one, other) == same(other, one)
    for rule in (TEXT, EXACT, NUMBER):
        assert (matched(one, other, rule) is None) == (matched(other, one, rule) is None)
        if same(one, other):
            assert matched(one, other, rule) is Match.EXACT
