"""Fields are answered by majority, and no vote is asked that could change nothing."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowmill.schemas.output_schema import output_shape
from rowmill.tasks.answers.validator import Validator
from rowmill.tasks.fields.comparison import same
from rowmill.tasks.fields.majority import (
    NO_ANSWER,
    agreement,
    agreement_bounds,
    composed,
    decision,
    is_settled,
    majority,
    most_agreement,
)
from rowmill.tasks.fields.tree import field_tree

ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": ["string", "null"]},
        "n": {"type": "integer"},
        "who": {"type": ["object", "null"], "properties": {"city": {"type": "string"}, "zip": {"type": "string"}}},
        "tags": {"type": "array", "items": {"type": "string"}},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}}}},
        "more": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
}
WORD = st.sampled_from(["a", "b"])
ANSWER = st.fixed_dictionaries(
    {},
    optional={
        "name": st.none() | WORD,
        "n": st.integers(0, 1),
        "who": st.none() | st.fixed_dictionaries({}, optional={"city": WORD, "zip": WORD}),
        "tags": st.lists(WORD, max_size=2),
        "lines": st.lists(st.fixed_dictionaries({}, optional={"sku": WORD}), max_size=2),
        "more": st.dictionaries(WORD, st.integers(0, 1), max_size=2),
        "unnamed": st.integers(0, 1),
    },
)
VOTE = ANSWER | st.just(NO_ANSWER)
VALIDATOR = Validator(ORDER)
TREE = field_tree(VALIDATOR.shape)


def any_value(_: Any) -> bool:
    return True


def few_fields(value: Any) -> bool:
    """A rule between fields, which majorities can break though no answer does."""
    return not (value.get("n") == 1 and value.get("name") == "a")


@settings(max_examples=400)
@given(st.lists(VOTE, min_size=1, max_size=5), st.sampled_from([any_value, few_fields]))
def test_what_is_settled_stays_whatever_the_other_votes_say(votes, meets):
    """The output of the votes at which one may stop is that of all votes; agreement keeps within its bounds."""
    votes = [vote for vote in votes if vote is NO_ANSWER or meets(vote)]
    whole = majority(votes, TREE, meets)
    for asked in range(1, len(votes)):
        said, left = votes[:asked], len(votes) - asked
        if not is_settled(said, left, TREE, meets=meets):
            continue
        early = majority(said, TREE, meets)
        assert early is not None
        assert whole is not None
        assert same(early.value, whole.value)
        assert VALIDATOR.shape.convert(early.value) == VALIDATOR.shape.convert(whole.value)
        for share, (least, most) in zip(
            agreement(votes, whole.value, TREE), agreement_bounds(said, left, TREE), strict=True
        ):
            assert least - 1e-9 <= share <= most + 1e-9


@given(st.lists(VOTE, min_size=1, max_size=5), st.data())
def test_doubt_that_is_certain_stays(votes, data):
    """No further vote lifts the field of most doubt above what was reckoned."""
    asked = data.draw(st.integers(1, len(votes)))
    whole = majority(votes, TREE, any_value)
    if whole is not None:
        limit = most_agreement(votes[:asked], len(votes) - asked, TREE)
        assert min(agreement(votes, whole.value, TREE)) <= limit + 1e-9


@given(st.lists(ANSWER, min_size=1, max_size=5))
def test_an_output_is_made_of_what_was_said(votes):
    """Votes that are alike are the output; each leaf without parts was said by somebody, by most who said anything."""
    assert same(majority([votes[0]] * 3, TREE, any_value).value, votes[0])
    value = composed(votes, TREE.type)
    for name in ("name", "n"):
        counts = [sum(same(vote.get(name), one.get(name)) for vote in votes) for one in votes]
        assert sum(same(vote.get(name), value.get(name)) for vote in votes) == max(counts)


def test_each_field_has_its_own_majority():
    """No vote said all of it; lists are answered place by place among those of the most frequent length."""
    votes = [
        {"name": "a", "n": 1, "who": {"city": "x", "zip": "1"}, "lines": [{"sku": "p"}, {"sku": "q"}]},
        {"name": "b", "n": 1, "who": {"city": "x", "zip": "2"}, "lines": [{"sku": "p"}, {"sku": "r"}]},
        {"name": "a", "n": 2, "who": {"city": "y", "zip": "2"}, "lines": [{"sku": "q"}, {"sku": "r"}]},
    ]
    found = majority(votes, TREE, any_value)
    assert found.value == {
        "name": "a", "n": 1, "who": {"city": "x", "zip": "2"}, "lines": [{"sku": "p"}, {"sku": "r"}],
    }  # fmt: skip
    told = dict(zip([leaf.name for leaf in TREE.leaves], agreement(votes, found.value, TREE), strict=True))
    assert told == pytest.approx(
        {"name": 2 / 3, "n": 2 / 3, "who.city": 2 / 3, "who.zip": 2 / 3, "lines": 2 / 3, "tags": 1.0, "more": 1.0}
    )


def test_ties_go_to_what_was_said_first_and_null_is_a_vote():
    """Of two values said equally often the first stands; a field that most leave out is left out."""
    assert composed([{"name": "b"}, {"name": "a"}], TREE.type) == {"name": "b"}
    assert composed([{"name": "a"}, {}, {"name": None}], TREE.type) == {}
    assert composed([{"name": "a"}, {"name": None}, {}], TREE.type) == {"name": None}
    assert composed([{"n": 1}, {"n": 1.0}, {"n": 2}], TREE.type) == {"n": 1}


def test_majorities_that_break_the_schema_give_way_to_the_nearest_vote():
    """The output is then an answer that was given, and it meets the schema."""
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["in", "out"]}, "to": {"type": ["string", "null"]}, "n": {"type": "integer"}},
        "if": {"properties": {"kind": {"const": "out"}}},
        "then": {"properties": {"to": {"type": "string"}}},
        "else": {"properties": {"to": {"type": "null"}}},
    }
    validator = Validator(schema)
    votes = [{"kind": "out", "to": "a", "n": 1}, {"kind": "in", "to": None, "n": 1}, {"kind": "out", "to": "b", "n": 1}]
    tree = field_tree(validator.shape)
    # "out" has two votes of three, and each of a, nothing and b has one: the first stands, and it fits.
    assert majority(votes, tree, validator.meets).value == votes[0]
    votes = [{"kind": "in", "to": None, "n": 1}, {"kind": "out", "to": "a", "n": 1}, {"kind": "out", "to": "b", "n": 2}]
    found = majority(votes, tree, validator.meets)
    assert not found.is_composed
    # The first two are as near to it: the one that was said first.
    assert found.value == votes[0]
    assert not is_settled(votes[:2], 1, tree, meets=validator.meets)


def test_the_stronger_model_decides_where_it_answered():
    """Its votes are the output, whatever the first model said; the agreement is that of all."""
    texts = [json.dumps(told) for told in ({"n": 1}, {"n": 1}, {"n": 2})]
    found = decision(["weak", "weak", "strong"], texts, TREE, meets=any_value)
    assert json.loads(found.text) == {"n": 2}
    assert found.nearest == 2
    assert dict(zip([leaf.name for leaf in TREE.leaves], found.agreement, strict=True))["n"] == pytest.approx(1 / 3)
    assert json.loads(decision(["weak", "weak", "strong"], [*texts[:2], None], TREE, meets=any_value).text) == {"n": 1}
    assert decision(["weak"], [None], TREE, meets=any_value) is None


def test_votes_recover_the_truth_from_noise():
    """Each field of each answer is wrong with probability 0.2: five votes are right where the binomial law says, and cost
    fewer calls than five a row.
    """
    rng = random.Random(5)
    names = [f"f{n}" for n in range(4)]
    schema = {"type": "object", "properties": {name: {"type": "integer"} for name in names}}
    tree = field_tree(output_shape(schema))
    rows, wrong, calls = 2_000, 0, 0
    for _ in range(rows):
        said = []
        while len(said) < 5 and not is_settled(said, 5 - len(said), tree, meets=any_value):
            said.append({name: 0 if rng.random() < 0.8 else rng.randint(1, 9) for name in names})
        calls += len(said)
        wrong += sum(value != 0 for value in majority(said, tree, any_value).value.values())
    # One vote is wrong in 0.2 of the fields; of five at least three are in 0.058, and those seldom agree.
    assert wrong / (4 * rows) < 0.05
    assert calls < 4.9 * rows


def test_an_output_that_is_no_object_is_one_field():
    """A list or a text as a whole has one majority and one agreement."""
    tree = field_tree(output_shape({"type": "string"}))
    found = majority(["a", "b", "b"], tree, any_value)
    assert found.value == "b"
    assert agreement(["a", "b", "b"], "b", tree) == pytest.approx((2 / 3,))
    assert tree.leaves[0].name == "output"


def test_an_output_without_answers_has_no_majority():
    """Where no vote was accepted there is nothing to put together, and nothing is settled before the last."""
    assert majority([NO_ANSWER, NO_ANSWER], TREE, any_value) is None
    assert not is_settled([NO_ANSWER, NO_ANSWER], 1, TREE, meets=any_value)
    assert is_settled([NO_ANSWER], 0, TREE, meets=any_value)
