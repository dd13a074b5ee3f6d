"""Answers are held against gold field by field, and what comes of it adds up."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.fields import FieldGold
from rowmill.schemas.output_schema import output_shape
from rowmill.tasks.fields.grading import Grader, MalformedGoldError
from rowmill.tasks.fields.sums import GoldSums
from rowmill.tasks.fields.tree import MISSING

INVOICE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "amount": {"type": "number"},
        "who": {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False},
        "tags": {"type": "array", "items": {"type": "string"}},
        "lines": {
            "type": "array",
            "items": {"type": "object", "properties": {"sku": {"type": "string"}, "price": {"type": "number"}}},
        },
        "any": {},
    },
}


def grader(schema: Any = INVOICE, **told: Any) -> Grader:
    return Grader(FieldGold(column="truth", **told), output_shape(schema))


def graded(said: Any, gold: Any, schema: Any = INVOICE, **told: Any) -> tuple[dict[str, Any], GoldSums]:
    """The verdict of each leaf by name, and the sums."""
    one, sums = grader(schema, **told), GoldSums()
    found = one.grade("r", None if said is None else json.dumps(said), one.read(gold), sums=sums)
    assert found is not None
    return dict(zip([leaf.name for leaf in one.tree.leaves], found, strict=True)), sums


def test_fields_that_gold_does_not_name_are_not_judged():
    """Gold may be partial; null in gold is judged, and an answer without the field is right then."""
    verdicts, sums = graded({"name": "x", "amount": 1}, {"name": "X", "who": None})
    assert verdicts == {"name": True, "amount": None, "who.city": True, "tags": None, "lines": None, "any": None}
    assert sums.rows == sums.right == 1
    assert set(sums.fields) == {"name", "who.city"}


def test_a_row_without_an_answer_is_wrong_in_every_judged_field():
    """Also where gold says that there is nothing, and it counts as a row that is not ok."""
    verdicts, sums = graded(None, {"name": "x", "amount": None, "lines": [{"sku": "a"}]})
    assert verdicts == {"name": False, "amount": False, "who.city": None, "tags": None, "lines": False, "any": None}
    assert (sums.rows, sums.right, sums.not_ok) == (1, 0, 1)
    assert sums.fields["lines"].items.gold == 1
    assert not sums.fields["name"].examples


def test_what_went_wrong_is_told_apart():
    """A value left out, one where gold has none, and another one; each with an example."""
    _, sums = graded({"name": None, "amount": 3, "any": 1}, {"name": "x", "amount": None, "any": 2})
    told = {name: (one.missed, one.invented, one.examples) for name, one in sums.fields.items()}
    assert told == {
        "name": (1, 0, [("r", "x", None)]), "amount": (0, 1, [("r", None, 3)]), "any": (0, 0, [("r", 2, 1)])
    }  # fmt: skip


def test_lists_are_matched_one_to_one_whatever_their_order():
    """Precision, recall and F1 count items; a pair that is right is found wherever it stands."""
    gold = {"lines": [{"sku": "a", "price": 1}, {"sku": "b", "price": 2}, {"sku": "c", "price": 3}]}
    said = {
        "lines": [
            {"sku": "c", "price": 3},
            {"sku": "a", "price": 9},
            {"sku": "z", "price": 0},
            {"sku": "b", "price": 2},
        ]
    }
    verdicts, sums = graded(said, gold)
    items = sums.fields["lines"].items
    assert verdicts["lines"] is False
    assert (items.right, items.said, items.gold) == (2, 4, 3)
    assert items.fields == {"lines.sku": (3, 4, 3), "lines.price": (2, 4, 3)}
    assert graded({"tags": ["b", "A"]}, {"tags": ["a", "b"]})[0]["tags"] is True
    assert graded({"tags": ["a", "a"]}, {"tags": ["a", "b"]})[0]["tags"] is False
    assert graded({"tags": []}, {"tags": None})[0]["tags"] is True


def test_fields_of_items_that_gold_does_not_name_are_not_judged():
    """Nor are they counted as said: precision is of what gold speaks of. Where gold has no items, all are invented."""
    said = {"lines": [{"sku": "a", "price": 1}, {"sku": "b", "price": 2}, {"sku": "z", "price": 3}]}
    verdicts, sums = graded(said, {"lines": [{"sku": "a"}, {"sku": "b"}, {"sku": "z"}]})
    assert verdicts["lines"] is True
    assert sums.fields["lines"].items.fields == {"lines.sku": (3, 3, 3)}
    _, sums = graded(said, {"lines": [{"sku": "a", "price": 1}, {"sku": "b"}]})
    assert sums.fields["lines"].items.fields == {"lines.sku": (2, 3, 2), "lines.price": (1, 2, 1)}
    _, sums = graded(said, {"lines": []})
    assert sums.fields["lines"].items.fields == {"lines.sku": (0, 3, 0), "lines.price": (0, 3, 0)}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["name", "amount", "lines", "tags", "sku", "price", "city", "any"]), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip
OUTPUTS = st.fixed_dictionaries({}, optional=dict.fromkeys(("name", "amount", "who", "tags", "lines", "any"), JSON))


@given(OUTPUTS, OUTPUTS)
def test_any_answer_can_be_held_against_any_gold(said, gold):
    """Gold of whatever types, lists that are empty on either side: counts are those of the fields, none below zero."""
    one, sums = grader(), GoldSums()
    try:
        right = one.read(gold)
    except MalformedGoldError:
        return
    one.grade("r", json.dumps(said), right, sums=sums)
    for field in sums.fields.values():
        items = [] if field.items is None else [(field.items.right, field.items.said, field.items.gold)]
        for hits, ours, theirs in [*items, *(field.items.fields.values() if field.items else ())]:
            assert 0 <= hits <= min(ours, theirs)


def test_a_pair_that_is_right_goes_before_two_halves():
    """Of two matchings with the same sum the one with more whole items is taken."""
    gold = {"lines": [{"sku": "a", "price": 1}, {"sku": "b", "price": 2}]}
    _, sums = graded({"lines": [{"sku": "a", "price": 2}, {"sku": "a", "price": 1}]}, gold)
    assert sums.fields["lines"].items.right == 1


def test_long_lists_are_matched_in_bounded_time():
    """A thousand items that stand elsewhere, some of them changed, are still found."""
    gold = [{"sku": f"s{n}", "price": n} for n in range(1_000)]
    said = [{**one, "price": -1.0} if one["price"] % 100 == 0 else one for one in reversed(gold)]
    _, sums = graded({"lines": said}, {"lines": gold})
    items = sums.fields["lines"].items
    assert (items.right, items.said, items.gold) == (990, 1_000, 1_000)
    assert items.fields["lines.sku"][0] == 1_000


def test_tolerances_and_exact_fields():
    """A number for all, or a mapping of names and pointers, also inside lists; a text field that it names is a number."""
    said, gold = (
        {"amount": 10.4, "lines": [{"sku": "a", "price": 1.04}]},
        {"amount": 10, "lines": [{"sku": "a", "price": 1}]},
    )
    assert graded(said, gold)[0]["amount"] is False
    assert graded(said, gold, tolerance=0.5)[0] | {} == {**graded(said, gold)[0], "amount": True, "lines": True}
    assert graded(said, gold, tolerance={"amount": "5%"})[0]["lines"] is False
    assert graded(said, gold, tolerance={"/lines/*/price": 0.05})[0]["lines"] is True
    assert graded(said, gold, tolerance={"lines.price": 0.05})[0]["lines"] is True
    assert graded({"name": "12.50 "}, {"name": "12.5"})[0]["name"] is False
    assert graded({"name": "12.50 "}, {"name": "12.5"}, tolerance={"name": 0})[0]["name"] is True
    assert graded({"name": "acme"}, {"name": "Acme"}, exact=["name"])[0]["name"] is False
    assert graded({"lines": [{"sku": "A", "price": 1}]}, {"lines": [{"sku": "a", "price": 1}]}, exact=["lines"])[0][
        "lines"
    ] is False  # fmt: skip


@pytest.mark.parametrize("told", [{"tolerance": {"amuont": 1}}, {"exact": ["lines.skew"]}, {"tolerance": {"any.x": 1}}])
def test_fields_that_there_are_not_are_refused(told):
    """The message names the field and those that there are."""
    with pytest.raises(ValueError, match="which the output does not have: amount, any, lines, lines.price"):
        grader(**told)


def test_gold_is_read_as_an_object_or_as_its_text():
    """Blank cells and missing values are no gold, text that is no object is malformed."""
    one = grader()
    assert one.read('{"name": "x"}') == one.read({"name": "x"}) == {"name": "x"}
    for blank in (None, "", "  ", "N/A", "null", float("nan")):
        assert one.read(blank) is MISSING
    for wrong in ("{name: x", "x", "[1]", 5, "5", [1]):
        with pytest.raises(MalformedGoldError):
            one.read(wrong)
    assert grader({"type": "string"}).read("plain words") == "plain words"
    with pytest.raises(MalformedGoldError):
        grader({"type": "array", "items": {"type": "string"}}).read("plain words")


def test_an_answer_that_is_no_object_has_one_field():
    """A list or a text as a whole is judged under the name `output`."""
    assert graded(["a", "b"], ["b", "a"], {"type": "array", "items": {"type": "string"}})[0] == {"output": True}
    assert graded("Yes", "yes", {"type": "string"})[0] == {"output": True}


def test_columns_are_structs_like_the_output():
    """Lists and JSON text have one value each, and fields that the schema does not name none."""
    tree = grader().tree
    leaf = pa.bool_()
    expected = pa.struct(
        [
            ("name", leaf),
            ("amount", leaf),
            ("who", pa.struct([("city", leaf)])),
            ("tags", leaf),
            ("lines", leaf),
            ("any", leaf),
        ]
    )
    assert tree.struct(leaf) == expected
    column = tree.column([[True, False, None, True, True, True], None], leaf)
    assert column.to_pylist() == [
        {"name": True, "amount": False, "who": {"city": None}, "tags": True, "lines": True, "any": True}, None,
    ]  # fmt: skip


def test_sums_of_parts_add_up():
    """The sums of two parts merged are those of their rows together, also through their JSON."""
    rows = [({"name": "x", "lines": [{"sku": "a"}]}, {"name": "y", "lines": [{"sku": "A"}]}), (None, {"name": "x"}),
            ({"name": "x"}, {"name": "x"})]  # fmt: skip
    one, whole, merged = grader(), GoldSums(), GoldSums()
    for said, gold in rows:
        text, apart = None if said is None else json.dumps(said), GoldSums()
        one.grade("r", text, gold, sums=whole)
        one.grade("r", text, gold, sums=apart)
        merged.merge(msgspec.json.decode(msgspec.json.encode(apart), type=GoldSums))
    assert merged == whole
