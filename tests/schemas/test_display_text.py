"""Words of any origin, shown: no terminal, log or page of Markdown obeys them."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from rowmill.schemas.display_text import markdown, markdown_block, one_line, several_lines
from rowmill.schemas.errors import JobError

texts = st.text(st.characters(codec=None), max_size=200)
markups = st.text(st.sampled_from("a1 `*_[]()!#<>&\\~|-+.:/@\n\"'="), max_size=80)
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Joiners, and marks that are seen (Unicode's Prepended_Concatenation_Mark).
LEFT = "\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"


@given(texts)
def test_one_line_holds_nothing_that_moves_a_cursor(text):
    """Whatever the words, they are one line of characters that are seen, and can be written in UTF-8."""
    shown = one_line(text)
    assert shown.splitlines() in ([shown], [])
    assert [char for char in shown if unicodedata.category(char) in UNSEEN and char not in LEFT] == []
    shown.encode()


def test_every_character_that_is_not_seen_is_shown():
    """No character of any plane that is not seen stays in a line, nor is one that is seen escaped."""
    unseen = [char for code in range(sys.maxunicode + 1) if unicodedata.category(char := chr(code)) in UNSEEN]
    assert [char for char in unseen if char not in LEFT and one_line(char) == char] == []
    assert one_line(LEFT) == LEFT


@given(texts)
def test_several_lines_keep_their_breaks_and_nothing_else(text):
    """Line breaks stay; each line is as `one_line` shows it."""
    assert several_lines(text) == "\n".join(map(one_line, text.split("\n")))


@given(st.text(st.characters(categories=["L", "N", "P", "S", "M"]) | st.just(" ")))
def test_plain_words_are_left_as_they_are(text):
    """Letters, digits and signs of any script are shown unchanged."""
    assert one_line(text) == text


@given(texts)
def test_json_stays_json(text):
    """A JSON text that is shown can still be read, and means the same."""
    assert json.loads(several_lines(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\u001b[31mred"), ("\x1b]8;;http://x\x07a", r"\u001b]8;;http://x\u0007a"),
        ("a\nrowmill: ok", r"a\nrowmill: ok"), ("a\r\tb", r"a\r\tb"), ("\x9b2J", r"\u009b2J"),
        ("abc\u202edcba", r"abc\u202edcba"), ("\udcff.jsonl", r"\udcff.jsonl"), ("\U000e0041", r"\udb40\udc41"),
        ("naïve – 名前 👩\u200d💻", "naïve – 名前 👩\u200d💻"), ("", ""),
    ],
)  # fmt: skip
def test_what_is_not_seen_is_shown(text, shown):
    """Escape sequences, line breaks, overrides and lone surrogates, as JSON would write them."""
    assert one_line(text) == shown


def rendered(source: str) -> list[str]:
    """The kinds of block and inline that Markdown makes of a source."""
    tokens = MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(source)
    return [kind.type for token in tokens for kind in (token, *(token.children or []))]


@given(markups | texts)
def test_markdown_shows_the_words_and_makes_nothing_of_them(text):
    """In a heading or a sentence: no link, no image, no HTML, no list; the words are all there."""
    kinds = rendered(f"# {markdown(text)}\n\nIt is {markdown(text)}.\n")
    assert set(kinds) <= {
        "heading_open", "inline", "heading_close", "paragraph_open", "paragraph_close", "text", "text_special",
    }  # fmt: skip
    source = MarkdownIt().render(f"It is {markdown(text)}.")
    assert "<a" not in source
    assert "<img" not in source


@given(markups | texts)
def test_a_block_of_markdown_cannot_be_left(text):
    """Whatever fences and tags the words hold, they stay in their block."""
    kinds = rendered(f"{markdown_block(text)}\n\nAfter.\n")
    assert kinds == ["fence", "paragraph_open", "inline", "text", "paragraph_close"]


@given(texts, texts, texts)
def test_an_error_is_one_line_whatever_it_names(what, where, hint):
    """A user's mistake is told in one line, though a file's name or a key may hold anything."""
    shown = str(JobError(what, where=where, hint=hint))
    assert one_line(shown) == shown
    shown.encode()
