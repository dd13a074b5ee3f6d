"""Quote form: when two texts are the same passage though they were typeset differently.

They are where only white space, the Unicode form (NFKC), quotation marks, hyphens or invisible characters differ. Three
things are kept, because they change what a text says: white space between digits (12 34 is not 1234), hyphens anywhere
but between letters (-5 is not 5, 5-10 is not 510), and powers and fractions behind a digit (10² is not 102).
"""

from __future__ import annotations

import re

from rowmill.tasks.answers.normal_form import normalized

# Quotation marks, primes and apostrophes; their fullwidth forms too, which NFKC would turn into them.
QUOTES = "'\"`´‘’‚‛“”„‟‹›«»′″‴‵‶‷〝〞〟＂＇｀｢｣「」『』﹁﹂﹃﹄ʹʺʼˈˊˋ׳״"
HYPHENS = "-‐‑‒–—―⁃−﹘﹣－"
# Soft hyphens, joiners, direction marks, byte order marks: nothing of them is seen.
UNSEEN = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
SEEN_DROPPED = frozenset(QUOTES + HYPHENS)

_DROPPED = re.compile(f"[{re.escape(QUOTES + HYPHENS)}{UNSEEN}]+")
_INVISIBLE = re.compile(f"[{re.escape(QUOTES)}{UNSEEN}]+")
_HYPHEN = re.compile(f"[{re.escape(HYPHENS)}]")
_ASCII_QUOTES = str.maketrans("", "", "'\"`")
# Powers and fractions behind a digit, which NFKC would make one number with it.
_BEHIND_DIGIT = re.compile("(?<=[0-9０-９])[\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2089\u2150-\u215f]")
_BETWEEN_LETTERS = re.compile(r"-(?<=[^\W\d_]-)(?=[^\W\d_])")
_BETWEEN_DIGITS = re.compile(r" (?<=\d )(?=\d)")


def same_passage(one: str, other: str) -> bool:
    """Whether two texts differ in nothing but how they are typeset."""
    return strict_form(one) == strict_form(other)


def strict_form(text: str) -> str:
    """The form that is equal for equal passages."""
    if text.isascii():
        plain = text.translate(_ASCII_QUOTES)
    else:
        apart = _BEHIND_DIGIT.sub("\x01\\g<0>", _HYPHEN.sub("-", _INVISIBLE.sub("", text)))
        plain = normalized("NFKC", apart)
    spaced = " ".join(plain.split())
    # A mark that stays, so that white space which goes does not bring digits together.
    kept = _BETWEEN_DIGITS.sub("\x00", spaced).replace(" ", "").replace("\x00", " ")
    return _BETWEEN_LETTERS.sub("", kept)


def without_dropped(text: str) -> str:
    """A text without quotation marks, hyphens and invisible characters."""
    return _DROPPED.sub("", text)


def is_dropped(char: str) -> bool:
    """Whether a character makes no difference in most places: a quotation mark, a hyphen, an invisible one."""
    return _DROPPED.fullmatch(char) is not None


def is_unseen(char: str) -> bool:
    """Whether a character is white space or invisible."""
    return char.isspace() or (char not in SEEN_DROPPED and is_dropped(char))
