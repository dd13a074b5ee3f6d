"""The order in which rows see the labels: balanced, the same for equal rows, and its effect measured."""

from __future__ import annotations

import json
import random
import re
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowmill.schemas.catalogue import find_model
from rowmill.schemas.job import Job
from rowmill.schemas.label import Label
from rowmill.schemas.label_quality import PositionEffect
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row
from rowmill.tasks.job.fingerprint import job_fingerprint
from rowmill.tasks.job.job_file import catalogue_of
from rowmill.tasks.labelling.position import position_effect
from rowmill.tasks.plan.begun_labels import in_begun_order
from rowmill.tasks.plan.label_prompt import as_asked, shown_order
from rowmill.tasks.plan.planner import Planner

NAMES = ["billing", "shipping", "praise", "other"]
FIRST = "gemini-3-flash"


def job(names: list[str] = NAMES, **label) -> Job:
    told = {"labels": names, **label}
    return Job.model_validate({"model": FIRST, "input": "i", "output": "o", "prompt": "{{ text }}", "label": told})


def planner(told: Job, vote: int = 0) -> Planner:
    return Planner(as_asked(told, vote), find_model(FIRST, catalogue_of(told, None)), sandbox=False)


def planned(plan: Planner, text: str, row_id: str = "r") -> Request:
    request = plan.plan(Row(0, row_id, {"text": text, "id": row_id}, "f", 1))
    assert isinstance(request, Request)
    return request


def order_in(request: Request) -> list[str]:
    """The labels as they stand in a request."""
    return re.findall(r"^- (.+)$", json.dumps(request.body, ensure_ascii=False).replace("\\n", "\n"), re.MULTILINE)


@pytest.mark.parametrize("vote", [0, 1, 2, 5])
def test_each_label_stands_in_each_place_as_often(vote):
    """Over many rows every label is first, and last, about as often as any other, in every vote."""
    plan = planner(job(votes=9), vote)
    orders = [order_in(planned(plan, f"text {n}")) for n in range(1_200)]
    assert all(sorted(order) == sorted(NAMES) for order in orders)
    for place in range(4):
        counts = Counter(order[place] for order in orders)
        assert all(abs(counts[name] - 300) < 5 * 15 for name in NAMES)


def test_equal_rows_ask_for_equal_requests():
    """Rows of one text have one request, whatever their ids: it is paid once. Votes of a row differ."""
    told = job(votes=3)
    plan = planner(told)
    assert planned(plan, "same", "a").key == planned(plan, "same", "b").key
    assert planned(planner(told), "same").body == planned(plan, "same").body
    assert len({planned(planner(told, vote), "same").key for vote in range(3)}) == 3


def test_a_favour_for_the_first_place_is_balanced_out():
    """A model that takes the first label in 3 of 10 rows gives each of four equal classes its share all the same."""
    rng = random.Random(11)
    for order, balanced in (("row", True), ("vote", False)):
        plan = planner(job(order=order))
        said = Counter(
            order_in(planned(plan, f"text {n}"))[0] if rng.random() < 0.3 else NAMES[n % 4] for n in range(1_200)
        )
        assert all(abs(said[name] - 300) < 60 for name in NAMES) == balanced


def test_many_labels_take_few_planners():
    """With 300 labels there are 60 orders, and each label still moves through the places."""
    told = job([f"label {n}" for n in range(300)])
    plan = planner(told)
    first = Counter(order_in(planned(plan, f"text {n}"))[0] for n in range(300))
    assert 50 < len(first) <= 60


def test_an_output_goes_on_in_the_order_it_was_begun_with():
    """Without the key an older manifest means one order a vote: its fingerprint and its requests are unchanged."""
    told = job(votes=3)
    before = Manifest(job={"label": {"labels": [{"name": name} for name in NAMES]}})
    begun, anew = in_begun_order(told, before), in_begun_order(told, Manifest())
    assert (begun.label.order, anew.label.order) == ("vote", "row")
    assert "order" not in begun.label.identity()
    assert job_fingerprint(begun, sandbox=False)[0] != job_fingerprint(anew, sandbox=False)[0]
    assert in_begun_order(told, Manifest(job={"label": {"order": "row"}})).label.order == "row"
    fixed = planned(planner(begun), "one")
    assert order_in(fixed) == order_in(planned(planner(begun), "two")) == NAMES
    assert set(Label.model_validate({"labels": NAMES, "order": "vote"}).identity()) == {
        "labels", "multi", "votes", "shuffle", "ties", "guidelines", "examples", "reason", "escalate"
    }  # fmt: skip


def effect_of(tmp_path, favour: float) -> PositionEffect:
    rng, asked = random.Random(5), as_asked(job())
    texts = [f"text {n}" for n in range(2_500)]
    said = []
    for n, text in enumerate(texts):
        names = [one.name for one in shown_order(asked.label, 0, asked.turn_of(text))]
        said.append(names[0] if rng.random() < favour else NAMES[0 if n % 3 else 1])
    votes = [[{"model": FIRST, "label": name}] for name in said]
    pq.write_table(pa.table({"row_index": range(len(texts)), "votes": votes}), tmp_path / "part-000000.parquet")
    told = position_effect(asked, [tmp_path / "part-000000.parquet"], lambda _: texts.__getitem__)
    assert told is not None
    return told


def test_the_position_effect_is_recovered(tmp_path):
    """A favour of .3 for the first place is seen as such, and none where there is none, however uneven the classes."""
    told = effect_of(tmp_path, 0.3)
    true = 0.3 + 0.7 * 0.25
    assert told.rows == 2_000
    assert told.low < true < told.high
    assert told.p < 1e-9
    fair = effect_of(tmp_path, 0.0)
    assert fair.low < 0.25 < fair.high
    assert fair.p > 0.001


def test_an_order_that_does_not_change_tells_no_effect(tmp_path):
    """One order for all rows, or several labels a row: nothing is measured."""
    assert position_effect(as_asked(job(order="vote")), [], lambda _: str) is None
    assert position_effect(as_asked(job(multi=True)), [], lambda _: str) is None
