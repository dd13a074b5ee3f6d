"""Scores: the formulas, held against the libraries that are known for them."""

from __future__ import annotations

import warnings

import krippendorff
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.metrics import cohen_kappa_score, precision_recall_fscore_support
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.inter_rater import fleiss_kappa as their_fleiss
from statsmodels.stats.proportion import proportion_confint

from rowmill.schemas.label import Label
from rowmill.tasks.labelling.gold_scores import against_gold
from rowmill.tasks.labelling.scores import cohen_kappa, fleiss_kappa, krippendorff_alpha, mcnemar, retrieval, wilson

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


def confusion(rows: list[tuple[int, int]]) -> np.ndarray:
    matrix = np.zeros((4, 4), np.int64)
    for gold, said in rows:
        matrix[gold, said] += 1
    return matrix


@given(pairs)
def test_cohens_kappa_is_that_of_scikit_learn(rows):
    """The same number for any two raters; none where both said one label everywhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = cohen_kappa_score([gold for gold, _ in rows], [said for _, said in rows])
    ours = cohen_kappa(confusion(rows))
    assert (ours is None) == bool(np.isnan(theirs))
    assert ours is None or ours == pytest.approx(theirs)


@given(pairs)
def test_precision_recall_and_f1_are_those_of_scikit_learn(rows):
    """Label by label; what is not defined is None where they say 0."""
    gold, said = [one for one, _ in rows], [one for _, one in rows]
    theirs = precision_recall_fscore_support(gold, said, labels=[0, 1, 2, 3], zero_division=0.0)
    for name in range(4):
        right = sum(a == b == name for a, b in rows)
        ours = retrieval(right, said.count(name), gold.count(name))
        for ours_one, theirs_one in zip(
            (ours.precision, ours.recall, ours.f1), (each[name] for each in theirs[:3]), strict=True
        ):
            assert (ours_one or 0.0) == pytest.approx(theirs_one)


@given(st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=2, max_size=40))
def test_fleiss_kappa_is_that_of_statsmodels(said):
    """The same number for three votes a row."""
    counts = np.array([[row.count(name) for name in range(3)] for row in said], np.int64)
    ours = fleiss_kappa(counts, np.ones(len(said), np.int64))
    if ours is None:
        assert len({name for row in said for name in row}) == 1
        return
    assert ours == pytest.approx(their_fleiss(counts))


@given(st.lists(st.lists(st.sampled_from([0, 1, 2, None]), min_size=4, max_size=4), min_size=2, max_size=40))
def test_krippendorffs_alpha_is_that_of_the_krippendorff_library(said):
    """The same number for nominal labels with votes missing, and for rows counted together."""
    counts = np.array([[row.count(name) for name in range(3)] for row in said], np.int64)
    kinds, weights = np.unique(counts, axis=0, return_counts=True)
    ours = krippendorff_alpha(kinds, weights.astype(np.int64))
    paired = counts[counts.sum(1) >= 2]
    if not len(paired) or (paired.sum(0) > 0).sum() < 2:
        assert ours is None
        return
    assert ours == pytest.approx(krippendorff.alpha(value_counts=paired, level_of_measurement="nominal"))


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_interval_of_a_share_is_wilsons(right, wrong):
    """The same interval as statsmodels, the share in it; of nothing, anything."""
    if right + wrong == 0:
        assert wilson(0, 0) == (0.0, 1.0)
        return
    low, high = wilson(right, right + wrong)
    assert (low, high) == pytest.approx(proportion_confint(right, right + wrong, method="wilson"))
    assert low <= right / (right + wrong) <= high


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemars_test_is_exact(only_a, only_b):
    """The same p as statsmodels' exact test."""
    theirs = their_mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue if only_a + only_b else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(theirs)


@pytest.mark.parametrize(("only_a", "only_b"), [(900, 700), (5_000, 5_200), (700, 720)])
def test_mcnemars_test_of_many_rows_is_by_chi_squared(only_a, only_b):
    """The same p as statsmodels' test with the continuity correction."""
    theirs = their_mcnemar([[0, only_a], [only_b, 0]], exact=False, correction=True).pvalue
    assert mcnemar(only_a, only_b) == pytest.approx(min(1.0, theirs), rel=1e-3)


@given(st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.sets(st.sampled_from("abc"))), min_size=1, max_size=30))
def test_scores_of_several_labels_are_those_of_scikit_learn(rows):
    """Jaccard, micro and macro F1 and the share of whole sets of a multi-label job are what scikit-learn computes."""
    label = Label.model_validate({"labels": list("abc"), "multi": True})
    said = [(sorted(gold), sorted(voted)) for gold, voted in rows]
    frame = pl.LazyFrame({
        "gold": [gold for gold, _ in said], "voted_label": [voted for _, voted in said],
        "agreement": [1.0] * len(said), "correct": [gold == voted for gold, voted in said],
    }, schema={"gold": pl.List(pl.String), "voted_label": pl.List(pl.String), "agreement": pl.Float64,
               "correct": pl.Boolean})  # fmt: skip
    told = against_gold(frame, label)
    assert told is not None
    truth, voted = ([[name in one[at] for name in "abc"] for one in rows] for at in (0, 1))
    assert told.jaccard == pytest.approx(metrics.jaccard_score(truth, voted, average="samples", zero_division=1))
    assert told.accuracy == pytest.approx(metrics.accuracy_score(truth, voted))
    if told.micro_f1 is not None:
        assert told.micro_f1 == pytest.approx(metrics.f1_score(truth, voted, average="micro", zero_division=0))


def test_right_at_the_parent():
    """A label taken for another one below the same parent is right there; one without a parent is its own."""
    names = ["bill/refund", "bill/sum", "ship/late", "other"]
    label = Label.model_validate({"labels": names, "hierarchy": "/"})
    gold = ["bill/refund", "bill/refund", "ship/late", "other", "other"]
    said = ["bill/refund", "bill/sum", "bill/sum", "other", None]
    frame = pl.LazyFrame({"gold": gold, "voted_label": said, "agreement": [1.0] * 5,
                          "correct": [one == other for one, other in zip(gold, said, strict=True)]})  # fmt: skip
    told = against_gold(frame, label)
    assert told is not None
    assert (told.right, told.at_parent.right, told.at_parent.rows) == (2, 3, 5)
