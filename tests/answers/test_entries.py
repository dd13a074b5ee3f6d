"""The answer of a call for several rows is read entry by entry, each as it was told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.attempt import FailureKind
from rowmill.schemas.json_text import JsonTextError
from rowmill.tasks.answers.entries import read_entries

TOKENS = ["bbbbbb", "cccccc", "dddddd", "ffffff"]
MISSING, MISPLACED = FailureKind.MISSING_ENTRY, FailureKind.MISPLACED_ENTRY


def answer(*tokens: str) -> str:
    return json.dumps({"rows": [{"row": token, "answer": {"of": token}} for token in tokens]})


def wrongs(text: str) -> list[FailureKind | None]:
    return [entry.kind if entry.wrong else None for entry in read_entries(text, TOKENS).each]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("bcdf", [None, None, None, None]),
        ("bdf", [None, MISSING, None, None]),
        ("bccdf", [None, MISPLACED, None, None]),
        ("cbdf", [MISPLACED, MISPLACED, None, None]),
        ("bcdfx", [None, None, None, None]),
        ("fbcd", [MISPLACED] * 4),
        ("xb", [None, MISSING, MISSING, MISSING]),
    ],
)
def test_an_entry_stands_where_its_row_did(order: str, expected: list[FailureKind | None]) -> None:
    """Missing, doubled and moved rows are found; the others stand."""
    assert wrongs(answer(*(sign * 6 for sign in order))) == expected


@given(st.permutations(range(4)), st.data())
def test_an_entry_that_stands_is_the_rows_own(order: list[int], data: st.DataObject) -> None:
    """Whatever is moved, dropped or doubled: an entry that is taken bears the row's own token and stands in order."""
    kept = [place for place in order if data.draw(st.booleans())] or [0]
    found = read_entries(answer(*(TOKENS[place] for place in kept)), TOKENS).each
    for place, entry in enumerate(found):
        if entry.wrong is None:
            assert json.loads(entry.text) == {"of": TOKENS[place]}
            at = kept.index(place)
            assert all(before < place for before in kept[:at])
            assert all(behind > place for behind in kept[at + 1 :])


def test_numbers_and_keys_of_an_entry_are_not_touched() -> None:
    """An entry's text is as it was written: it is judged with the same care as an answer of its own."""
    told = '{"a": 12345678901234567890.12, "a": 2, "b" : [1 ,2]}'
    found = read_entries(f'{{"rows": [{{"row": "bbbbbb", "answer": {told}}}]}}', TOKENS).each[0]
    assert found.text == told


@pytest.mark.parametrize(
    "entry",
    [
        '{"row": "bbbbbb", "answer": 1, "answer": 2}',
        '{"row": "cccccc", "row": "bbbbbb", "answer": 1}',
        '{"row": "bbbbbb", "answer": 1, "note": "x"}',
        '{"row": "bbbbbb"}',
        '{"row": "bbbbbb", "answer": 1, "\\u0061nswer": 2}',
    ],
)
def test_an_entry_of_another_form_is_its_rows_failure(entry: str) -> None:
    """Nothing of an entry is dropped: one that says more, or twice, is asked again."""
    found = read_entries(f'{{"rows": [{entry}, {{"row": "cccccc", "answer": 1}}]}}', ["bbbbbb", "cccccc"]).each
    assert found[0].wrong is not None
    assert found[0].kind is FailureKind.SCHEMA_VIOLATION
    assert found[1].wrong is None or "twice" in found[1].wrong


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "{}",
        "[]",
        '{"rows": {}}',
        '{"rows": [], "rows": [{"row": "bbbbbb", "answer": 1}]}',
        '{"rows": [{"row": "zzzzzz", "answer": 1}]}',
        '{"rows": [{"row": "bbbbbb", "answer": 1}], "more": 1}',
        '{"rows": [{"row": "bbbbbb", "answer": 1}, {"row": "cccccc", "ans',
        '{"rows": [1, null, "bbbbbb", [], {"row": 7}]}',
        '{"rows": [{"row": "bbbbbb", "answer": 1}]} {"rows": [{"row": "bbbbbb", "answer": 2}]}',
    ],
)
def test_an_answer_that_is_no_list_of_entries_is_nobodys(text: str) -> None:
    """A cut list, two of them, or one that names no row of the call brings nothing to any row."""
    with pytest.raises(JsonTextError):
        read_entries(text, TOKENS)


@pytest.mark.parametrize(
    ("around", "repair"),
    [("{}", None), ("```json\n{}\n```", "code fence"), ("<think>hm</think>{}", "think block")],
)
def test_slips_around_the_whole_are_mended(around: str, repair: str | None) -> None:
    """What is mended in an answer of one row is mended here."""
    found = read_entries(around.replace("{}", answer(*TOKENS)), TOKENS)
    assert (found.repair, [entry.wrong for entry in found.each]) == (repair, [None] * 4)


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers(), lambda inner: st.lists(inner), max_leaves=8))
def test_any_value_is_a_list_of_entries_or_is_refused(value: Any) -> None:
    """Nothing that a model may say breaks the reading."""
    for told in (value, {"rows": value}, {"rows": [{"row": "bbbbbb", "answer": value}]}):
        try:
            read_entries(json.dumps(told), TOKENS)
        except JsonTextError:
            continue
