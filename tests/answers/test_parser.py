"""An answer's text becomes one value, repaired only where that cannot change its meaning."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.json_text import JsonTextError
from rowmill.tasks.answers.parser import parse_answer

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab{}[],:\"'/", max_size=4), inner, max_size=4),
    max_leaves=12,
)
containers = st.lists(json_values, max_size=4) | st.dictionaries(st.text("abc", max_size=3), json_values, max_size=4)


@given(json_values)
def test_valid_json_is_taken_as_it_is(value):
    """A valid answer needs no mending, whatever it holds."""
    parsed = parse_answer(json.dumps(value, ensure_ascii=False))
    assert parsed.value == value
    assert parsed.repair is None


@given(containers)
def test_mends_never_change_the_value(value):
    """A fence, a byte order mark, a think block and prose around it leave the value as it was."""
    text = json.dumps(value)
    for wrapped, told in (
        (f"```json\n{text}\n```", "code fence"),
        (f"\ufeff{text}", "byte order mark"),
        (f"<think>maybe {{1}}</think>\n{text}", "think block"),
        (f"Sure, here it is: {text}", "prose around the value"),
    ):
        parsed = parse_answer(wrapped)
        assert parsed.value == value
        assert told in (parsed.repair or "")


@pytest.mark.parametrize(
    ("text", "value", "repair"),
    [
        ('{"a": [1, 2,], }', {"a": [1, 2]}, "trailing comma"),
        ('{"a": 1 // one\n, "b": /* two */ 2}', {"a": 1, "b": 2}, "comments"),
        ('{"a": "x\ny"}', {"a": "x\ny"}, "control characters"),
        ('{"url": "http://x//y", "c": ",]"}', {"url": "http://x//y", "c": ",]"}, None),
        ('{"a": "\\ud83d"}', {"a": "\ufffd"}, None),
        ('{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}, None),
    ],
)
def test_slips_are_mended_and_named(text, value, repair):
    """Trailing commas, comments and raw control characters are mended, outside strings only, and it is said."""
    parsed = parse_answer(text)
    assert parsed.value == value
    assert parsed.repair == repair


@pytest.mark.parametrize(
    "text",
    ['{"a": 1', "[1, 2", '{"a": 1} {"a": 2}', "[,]", "{'a': 1}", "no value", "", '{"a": NaN}', "[" * 100_000, "{" * 9_000],
)  # fmt: skip
def test_what_would_need_a_guess_is_refused(text):
    """A cut answer, two values, single quotes, NaN: none is repaired by inventing."""
    with pytest.raises(JsonTextError):
        parse_answer(text)
