"""When two texts are the same passage, typeset differently."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rowmill.tasks.answers.normal_form import MARKS_MOST, normalized
from rowmill.tasks.answers.quote_form import same_passage
from rowmill.tasks.answers.skeleton import Skeleton, skeleton

SAME = [
    ("a new line", "a\n  new\tline"), ("東京都渋谷区", "東京都\n渋谷区"), ("“Yes”, he said", '"Yes", he said'),
    ("l’heure d'été", "l'heure d’été"), ("«tout»", '"tout"'), ("„Ja“", "'Ja'"), ("「はい」", '"はい"'),
    ("5–10 pages", "5-10 pages"), ("minus −5", "minus -5"), ("exam-\nple", "example"), ("well-known", "well‑known"),
    ("co\u00adop\u00aderate", "cooperate"), ("of\ufb01ce \ufb02ow", "office flow"), ("Å", "A\u030a"), ("ｶﾞｲﾄﾞ", "ガイド"),
    ("１２３（株）", "123(株)"), ("㎏", "kg"), ("1\u00a0234,56", "1 234,56"), ("a\u200bb\u2060c", "abc"), ("\u200eabc\u200f", "abc"),
    ("한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8"), ("…", "..."), ("re-quoted", "'re-quoted'"), ("m²", "m2"), ("10²", "“10²”"), ("a\r\nb", "a b"),
]  # fmt: skip
OTHER = [
    ("12 34", "1234"), ("-5", "5"), ("5-10", "510"), ("12-34", "12 34"), ("Total", "total"), ("cafe", "café"), ("1,234", "1.234"),
    ("1,234", "1234"), ("abc", "abd"), ("Москва", "Mocквa"), ("a.b", "ab"), ("10 €", "10 $"), ("３", "4"), ("-5", "'5'"),
    ("10²", "102"), ("1½", "11⁄2"), ("10₂", "102"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_texts_that_differ_in_type_alone_are_the_same_passage(one, other):
    """White space, Unicode form, quotation marks, hyphens and what is invisible make no difference."""
    assert same_passage(one, other)
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_says_something_else_is_another_passage(one, other):
    """Digits that white space keeps apart, a minus, letters, case and punctuation make a difference."""
    assert not same_passage(one, other)


# Scripts with marks, ligatures, syllables whole and in parts, what is unseen, right-to-left marks, lone surrogates.
MIXED = (
    "aéếự1 \n\t'“”-–\u00ad\u200b\u200f\u202e½ﬁ㍿´¨΅ｶﾊﾞﾟカ가각한\u1100\u1161\u11a8\u3131\u314fनक\u093cো\u09c7\u09be\u09d7"
    "\u0300\u0301\u0302\u0308\u0316\u031b\u0323\u0327\u0344\u0345\u3099אש\u05bc\u05c1ا\u0651\u064e\u0653α😀\ufe0f𝐀\ud800\udfff"
)
texts = st.text(st.one_of(st.characters(), st.sampled_from(MIXED)), max_size=60)
texts = st.one_of(texts, texts.map(lambda text: unicodedata.normalize("NFD", text)))


@given(texts)
@example("\u0344e\u0301")
@example("e \u0301")
@example("\ud800a\udfff")
@example("\u00bda\u0301b\u0323\u0301c\uff9e")
def test_each_character_of_a_skeleton_has_its_place(text):
    """It is what the rule makes of the whole. The places ascend and lie in the text; characters that were taken one by
    one have one of their own, and the skeleton of each other place's text is what stands for it.
    """
    made = Skeleton.of(text)
    assert made.text == skeleton(text)
    places = [made.span(at, at + 1) for at in range(len(made.text))]
    assert places == sorted(places)
    at = 0
    while at < len(places):
        end = at
        while end < len(places) and places[end] == places[at]:
            end += 1
        assert skeleton(text[slice(*places[at])]) == made.text[at:end]
        assert made.span(at, len(places)) == (places[at][0], places[-1][1])
        at = end


def test_pairs_become_what_unicode_says():
    """Every letter and every mark of the basic plane that compose, each letter before each mark."""
    parts = [unicodedata.decomposition(chr(point)).split() for point in range(0xC0, 0x3400)]
    canonical = [(int(one[0], 16), int(one[1], 16)) for one in parts if len(one) == 2 and one[0][0] != "<"]
    letters = {chr(letter) for letter, _ in canonical} | set(map(chr, range(0x1100, 0x1113))) | set("éếĂ7가나각한")
    marks = {chr(mark) for _, mark in canonical} | set(map(chr, (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))))
    pairs = [letter + mark for letter in sorted(letters) if skeleton(letter) == letter for mark in sorted(marks)]
    whole = Skeleton.of("|".join(pairs)).text.split("|")
    told = unicodedata.normalize("NFKC", "|".join(pairs)).split("|")
    assert len(pairs) > 30_000
    assert [pair for pair, one, other in zip(pairs, whole, told, strict=True) if one != other] == []


def test_marks_that_change_nothing_have_places_of_their_own():
    """A letter is found without its vowel sign, whatever else stands in the text: as it is where it is found exactly."""
    for text in ("\u0915\u093f", "\uff11\u0915\u093f", "e\u0301\u0915\u093f"):
        made = Skeleton.of(text)
        size = len(text)
        assert made.span(len(made.text) - 2, len(made.text) - 1) == (size - 2, size - 1)


@given(st.text(st.sampled_from("aé\u0301\u0323\u0302\u1161\uff9e"), max_size=60), st.integers(0, 40))
def test_a_normal_form_is_pythons_as_far_as_a_language_goes(text, marks):
    """Long texts are put together of pieces; nothing comes of that as long as no letter has more than 30 marks."""
    padded = text + "x" * 1_000 + "e" + "\u0301\u0323" * (marks // 2)
    for form in ("NFC", "NFKC"):
        made, whole = normalized(form, padded), unicodedata.normalize(form, padded)
        assert made == whole or marks > MARKS_MOST or len(text) > MARKS_MOST
        assert sorted(unicodedata.normalize("NFKD", made)) == sorted(unicodedata.normalize("NFKD", whole))


def test_a_skeleton_is_the_normal_form_of_the_whole():
    """Normalizing run by run gives what NFKC gives, for every character of Unicode, alone and behind a letter."""
    ideographs = {*range(0x3400, 0xA000), *range(0xAC00, 0xE000), *range(0x12000, 0x1B000), *range(0x20000, 0x2F800)}
    rare = {*range(0x2FA20, 0x110000)}
    points = [*sorted({*range(0x80, 0x2FA20)} - ideographs), *sorted(ideographs | rare)[::101]]
    chars = [chr(point) for point in points if not 0xD800 <= point < 0xE000]
    alone = [text for char in chars for text in (char, f"e{char}")]
    for text in alone:
        made = skeleton(text)
        if made and not any(char.isspace() for char in text):
            whole = "".join(unicodedata.normalize("NFKC", text).split())
            assert made == whole or len(made) < len(whole), ascii(text)
    for at in range(0, len(alone), 500):
        some = alone[at : at + 500]
        assert Skeleton.of("|".join(some)).text == "|".join(map(skeleton, some)), at
