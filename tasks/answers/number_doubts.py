"""Number doubts: what may speak for a value in a passage though none of its numbers is the value.

A word or another unit, several numbers that say one together, a sum. Where there is such a doubt a person has to judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import chain, pairwise

from rowmill.tasks.answers.number_words import may_be_in_words
from rowmill.tasks.answers.numerals import KANJI

# What makes a number of another size stand beside its digits, tells it in another unit, or reckons with it.
_SCALE = re.compile(
    r"[%‰‱٪^/×]|\bper ?cent|prozent|hundred|thousand|million|billion|trillion|tausend|mio|mrd|mill|mia"
    rf"|lakh|crore|dozen|half|\de[+-]?\d|\d\s?(?:k|m|bn|b|tn|t)\b|\d\s?[:h]\s?\d\d|\d\s?[x*+°º]\s?\d|[割分厘{KANJI}]",
    re.IGNORECASE,
)
# How many times a number may be meant that has a word behind it, in any language: thousands, lakhs and millions, per
# cent and its hundredth, dozens, and what time and lengths are counted in.
_SIZES = (7, 12, 24, 30, 52, 60, 100, 365, 3_600, 86_400, *(10**n for n in (3, 4, 5, 6, 7, 8, 9, 12)))
_TIMES = frozenset(Fraction(size) for size in _SIZES) | {Fraction(1, size) for size in _SIZES}
_DIGITS, _ROMAN = re.compile(r"\d+"), re.compile(r"\b[IVXLCDM]+\b")
_ROMAN_LETTERS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1_000}
# An end of a range that leaves out what it has in common with the beginning: 2023-24.
_SHORT_END = re.compile(r"(?<![\d.,])(\d{2,})\s?[-/]\s?(\d+)(?![\d.,]*\d)")
# Digits in groups, as of telephones and cards, say one number from so many on: 5 10 is not 510.
_GROUPED_LEAST = 6
_LOOKED_CHARS = 400
# No longer numbers are told by words or by the end of a range.
_WHOLE_BELOW = 10**12


def may_be_said(value: Decimal, text: str) -> bool:
    """Whether words, several numbers together or another unit of a passage may say the value."""
    if _SCALE.search(text) is not None:
        return True
    size = value.copy_abs()
    if size == size.to_integral_value() and size < _WHOLE_BELOW:
        whole = int(size)
        if may_be_in_words(whole, text) or whole in chain(map(_roman, _ROMAN.findall(text)), _short_ends(text)):
            return True
    return _may_be_grouped(size, text[:_LOOKED_CHARS])


def may_be_scaled(value: Decimal, reading: Decimal) -> bool:
    """Whether a word behind a number may make it the value, in a language that is not known here: 1,5 млн."""
    return reading != 0 and Fraction(value.copy_abs()) / Fraction(reading) in _TIMES


def _short_ends(text: str) -> Iterator[int]:
    for first, last in _SHORT_END.findall(text):
        if len(last) < len(first) < _LOOKED_CHARS:
            yield int(first[: -len(last)] + last)


def _roman(letters: str) -> int:
    values = [_ROMAN_LETTERS[letter] for letter in letters]
    return sum(-one if one < after else one for one, after in zip(values, [*values[1:], 0], strict=True))


def _may_be_grouped(size: Decimal, text: str) -> bool:
    """Whether several numbers have the value's digits together: +49 30 123456, 19 Euro 99."""
    sought = format(size, "f")
    whole, _, fraction = sought.partition(".")
    groups = _DIGITS.findall(text)
    if len(fraction) in (1, 2) and (whole, fraction.ljust(2, "0")) in pairwise(groups):
        return True
    if fraction or len(whole) < _GROUPED_LEAST or whole in groups:
        return False
    return any(_is_joined(whole, groups[at:]) for at in range(len(groups)))


def _is_joined(whole: str, groups: Sequence[str]) -> bool:
    for group in groups:
        if not whole or not whole.startswith(group):
            break
        whole = whole[len(group) :]
    return not whole
