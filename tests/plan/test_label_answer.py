"""Label answers: what a model says in other words is read where it can mean one label alone, and never guessed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from rowmill.schemas.job import Job
from rowmill.schemas.label import Label
from rowmill.tasks.answers.validator import Accepted, Validator
from rowmill.tasks.plan.label_answer import validator_of
from rowmill.tasks.plan.label_match import LabelMatcher
from rowmill.tasks.plan.label_prompt import as_asked, labels_in

WILD = Path(__file__).resolve().parent.parent / "data" / "wild" / "labels.jsonl"
CASES = [json.loads(line) for line in WILD.read_text(encoding="utf-8").splitlines()]


def judge(names: Sequence[str], answer: str, *, multi: bool = False, **label: Any) -> Accepted | None:
    told = as_asked(
        Job.model_validate(
            {"model": "m", "input": "i", "output": "o", "prompt": "{{ t }}",
             "label": {"labels": list(names), "multi": multi, **label}}
        )
    )  # fmt: skip
    verdict = validator_of(told).judge(answer)
    if not isinstance(verdict, Accepted):
        return None
    # What is repaired meets the schema that the answer broke.
    assert isinstance(Validator(told.output_schema).judge(verdict.text), Accepted)
    return verdict


def said(names: Sequence[str], answer: str, *, multi: bool = False) -> list[str] | str | None:
    verdict = judge(names, answer, multi=multi)
    if verdict is None:
        return None
    labels = labels_in(verdict.text, Label.model_validate({"labels": list(names), "multi": multi}))
    return list(labels) if multi else labels[0]


@pytest.mark.parametrize("case", CASES, ids=[f"{n} {case['note']}" for n, case in enumerate(CASES)])
def test_answers_of_the_corpus_are_read_as_they_are_meant(case):
    """Each answer gives its label, or none; where it is not the answer that was asked for, `repair` says so."""
    assert said(case["labels"], case["answer"], multi=case["multi"]) == case["expect_label"]
    verdict = judge(case["labels"], case["answer"], multi=case["multi"])
    key = "labels" if case["multi"] else "label"
    if verdict is not None:
        assert (verdict.repair is None) == (case["answer"].strip() == json.dumps({key: case["expect_label"]}))


# Words that stand in each other, begin each other, and differ only in case or by a sign.
PIECES = ["art", "part", "cart", "party", "very", "not", "spam", "Spam", "SPAM", "US", "us", "A", "a", "1", "10", "ß",
          "ss", "Maße", "Masse", "New York", "York", "C", "C++", "C#", "no", "other", "日本", "日本人", "é", "e"]  # fmt: skip
names_of = st.lists(
    st.one_of(
        st.sampled_from(PIECES),
        st.tuples(st.sampled_from(PIECES), st.sampled_from([" ", ", ", "-", "/", ""]), st.sampled_from(PIECES)).map("".join),
        st.tuples(st.sampled_from(PIECES), st.sampled_from(".!;:?")).map("".join),
        st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=6),
    ),
    min_size=3,
    max_size=7,
    unique=True,
)  # fmt: skip
MANGLES = [
    lambda name: name, str.upper, str.lower, str.title, lambda name: f" {name}\n", lambda name: f"{name}.",
    lambda name: f"**{name}**", lambda name: f"'{name}'", lambda name: f"“{name}”", lambda name: f"`{name}`.",
    lambda name: f"({name})", lambda name: f'"{name.lower()}",', lambda name: f"_{name.upper()}_!",
]  # fmt: skip
WRAPS = [
    lambda text: json.dumps({"label": text}), lambda text: json.dumps([text]), lambda text: json.dumps({"Label": [text]}),
    lambda text: text, lambda text: f"Label: {text}", lambda text: f"**Answer:** {text}",
    lambda text: json.dumps({"label": text, "confidence": 1}), lambda text: f"```\n{text}\n```",
]  # fmt: skip
SENTENCES = [
    "This row is about {}, since the parcel came late.", "The label is {}.", "I would choose {} here.",
    "{}\n\nThe writer says so in the first line.", "The best answer: {}", "Label: {}\nThe text says it in plain words.",
]  # fmt: skip


def is_alike(one: str, other: str) -> bool:
    """Whether two texts are one but for case and signs: a reading that is much wider than ours."""
    return "".join(filter(str.isalnum, one.casefold())) == "".join(filter(str.isalnum, other.casefold()))


@given(names_of, st.data())
def test_a_repaired_label_is_never_another_one(names, data):
    """Whatever the label set, a label in other case, quotes or wrapping is read as itself or not at all."""
    name = data.draw(st.sampled_from(names))
    answer = data.draw(st.sampled_from(WRAPS))(data.draw(st.sampled_from(MANGLES))(name))
    found = said(names, answer)
    assume(found is not None)
    assert found == name or is_alike(found, name)
    if not any(other != name and is_alike(other, name) for other in names):
        assert found == name


@given(names_of, st.from_regex(r"[a-z]{2,8}", fullmatch=True), st.data())
def test_an_unambiguous_label_is_always_read(names, name, data):
    """Where no other label is like it, or a sign that answers are wrapped in, each of these forms gives the label: it is
    not paid for twice.
    """
    names = [name, *(other for other in names if not is_alike(other, name) and any(map(str.isalnum, other)))]
    assume(len(names) > 1)
    assert said(names, data.draw(st.sampled_from(WRAPS))(data.draw(st.sampled_from(MANGLES))(name))) == name


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("Label: very positive", None),
        ("Label: positive cart.", None),
        ("The label: very positive", None),
        ("Label: positive, negative", None),
        ("Label: positive (praise)", "positive"),
        ("Label: positive - it praises the shop", "positive"),
        ("Label: Positive, because it praises the shop", "positive"),
        ("Label: The review is positive.", "positive"),
        ("Label: not positive", None),
    ],
)
def test_what_stands_behind_a_key_is_the_label_or_states_it(answer, label):
    """`Label: very positive` names a label that is not there; a reason behind a label, and a sentence, leave it."""
    assert said(["positive", "negative"], answer) == label


def test_a_name_of_two_scripts_is_no_sentence():
    """Words before a label without blanks state it where they are of its script, or words of an answer."""
    assert said(["part", "日本"], "art 日本") is None
    assert said(["part", "日本"], "Answer 日本") == said(["part", "日本"], "これは日本です") == "日本"


@given(names_of, st.data())
def test_a_word_that_is_no_label_gives_none(names, data):
    """A label that is not in the set is not taken for one that it holds, begins, or lies within."""
    name = data.draw(st.sampled_from(names))
    rest = [other for other in names if not is_alike(other, name)]
    assume(len(rest) >= 2 and any(map(str.isalnum, name)))
    assert said(rest, data.draw(st.sampled_from(WRAPS))(data.draw(st.sampled_from(MANGLES))(name))) is None


@given(names_of, st.data())
@example(["red blue", "blue green", "other"], None)
def test_a_sentence_gives_the_one_label_that_it_names(names, data):
    """A sentence around a label gives that label or none; one around two, or a denial, gives none."""
    if data is None:
        assert said(names, "The text is about red blue green things.") is None
        return
    name, other = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(names))
    sentence = data.draw(st.sampled_from(SENTENCES))
    assert said(names, sentence.format(name)) in (name, None) or any(
        is_alike(one, name) for one in names if one != name
    )
    if not is_alike(name, other) and name not in other and other not in name:
        assert said(names, sentence.format(f"{name} or {other}")) in (None, *compounds(names, name, other))
    assert said(names, f"This text is not about {name}.") in (None, f"not about {name}")


def compounds(names: Sequence[str], *parts: str) -> list[str]:
    return [name for name in names if "or" in name and all(part in name for part in parts)]


@pytest.mark.parametrize(
    "answer",
    [
        "Is it spam?", "It could be spam.", "This can't be spam.", "I am unsure whether this is spam.",
        "The mail is anything but spam.", "Das ist kein Spam hier.", "これはspamではない。", "spam-free", "anti-spam measures",
        '{"label": "not spam"}', '{"label": "spam or ham"}', '{"label": "spam", "Label": "ham"}', '["spam", "ham"]',
        '{"result": {"label": "spam"}}', "spam ham", '{"label": "spam', "The word [\"spam\"] is wrong here, it is ham",
        "Label: spam\nLabel: ham", "Label: spam\n\nWait, it is ham.", "Answer: spam\nNo, that was wrong.",
    ],
)  # fmt: skip
def test_what_is_denied_doubted_or_taken_back_is_asked_again(answer):
    """A label that stands in a denial, a question, a doubt, or in half an answer is none."""
    assert said(["spam", "ham"], answer) is None


@pytest.mark.parametrize(
    ("names", "answer", "label"),
    [
        (["US", "EU"], "The company told us so.", None),
        (["US", "EU"], "The company is from the US.", "US"),
        (["US", "us"], '{"label": "**US**"}', "US"),
        (["Größe", "Farbe"], "GRÖSSE", "Größe"),
        (["Maße", "Farbe"], "Masse", None),
        (["Maße", "Masse"], "MASSE", None),
        (["10²", "5"], "102", None),
        (["1", "2", "3"], "There are 2 problems in this text.", None),
        (["1", "2", "3"], "Rating: 2", "2"),
        (["yes", "no"], "The answer is no.", "no"),
        (["yes", "no"], "No, the answer is yes.", None),
        (["billing", "other"], "The other parcel is late.", None),
        (["billing", "other"], "I would label this as other.", "other"),
        (["日本", "中国"], "答えは日本です。", "日本"),
        (["日本", "中国"], "彼は日本人です。", None),
        (["spam", "ham"], "<think>ham or spam?</think>spam", "spam"),
        (["spam", "ham"], "Here you are:\n```json\n{\"label\": \"SPAM\"}\n```", "spam"),
        (["null", "full"], '{"label": null}', None),
        (["spam", "ham"], "- spam", "spam"),
        (["spam", "ham"], "* Spam.", "spam"),
        (["spam", "- spam"], "- spam", "- spam"),
        (["spam", "ham"], "- spam\n- ham", None),
        (["1", "-1"], "-1", "-1"),
        (["1", "2"], "- 1", "1"),
        (["1", "-1"], "- 1", None),
        (["red blue", "blue green"], "It is about red blue green things.", None),
    ],
)  # fmt: skip
def test_neighbours_of_the_corpus(names, answer, label):
    """Case, capitals, digits, common words and scripts without blanks are read with the same care."""
    assert said(names, answer) == label


def test_the_line_of_the_prompt_is_its_label():
    """A model that repeats a label with its description means that label."""
    matcher = LabelMatcher(Label.model_validate({"labels": {"bill": "money and bills", "ship": "parcels"}}))
    found = matcher.whole("bill: money and bills")
    assert found is not None
    assert found.name == "bill"


@pytest.mark.parametrize(
    ("answer", "labels"),
    [
        ("billing; delivery", ["billing", "delivery"]),
        ("- delivery\n- billing", ["billing", "delivery"]),
        ('["billing"]', ["billing"]),
        ("[]", []),
        ("(none)", []),
        ('{"labels": ["(none)"]}', []),
        ("Labels: billing, other", ["billing", "other"]),
        ('{"labels": null}', None),
        ('{"labels": ""}', None),
        ("billing, returns", None),
        ("It is about billing.", None),
        ('{"labels": ["billing", null]}', None),
    ],
)
def test_several_labels_are_read_whole_or_not_at_all(answer, labels):
    """Each part of a list is a label of the job, or the answer is asked again; no label is dropped."""
    assert said(["billing", "delivery", "other"], answer, multi=True) == labels


def test_a_reason_that_was_asked_for_is_kept_and_never_missing():
    """With `reason: true` a repaired answer keeps its reason, and one without a reason is asked again."""
    verdict = judge(["spam", "ham"], '{"reason": "it sells", "label": "SPAM"}', reason=True)
    assert verdict is not None
    assert json.loads(verdict.text) == {"reason": "it sells", "label": "spam"}
    assert judge(["spam", "ham"], "spam", reason=True) is None


@given(st.text(max_size=80), names_of, st.booleans())
def test_any_text_gets_a_verdict(text, names, multi):
    """No answer raises, and what is accepted is always a label of the job."""
    assume(not multi or not any("|" in name for name in names))
    assume(all(name == name.strip() and name.isprintable() for name in names))
    found = said(names, text, multi=multi)
    assert found is None or set([found] if isinstance(found, str) else found) <= set(names)
