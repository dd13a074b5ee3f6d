"""Evidence figures: the values that are shown beside their quotes."""

from __future__ import annotations

import pytest

from rowmill.tasks.report.evidence_figures import shown_value

OUTPUT = {
    "a/b": {"~c": 5}, "lines": [[{"n": "x"}], [None, True]], "prices": [{"key": "0", "value": 1.5}],
    "tree": '{"left": {"name": "é"}}', "_extra": '{"more": [1, 2]}', "word": "5",
}  # fmt: skip


@pytest.mark.parametrize(
    ("pointer", "shown"),
    [
        ("/a~1b/~0c", "5"), ("/lines/0/0/n", "x"), ("/lines/1/1", "true"), ("/lines/1/0", ""), ("/prices/0", "1.5"), ("/lines/9", ""),
        ("/tree/left/name", "é"), ("/more/1", "2"), ("/word", "5"), ("/word/0", ""), ("/gone", ""), ("/tree/left", '{"name": "é"}'),
    ],
)  # fmt: skip
def test_the_value_of_a_field_is_shown_whatever_its_column_holds(pointer, shown):
    """Objects, lists of lists, maps as pairs, JSON text, and what the schema does not name."""
    assert shown_value(OUTPUT, pointer) == shown


def test_the_whole_answer_may_be_the_value():
    """The empty pointer leads to it."""
    assert shown_value("all of it", "") == "all of it"
