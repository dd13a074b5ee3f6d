"""An answer's text becomes one value, the only complete one in it, repaired only where that cannot change its meaning."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.json_text import JsonTextError
from rowmill.tasks.answers.parser import parse_answer
from rowmill.tasks.answers.validator import Accepted, Validator
from tests.clocks import A_MOMENT_S

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


WILD = Path(__file__).parents[1] / "data" / "wild" / "answers.jsonl"
CASES = [json.loads(line) for line in WILD.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_answers_as_models_write_them(case):
    """Each answer of the corpus is taken with the value it tells, or not at all."""
    expect = case["expect"]
    verdict = Validator(case["schema"]).judge(case["answer"])
    allowed = {expect["status"], expect.get("or")}
    assert isinstance(verdict, Accepted) == ("ok" in allowed) or len(allowed - {None}) > 1
    if isinstance(verdict, Accepted) and expect.get("value") is not None:
        assert json.loads(verdict.text) == expect["value"]


FRAGMENTS = [
    '[{"a": 1}, {"a": 2',
    'For example {"a": 1}. The answer: {"a": 2, "b": "x',
    "For example {\"a\": 1}. The answer: {'a': 2}",
    'For example {"a": 1}. The answer: {a: 2}',
    'For example [1, 2]. The answer: [1, 3',
    '```json\n{"a": 1}\n```\nThat was the form. The answer: {"a": 2',
    '```json\n{"a": 1}\n```\nor rather {"a": 2}',
    'First {"a": 0}\n```json\n{"a": 1}\n```',
    '<think>perhaps {"a": 1} or',
    'Well. <think>perhaps {"a": 1} or',
    '<think>x</think> <thinking>perhaps {"a": 1}',
    'so {"a": 1} perhaps</think> I do not know',
    '```json\n{"a": 1}\n```\n<think>or is it',
    '{"a": 1}\n{"a": 2}',
    '{"a": 1} /* but then {"a": 2',
    'The list: [{"a": 1}',
    '{"list": [{"a": 1}, {"a": 2}',
    '["x", {"a": 1}',
    '[12, {"a": 1}',
]  # fmt: skip


@pytest.mark.parametrize("text", FRAGMENTS)
def test_a_fragment_is_never_taken_for_the_answer(text):
    """The first item of a cut list, an example, a draft: none is an answer where another begins or may follow."""
    with pytest.raises(JsonTextError):
        parse_answer(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('I chose {city} as told [sic], see [a link](https://x): {"a": 1}', {"a": 1}),
        ('Here:\n```json\n{"a": "```x```"}\n```', {"a": "```x```"}),
        ('```json {"a": 1}```', {"a": 1}),
        ('```\n{"a": 1,}\n```\nAnything else {today}?', {"a": 1}),
        ('<think>{"a": 0}</think><think>[</think>{"a": 1}', {"a": 1}),
        ('reasoning without braces</think>\n{"a": 1}', {"a": 1}),
        ('{"a": "<think>", "b": "{"}', {"a": "<think>", "b": "{"}),
        ('<answer>{"a": "<think>"}</answer>', {"a": "<think>"}),
        ('```json\r\n[1, 2]\r\n```', [1, 2]),
    ],
)  # fmt: skip
def test_one_value_is_found_in_what_surrounds_it(text, value):
    """Braces of prose, fences and think blocks around exactly one value do not hide it."""
    assert parse_answer(text).value == value


def test_a_key_that_stands_twice_is_asked_again_unless_its_values_are_the_same():
    """Of two different values one would be dropped: the model is told the key. Equal ones lose nothing."""
    validator = Validator({"type": "object"})
    for text in (
        '{"v": "first", "v": "second"}', '{"a": [{"v": 1, "v": 2}]}', '{"v": 1, "v": 1.0}', '{"v": 1, "v": true}',
        '{"v": "1", "v": 1}', '{"v": {"x": 1}, "v": {"x": 2}}', '{"v": null, "v": {}}', 'So: {"v": 1, "v": 2}',
        '```json\n{"v": 1, "v": 2,}\n```', '{"a\\u0062": 1, "ab": 2}',
    ):  # fmt: skip
        verdict = validator.judge(text)
        assert not isinstance(verdict, Accepted), text
        assert "stands twice with different values" in verdict.message
    for text in ('{"v": 1, "v": 1}', '{"v": {"x": [1, "a"], "y": 0}, "v": {"y": 0, "x": [1, "a"]}}', '{"a": "\\": b", "c": "\\" :"}'):  # fmt: skip
        assert isinstance(validator.judge(text), Accepted), text
    assert not isinstance(validator.judge('{"\\ud83d": 1, "\\ud83e": 2}'), Accepted)


def test_a_number_is_kept_as_it_was_written_or_asked_again():
    """A number of more digits than a double tells again is no answer; what a double tells again is."""
    validator = Validator({"type": "object"})
    for number in ("1234567890123.123456789", "3.14159265358979323846", "1e-400", "0.1000000000000000055"):
        verdict = validator.judge(f'{{"v": {number}}}')
        assert not isinstance(verdict, Accepted), number
        assert "more digits" in verdict.message
    for number in ("0.1", "0.30000000000000004", "1.50000000000000000000", "123456789012345678901234567890", "1e300", "-0.0"):  # fmt: skip
        assert isinstance(validator.judge(f'{{"v": {number}}}'), Accepted), number


@given(st.recursive(st.integers() | st.text(max_size=5) | st.none(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)))  # fmt: skip
def test_no_value_is_taken_to_have_a_key_twice(value):
    """What JSON writers write is never refused for its keys."""
    assert parse_answer(json.dumps(value)).value == value


@pytest.mark.parametrize("text", ["[" * 1_000_000, '{"a":' * 200_000, "[" * 500_000 + "]" * 500_000, '{"a":' * 200_000 + "1" + "}" * 200_000, "x " + "[" * 5_000 + "]" * 5_000], ids=len)  # fmt: skip
def test_deep_nesting_is_a_plain_reason(text):
    """An answer nested without end is rejected in words, never by a recursion error."""
    verdict = Validator({"type": ["array", "object"]}).judge(text)
    assert not isinstance(verdict, Accepted)
    assert verdict.message


TOKENS = ["{", "[", "}", "]", '"', ",", ":", " ", "\n", "```", "```json\n", "<think>", "</think>", "//", "/*", "*/", "\\", "a", "1", "{a", "[1,", '{"', '":', "{ ", "- "]  # fmt: skip


@given(st.sampled_from(["", '{"a": ', "x ", "```json\n"]), st.lists(st.sampled_from(TOKENS), min_size=1, max_size=3))
def test_time_grows_no_faster_than_the_text(before, tokens):
    """Sixteen times the text takes some sixteen times as long, whatever is repeated; a quadratic step takes 256 times."""
    piece = "".join(tokens)

    def seconds(chars: int) -> float:
        text = before + piece * (chars // len(piece))
        started = time.process_time()
        with contextlib.suppress(JsonTextError):
            parse_answer(text)
        return time.process_time() - started

    small = min(seconds(2_000) for _ in range(3))
    large = min(seconds(32_000) for _ in range(2))
    assert large < 100 * small + 0.05


@pytest.mark.parametrize("text", ["```json" + " " * 500_000, '{"a"' + " " * 500_000, "<think>" * 50_000, '"' * 500_000])
def test_what_once_froze_the_loop_is_over_at_once(text):
    """A fence before half a million blanks took minutes."""
    started = time.process_time()
    with pytest.raises(JsonTextError):
        parse_answer(text)
    assert time.process_time() - started < A_MOMENT_S
