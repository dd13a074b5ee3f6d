"""When two texts are the same passage, typeset differently."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rowmill.tasks.answers.quote_form import same_passage, skeleton, skeleton_places

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


texts = st.text(
    st.one_of(
        st.characters(), st.sampled_from("aé1 \n\t'“”-–\u00ad\u200b\u0301\u3099ｶﾞ½ﬁ㍿\u1100\u1161\u11a8\u0344\u00b4¨")
    ),
    max_size=60,
)


@given(texts)
@example("\u0344e\u0301")
@example("e \u0301")
@example("\ud800a\udfff")
def test_each_character_of_a_skeleton_has_its_place(text):
    """The places are as many as the characters, ascend, and lie in the text; the skeleton of each place's text is what
    stands for it.
    """
    made, places = skeleton(text), skeleton_places(text)
    assert len(made) == len(places)
    assert places == sorted(places)
    at = 0
    while at < len(places):
        end = at
        while end < len(places) and places[end] == places[at]:
            end += 1
        assert skeleton(text[slice(*places[at])]) == made[at:end]
        at = end


def test_a_skeleton_is_the_normal_form_of_the_whole():
    """Normalizing run by run gives what NFKC gives, for every character of Unicode, alone and behind a letter."""
    ideographs = {*range(0x3400, 0xA000), *range(0xAC00, 0xE000), *range(0x12000, 0x1B000), *range(0x20000, 0x2F800)}
    rare = {*range(0x2FA20, 0x110000)}
    for point in [*sorted({*range(0x80, 0x2FA20)} - ideographs), *sorted(ideographs | rare)[::101]]:
        if 0xD800 <= point < 0xE000:
            continue
        for text in (chr(point), f"e{chr(point)}"):
            made = skeleton(text)
            if made and not any(char.isspace() for char in text):
                whole = "".join(unicodedata.normalize("NFKC", text).split())
                assert made == whole or len(made) < len(whole), ascii(text)
