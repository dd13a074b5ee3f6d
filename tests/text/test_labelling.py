"""Labels of a run as people read them."""

from __future__ import annotations

import msgspec
import pytest

from rowmill.flows.text.labelling import label_lines, label_pairs, label_tables
from rowmill.schemas.manifest import Manifest

# As the first version wrote it: no basis, no audit, no people, no order of labels.
OLD = {
    "corrections": 2, "review": 1, "rows": 10, "labels": {"a": 6, "b": 4}, "rows_without_label": 0, "votes": 20,
    "votes_a_row": 2.0,
    "agreement": {"mean": 0.9, "votes_compared": 2, "krippendorff_alpha": None, "fleiss_kappa": 0.5},
    "gold": {
        "rows": 5, "right": 4, "accuracy": 0.8, "low": 0.376, "high": 0.964, "cohen_kappa": 0.6, "macro_f1": 0.8,
        "labels": [{"label": "a", "gold_rows": 5, "labelled_rows": 6, "precision": 0.8, "recall": 0.8, "f1": 0.8}],
        "confusion": [{"gold": "a", "label": None, "rows": 1}, {"gold": "a", "label": "a", "rows": 4}],
        "calibration": [{"agreement": 1.0, "rows": 5, "right": 4, "accuracy": 0.8}],
    },
    "escalation": None,
}  # fmt: skip


def test_labels_of_an_older_version_are_told():
    """What it did not write is not told, and what it wrote is."""
    quality = msgspec.convert({"label": {**OLD, "of_a_newer_version": 1}}, Manifest).label
    assert quality is not None
    told = "\n".join(label_lines(quality))
    assert "against gold: 4 of 5 correct (80.0%, 95 % interval 37.6% to 96.4%), Cohen's κ 0.60" in told
    assert "votes: 20, 2.00 per row, agreement 90.0%" in told
    assert ("accuracy", "80.0%") in label_pairs(quality)
    assert [title for title, _, _ in label_tables(quality)] == [
        "By label", "Confusion matrix: gold down, labelled across", "Calibration: accuracy by agreement",
    ]  # fmt: skip


@pytest.mark.parametrize("section", [{}, {"gold": {}, "escalation": {}, "people": {}, "position": {}, "audit": {}}])
def test_what_is_missing_of_a_section_is_never_a_traceback(section):
    """Every key has a default that can be told."""
    quality = msgspec.convert({"label": section}, Manifest).label
    assert quality is not None
    assert label_lines(quality)[0] == "labels: "
    assert label_pairs(quality)
    assert label_tables(quality)
