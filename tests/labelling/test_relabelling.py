"""Relabelling: rows of parts by what their votes count, by stated rules where little is known, and back again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowmill.schemas.job import Job
from rowmill.schemas.label import Vote
from rowmill.schemas.results import label_columns
from rowmill.tasks.labelling.basis import Basis
from rowmill.tasks.labelling.relabelling import relabel
from rowmill.tasks.output.label_columns import votes_array
from rowmill.tasks.plan.vote_rules import labelling

CHEAP, STRONG = "gemini-3-flash", "gemini-3-pro"
NAMES = ["billing", "shipping", "praise", "other"]
Row = dict[str, Any]


def job(**label: Any) -> Job:
    told = {"labels": NAMES, "gold": "truth", "votes": 3, "order": "row", "weigh": "gold", **label}
    return Job(model=CHEAP, input="x.jsonl", output="out", label=told)


def voted(row: int, said: list[Any], gold: Any = None, key: str | None = None, models: list[str] | None = None) -> Row:
    """A row by what each vote says: a label, a list of them, or None for no label."""
    votes = [
        Vote(model, (one,) if isinstance(one, str) else None if one is None else tuple(one))
        for model, one in zip(models or [CHEAP] * len(said), said, strict=True)
    ]
    return {
        "row_id": f"r{row}",
        "votes": votes,
        "gold": gold,
        "request_key": key or f"{row * 2654435761 % 2**32:08x}" * 4,
    }


def write(path: Path, rows: list[Row], of: Job) -> Path:
    """A part as a run leaves it before votes are weighed."""
    label = of.label
    assert label is not None
    told = [
        labelling(label, row["votes"], (row["gold"],) if isinstance(row["gold"], str) else row["gold"]) for row in rows
    ]
    types = dict(label_columns(multi=label.multi, weighed=label.is_weighed))
    of_votes = [one.labels if label.multi else one.labels and one.labels[0] for one in told]
    columns: dict[str, Any] = {
        "row_id": pa.array([row["row_id"] for row in rows]),
        "status": pa.array(["ok" if one.labels is not None or label.ties == "review" else "invalid" for one in told]),
        "request_key": pa.array([row["request_key"] for row in rows]),
        "reused_from": pa.nulls(len(rows), pa.string()),
        "label": pa.array(of_votes, types["label"]),
        "votes": votes_array(told, types["votes"]),
        "agreement": pa.array([one.agreement for one in told], pa.float64()),
        "gold": pa.array([row["gold"] for row in rows], types["gold"]),
        "correct": pa.array([one.correct for one in told], pa.bool_()),
        "voted_label": pa.array(of_votes, types["voted_label"]),
        **{name: pa.nulls(len(rows), type_) for name, type_ in types.items() if name.startswith("label_prob")},
    }
    pq.write_table(pa.table(columns), path)
    return path


def drawn(rng: np.random.Generator, count: int, right: float, labels: list[str] = NAMES, votes: int = 3) -> list[Row]:
    """Rows with gold whose votes are right so often, and else any other label."""
    rows = []
    for number in range(count):
        gold = labels[rng.integers(len(labels))]
        others = [name for name in labels if name != gold]
        said = [gold if rng.random() < right else others[rng.integers(len(others))] for _ in range(votes)]
        rows.append(voted(number, said, gold))
    return rows


def often_other(rng: np.random.Generator, count: int) -> list[Row]:
    """Rows of which all labels are right but one, which is called another more often than itself."""
    rows = []
    for number in range(count):
        gold = NAMES[number % 4]
        said = [gold if gold != "praise" or rng.random() < 0.3 else "other" for _ in range(3)]
        rows.append(voted(number, said, gold))
    return rows


def test_gold_rows_are_not_scored_by_weights_learned_from_themselves(tmp_path):
    """Votes that know nothing of 40 labels are right on one gold row of 40, whatever could be learned by heart."""
    rng, names = np.random.default_rng(3), [f"label {n}" for n in range(40)]
    of = job(labels=names)
    rows = drawn(rng, 400, 1 / 40, names)
    _, told = relabel(of, [write(tmp_path / "part-0.parquet", rows, of)], Basis(), corrections={})
    assert told is not None
    assert told.by == "gold"
    assert told.right_weighed < 400 * 0.06


def test_rows_that_share_a_request_are_one_row_to_learn_from(tmp_path):
    """A copy of a gold row does not tell its label: both are left out together."""
    rng, names = np.random.default_rng(3), [f"label {n}" for n in range(40)]
    of = job(labels=names)
    rows = drawn(rng, 200, 1 / 40, names)
    copies = [{**row, "row_id": f"copy of {row['row_id']}"} for row in rows for _ in range(3)]
    _, told = relabel(of, [write(tmp_path / "part-0.parquet", rows + copies, of)], Basis(), corrections={})
    assert told is not None
    assert told.gold_rows_learned_from == 200
    assert told.right_weighed < 800 * 0.06


@pytest.mark.parametrize(
    ("label", "rows", "by", "why"),
    [
        ({}, [voted(n, ["billing"] * 3, "billing") for n in range(50)], None, "all gold rows have one label"),
        ({}, [voted(n, ["billing", "other", "other"], NAMES[n % 4]) for n in range(20)], None, "20 answered gold rows"),
        ({"weigh": "agreement"}, [voted(n, ["billing"] * 3) for n in range(50)], None, "votes differ on 0 rows"),
        ({"weigh": "agreement", "votes": 1}, [voted(n, ["billing"]) for n in range(50)], None, "it takes three votes"),
        ({"gold": None}, [voted(n, [None] * 3) for n in range(50)], None, "no row has a vote that names a label"),
        ({}, [], None, "no row has a vote"),
        ({"weigh": "agreement"}, drawn(np.random.default_rng(1), 400, 0.7), "agreement", None),
        ({"gold": None}, drawn(np.random.default_rng(1), 400, 0.7), "agreement", "0 answered gold rows"),
        ({"weigh": "agreement"}, drawn(np.random.default_rng(1), 400, 0.25), None, "hardly more than by chance"),
        ({"weigh": "agreement"}, often_other(np.random.default_rng(1), 400), None, "labels that are swapped"),
    ],
)
def test_what_cannot_be_learned_counts_one_and_says_why(tmp_path, label, rows, by, why):
    """Gold, else agreement, else one count a vote: then labels are those of the majority and have no probability."""
    of = job(**label)
    if of.label is not None and of.label.gold is None:
        rows = [{**row, "gold": None} for row in rows]
    part = write(tmp_path / "part-0.parquet", rows, of)
    before = pq.read_table(part)
    changed, told = relabel(of, [part], Basis(), corrections={})
    assert told is not None
    assert told.by == by
    assert told.why is None if why is None else why in told.why
    if by is None:
        assert changed == []
        assert pq.read_table(part).equals(before)
    else:
        assert pq.read_table(part)["label_probability"].null_count == 0


def test_only_a_sample_teaches(tmp_path):
    """Rows that people chose to look at are no sample of the others: their labels score, and weigh nothing."""
    of = job(gold=None, review={"audit": 0.5})
    rows = drawn(np.random.default_rng(2), 400, 0.7)
    part = write(tmp_path / "part-0.parquet", rows, of)
    people = frozenset(row["row_id"] for row in rows)
    _, chosen = relabel(of, [part], Basis(people, 0.0), corrections={})
    _, audited = relabel(of, [part], Basis(people, 0.5), corrections={})
    assert chosen is not None
    assert audited is not None
    assert (chosen.by, chosen.gold_rows) == ("agreement", 400)
    assert audited.by == "gold"
    assert 150 < audited.gold_rows_learned_from < 250


def test_a_stronger_model_outvotes_two_weak_votes_and_people_outvote_all(tmp_path):
    """In a cascade each model is a voter of its own; a person's label stays, whatever votes count."""
    rng = np.random.default_rng(7)
    of = job(votes=2, escalate={"model": STRONG})
    rows = []
    for number in range(400):
        gold = NAMES[number % 4]
        said = [gold if rng.random() < 0.4 else NAMES[rng.integers(4)] for _ in range(2)]
        said.append(gold if rng.random() < 0.95 else NAMES[rng.integers(4)])
        rows.append(voted(number, said, gold, models=[CHEAP, CHEAP, STRONG]))
    rows.append(voted(400, ["billing", "billing", "praise"], models=[CHEAP, CHEAP, STRONG]))
    part = write(tmp_path / "part-0.parquet", rows, of)
    _, told = relabel(of, [part], Basis(), corrections={"r3": ("billing",)})
    assert told is not None
    assert [one.model for one in told.voters] == [CHEAP, STRONG]
    assert told.voters[1].accuracy > told.voters[0].accuracy + 0.3
    found = pq.read_table(part).to_pylist()
    assert (found[400]["voted_label"], found[400]["agreement"]) == ("praise", pytest.approx(1 / 3))
    assert found[400]["label_probability"] > 0.8
    assert (found[3]["label"], found[3]["voted_label"]) == ("billing", "other")


def test_orders_fixed_by_vote_make_each_vote_a_voter(tmp_path):
    """With one order for all rows of a vote, a favour for the first place is the vote's own."""
    of = job(order="vote", votes=2)
    rows = [voted(n, [NAMES[n % 4], "billing"], NAMES[n % 4]) for n in range(200)]
    _, told = relabel(of, [write(tmp_path / "part-0.parquet", rows, of)], Basis(), corrections={})
    assert told is not None
    assert [one.vote for one in told.voters] == [0, 1]
    assert told.voters[0].accuracy > 0.95
    assert told.voters[1].accuracy < 0.45
    assert told.right_weighed >= 198


def test_ties_that_go_to_people_stay_ties_only_where_weights_tie(tmp_path):
    """With `ties: review` a tie of votes has a label where one of them counts more."""
    of = job(votes=2, ties="review")
    rng = np.random.default_rng(9)
    rows = []
    for number in range(400):
        gold = ["billing", "other"][number % 2]
        # What is said to be billing is; half of it is called other.
        said = [gold if gold == "other" or rng.random() < 0.5 else "other" for _ in range(2)]
        rows.append(voted(number, said, gold))
    part = write(tmp_path / "part-0.parquet", rows, of)
    ties = sum(one["voted_label"] is None for one in pq.read_table(part).to_pylist())
    _, told = relabel(of, [part], Basis(), corrections={})
    assert told is not None
    assert ties > 50
    assert told.changed >= ties
    assert {one["voted_label"] for one in pq.read_table(part).to_pylist()} == {"billing", "other"}


def test_weighing_again_changes_nothing_and_none_takes_it_back(tmp_path):
    """The same rows give the same labels, and the part is not written; without weights it is as it was."""
    of = job(multi=True)
    rows = [
        voted(
            row, [[one] if (row + n) % 5 else [] for n, one in enumerate(said["votes"][0].labels * 3)], [said["gold"]]
        )
        for row, said in enumerate(drawn(np.random.default_rng(6), 200, 0.8))
    ]
    part = write(tmp_path / "part-0.parquet", rows, of)
    before = pq.read_table(part)
    changed, told = relabel(of, [part], Basis(), corrections={})
    assert changed == [part]
    assert relabel(of, [part], Basis(), corrections={}) == ([], told)
    shares = pq.read_table(part)["label_probabilities"].to_pylist()
    labels = pq.read_table(part)["voted_label"].to_pylist()
    for each, chosen in zip(shares, labels, strict=True):
        assert {one["label"] for one in each if one["probability"] > 0.5} == set(chosen)
    _, nothing = relabel(job(multi=True, weigh="none"), [part], Basis(), corrections={})
    assert nothing is None
    assert pq.read_table(part).equals(before)
