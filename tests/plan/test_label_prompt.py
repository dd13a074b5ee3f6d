"""How labels are asked for, and how gold labels are read."""

from __future__ import annotations

from typing import Any

import pytest

from rowmill.schemas.catalogue import find_model
from rowmill.schemas.job import Job
from rowmill.schemas.json_text import encode_json
from rowmill.schemas.label import Label
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row
from rowmill.tasks.answers.validator import Accepted, Rejected
from rowmill.tasks.job.fingerprint import job_fingerprint
from rowmill.tasks.job.job_file import catalogue_of
from rowmill.tasks.plan.begun_labels import in_begun_order
from rowmill.tasks.plan.label_answer import validator_of
from rowmill.tasks.plan.label_gold import GoldReader
from rowmill.tasks.plan.label_prompt import as_asked, label_schema, labels_in, shown_order
from rowmill.tasks.plan.planner import Planner

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
    plain = Job(model="m", input="i", output="o")
    assert as_asked(plain) is plain


def many(count: int, *, model: str = "gemini-3-flash", structured: str = "auto", **label_keys: Any) -> Job:
    names = [f"label number {n}." for n in range(count)]
    told = {"labels": names, "order": "row", **label_keys}
    return Job(model=model, structured=structured, input="i", output="o", prompt="{{ text }}", label=told)


def sent(job: Job) -> str:
    """The body of a row's request, as JSON."""
    model = find_model(job.model, catalogue_of(job, None))
    row = Row(index=0, row_id="r", columns={"text": "which one?"}, file="i", line=1)
    request = Planner(as_asked(job), model, sandbox=False).plan(row)
    assert isinstance(request, Request)
    return encode_json(request.body).decode()


@pytest.mark.parametrize(
    ("model", "structured", "labels", "keys", "times"),
    [
        ("gemini-3-flash", "auto", 300, {}, 1), ("gemini-3-pro", "auto", 300, {}, 1),
        ("gemini-3-pro", "prompt", 300, {}, 1), ("gemini-3-flash", "auto", 300, {"multi": True}, 1),
        ("gemini-3-flash", "auto", 13, {"reason": True}, 1), ("gemini-3-flash", "auto", 12, {}, 2),
        ("gemini-3-pro", "auto", 40, {}, 2), ("gemini-3-pro", "auto", 41, {"multi": True}, 1),
        ("gemini-3-flash", "auto", 300, {"enum": "always"}, 2), ("gemini-3-pro", "auto", 300, {"enum": "always"}, 2),
    ],
)  # fmt: skip
def test_many_labels_are_named_once(model, structured, labels, keys, times):
    """Each stands in the prompt's list, and in the schema too only where there are few; answers are held to all."""
    job = many(labels, model=model, structured=structured, **keys)
    body = sent(job)
    assert [body.count(f"label number {n}.") for n in (0, 7, labels - 1)] == [times] * 3
    validator = validator_of(as_asked(job))
    field, name = ("labels", ["label number 7."]) if job.label.multi else ("label", "label number 7.")
    reason = {"reason": "so"} if job.label.reason else {}
    assert isinstance(validator.judge(encode_json({**reason, field: name}).decode()), Accepted)
    other = ["label number 999."] if job.label.multi else "label number 999."
    assert isinstance(validator.judge(encode_json({**reason, field: other}).decode()), Rejected)


def test_an_output_that_was_begun_with_names_twice_goes_on_so():
    """Its requests and its fingerprint are those of before; a new one names them once, and says so in its manifest."""
    job = many(300)
    before = Manifest(job={"label": {"order": "row"}})
    begun, anew = in_begun_order(job, before), in_begun_order(job, Manifest())
    assert (begun.label.enum, anew.label.enum) == ("always", "few")
    assert "enum" not in begun.label.identity()
    assert job_fingerprint(begun, sandbox=False)[0] != job_fingerprint(anew, sandbox=False)[0]
    assert in_begun_order(job, Manifest(job=anew.model_dump(mode="json", exclude_defaults=True))).label == anew.label
    assert len(sent(anew)) < 0.55 * len(sent(begun))
    few = many(4)
    assert in_begun_order(few, Manifest()).label.identity() == in_begun_order(few, before).label.identity()
