"""Vote model: the truth of simulations is recovered, and a published example."""

from __future__ import annotations

import numpy as np
import pytest

from rowmill.tasks.labelling.vote_model import VoteModel, from_agreement, from_gold

# Half of what is of the second label is called the first: a majority repeats that mistake.
ASYMMETRIC = np.array([[0.94, 0.06], [0.425, 0.575]])
FOUR = np.array([
    [0.97, 0.01, 0.01, 0.01], [0.03, 0.8, 0.02, 0.15], [0.01, 0.01, 0.45, 0.53], [0.01, 0.01, 0.01, 0.97],
])  # fmt: skip
# Dawid and Skene 1979, table 1: 45 patients, seen three times by the first of five anaesthetists. Classes 1 to 4.
PATIENTS = [
    "1111111",
    "3334334",
    "1122122",
    "2223121",
    "2223222",
    "2223322",
    "1222111",
    "3333433",
    "2222223",
    "2322223",
    "4444444",
    "2223343",
    "1111111",
    "2223212",
    "1211111",
    "1112111",
    "1111111",
    "1111111",
    "2222221",
    "2221322",
    "2222222",
    "2222221",
    "2223222",
    "2212222",
    "1111111",
    "1111111",
    "2322222",
    "1111111",
    "1111111",
    "1121121",
    "1111111",
    "3333233",
    "1111111",
    "2222222",
    "2223232",
    "4334343",
    "2212232",
    "2323233",
    "3333432",
    "1111111",
    "1111111",
    "1212111",
    "2322222",
    "1211111",
    "2222222",
]
SEEN_BY = [0, 0, 0, 1, 2, 3, 4]


def drawn(rng, confusion, shares, rows, votes, alike=0.0):
    """True labels, and votes of which a share of rows has the same ones again and again."""
    truth = rng.choice(len(shares), rows, p=shares)
    chance = rng.random((rows, votes))
    same = rng.random(rows) < alike
    chance[same] = chance[same][:, :1]
    said = (chance[:, :, None] > confusion.cumsum(1)[truth][:, None, :]).sum(2).astype(np.int32)
    return truth, said


def majority(said, labels):
    counts = np.stack([(said == label).sum(1) for label in range(labels)], axis=1)
    leading = counts == counts.max(1, keepdims=True)
    return np.array([next(one for one in row if leading[at, one]) for at, row in enumerate(said)])


def kinds(cells):
    found, rows = np.unique(np.sort(cells, axis=1), axis=0, return_counts=True)
    return found, rows


def learned(truth, said, every, labels):
    firsts, rows = kinds(every[:, :1])
    return from_gold(np.sort(said, axis=1), truth, firsts, rows=rows, labels=labels, voters=1)


def test_asymmetric_noise_is_undone_where_a_majority_is_not():
    """Three votes of one model: .79 by majority, .88 by what 400 gold rows show, as good as with the true confusion."""
    rng = np.random.default_rng(21)
    truth, said = drawn(rng, ASYMMETRIC, [0.5, 0.5], 20_000, 3)
    gold, other = slice(0, 400), slice(400, None)
    model = learned(truth[gold], said[gold], said, 2)
    weighed = (model.posterior(said[other]).argmax(1) == truth[other]).mean()
    true = VoteModel(np.array([0.5, 0.5]), ASYMMETRIC[None])
    best = (true.posterior(said[other]).argmax(1) == truth[other]).mean()
    assert (majority(said, 2)[other] == truth[other]).mean() == pytest.approx(0.792, abs=0.01)
    assert weighed == pytest.approx(0.877, abs=0.01)
    assert weighed >= best - 0.005


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.9])
def test_probabilities_are_held_by_rows_that_were_not_learned_from(alike):
    """Also where votes repeat one another's mistakes, and labels are of other shares than among the gold rows."""
    rng = np.random.default_rng(4)
    truth, said = drawn(rng, FOUR, [0.4, 0.2, 0.1, 0.3], 20_000, 3, alike)
    gold_truth, gold_said = drawn(rng, FOUR, [0.25] * 4, 800, 3, alike)
    firsts, rows = kinds(said[:, :1])
    model = from_gold(np.sort(gold_said, axis=1), gold_truth, firsts, rows=rows, labels=4, voters=1)
    post = model.posterior(said)
    right = post.argmax(1) == truth
    assert post.max(1).mean() == pytest.approx(right.mean(), abs=0.04)
    assert right.mean() >= (majority(said, 4) == truth).mean() + (0.01 if alike < 0.9 else 0.0)
    assert model.sharpness > 0.8 if not alike else model.sharpness < 0.8
    assert model.prior == pytest.approx([0.4, 0.2, 0.1, 0.3], abs=0.06)


def test_few_gold_rows_of_a_fair_voter_leave_the_majority_as_it_is():
    """Without a sign that labels are mistaken unlike, what is common to all of them counts: no label is moved."""
    rng = np.random.default_rng(8)
    fair = np.full((6, 6), 0.05) + np.eye(6) * 0.7
    truth, said = drawn(rng, fair, [1 / 6] * 6, 5_000, 5)
    model = learned(truth[:40], said[:40], said, 6)
    unequal = model.posterior(said).argmax(1) != majority(said, 6)
    # Ties go to the first vote, or to the likelier label.
    counts = np.sort(np.stack([(said == label).sum(1) for label in range(6)], axis=1), axis=1)
    assert unequal[counts[:, -1] > counts[:, -2]].mean() < 0.01


def test_the_published_example_of_dawid_and_skene_is_reached():
    """Shares of the classes, and the error rates of the first observer, as in their paper."""
    cells = np.array([[4 * who + int(one) - 1 for who, one in zip(SEEN_BY, row, strict=True)] for row in PATIENTS])
    model, post = from_agreement(cells.astype(np.int32), np.ones(45, np.int64), 4, voters=5, strength=0)
    assert model.prior == pytest.approx([0.40, 0.42, 0.11, 0.07], abs=0.005)
    rates = [[0.89, 0.11, 0, 0], [0.07, 0.88, 0.05, 0], [0, 0.34, 0.66, 0], [0, 0, 0.56, 0.44]]
    assert model.confusion[0] == pytest.approx(np.array(rates), abs=0.005)
    assert post[[1, 2, 3, 10]].argmax(1).tolist() == [3, 1, 1, 3]


def test_agreement_alone_tells_good_voters_from_bad_ones():
    """Three voters who are right in half of the rows do not outvote one who is right in nine of ten."""
    rng = np.random.default_rng(5)
    rates = [0.5, 0.5, 0.5, 0.9]
    truth = rng.choice(3, 6_000)
    said = np.stack([
        np.where(rng.random(6_000) < rate, truth, (truth + rng.integers(1, 3, 6_000)) % 3) for rate in rates
    ], axis=1).astype(np.int32)  # fmt: skip
    patterns, rows = kinds(said + 3 * np.arange(4, dtype=np.int32))
    model, _ = from_agreement(patterns, rows, 3, voters=4)
    assert [model.accuracy(voter) for voter in range(4)] == pytest.approx(rates, abs=0.03)
    weighed = (model.posterior(said + 3 * np.arange(4, dtype=np.int32)).argmax(1) == truth).mean()
    assert weighed > (majority(said, 3) == truth).mean() + 0.05


def test_a_row_without_votes_has_the_shares_of_the_labels():
    """No vote says nothing."""
    model = VoteModel(np.array([0.7, 0.3]), ASYMMETRIC[None])
    assert model.posterior(np.array([[2, 2]], np.int32))[0] == pytest.approx([0.7, 0.3])
