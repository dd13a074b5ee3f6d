"""How labels are asked for, and how gold labels are read."""

from __future__ import annotations

from typing import Any

import pytest

from rowmill.schemas.label import Label
from rowmill.tasks.plan.label_gold import GoldReader
from rowmill.tasks.plan.label_prompt import as_asked, label_schema, labels_in, shown_order

NAMES = ["a", "b", "c", "d"]


def label(**keys: Any) -> Label:
    return Label.model_validate({"labels": NAMES, **keys})


def test_each_vote_sees_all_labels_in_an_order_of_its_own():
    """As listed, from the end, then mixed: the same for every row, and the same labels for every vote."""
    told = label(votes=9)
    orders = [[one.name for one in shown_order(told, vote)] for vote in range(9)]
    assert orders[0] == NAMES
    assert orders[1] == NAMES[::-1]
    assert all(sorted(order) == NAMES for order in orders)
    assert len({tuple(order) for order in orders}) > 5
    assert all(shown_order(label(shuffle=False), vote) == list(told.labels) for vote in range(5))


def test_a_reason_is_asked_for_before_the_label():
    """What is said first is thought of first: the reason stands before the label, which is a closed set."""
    told = label(reason=True)
    schema = label_schema(told, told.labels)
    assert list(schema["properties"]) == ["reason", "label"]
    assert schema["properties"]["label"]["enum"] == NAMES
    assert labels_in('{"reason": "so", "label": "b"}', told) == ("b",)
    assert labels_in('{"labels": ["c", "a"]}', label(multi=True)) == ("a", "c")


@pytest.mark.parametrize(
    ("value", "multi", "labels"),
    [
        ("a", False, ("a",)), (" a ", False, ("a",)), ("", False, None), (None, True, None), (float("nan"), False, None),
        (1.0, False, ("1",)), (3, False, ("3",)), (True, False, ("true",)), (["a"], False, ("a",)),
        ("a|b", True, ("a", "b")), ("a|b", False, ("a|b",)), ([], True, ()), ('["a", "b"]', True, ("a", "b")),
    ],
)  # fmt: skip
def test_gold_is_read_as_people_write_it(value, multi, labels):
    """Text, numbers, lists, text parted by a bar: each is read as the labels it tells."""
    assert GoldReader(Label.model_validate({"column": "c", "multi": multi})).labels(value) == labels


def test_a_job_without_labels_is_asked_as_it_is():
    """Only a labelling job gets a scaffold."""
    from rowmill.schemas.job import Job

    plain = Job(model="m", input="i", output="o")
    assert as_asked(plain) is plain
