"""Written number: whether a passage holds a number, by any custom of writing it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import chain, islice

from rowmill.tasks.answers.era_year import era_years
from rowmill.tasks.answers.number_doubts import may_be_said, may_be_scaled
from rowmill.tasks.answers.numerals import kanji_numbers, plain_numbers

NUMBERS_MOST = 40
# A sign is one where no digit or letter stands before it: in 2024-05 and A-5 it is a hyphen. A currency may be between.
_CURRENCY = "[$¢£¤¥\u0e3f\u20a0-\u20cf]"
_NUMBER = re.compile(
    rf"((?<!\w)[+-]\s?(?:{_CURRENCY}\s?)?|(?<!\w)[+-][A-Za-z]{{1,3}}\.?{_CURRENCY}?\s?)?"
    r"(?<!\d)(?<!\d[.,])(\d+(?:[.,' _]\d+)*|(?<!\w)[.,]\d+(?![.,]?\d))"
    r"((?<=[.,]\d\d)-(?!\s?\d|\w))?"
)
_POWER_OF_TEN = re.compile(r"(?<![\w.,])([+-]?\d+(?:[.,]\d+)?)[eE]([+-]?\d{1,3})(?!\w)")
_FRACTION = re.compile(r"(?<![\d/.,])(?:(\d+)\s+)?(\d{1,3})\s?/\s?(\d{1,3})(?![\d/.,])")
_WORD_BEHIND = re.compile(r"[)\]]?\s?[^\W\d_]")
# Signs of what is owed: brackets, a minus behind, triangles, words of bookkeeping.
_NEGATIVE = re.compile(
    r"\(\s?[^\d\s(]{0,4}\s?[\d.,' ]+[^\d\s)]{0,4}\s?\)|\d\s?-(?!\s?\d)|[▲△▼]|\b(?:cr|credit|haben)\b", re.IGNORECASE
)


def holds_number(value: Decimal, quote: str) -> bool | None:
    """True where a number of the passage is the value as it may be read, False where all are others, None where that
    cannot be decided: words, another unit, a sign that is told by neither or by one of them alone.
    """
    text = plain_numbers(quote)
    written = list(_numbers(text))
    fractions = map(_fraction, islice(_FRACTION.finditer(text), NUMBERS_MOST))
    if any(_is_about(value, fraction) for fraction in fractions if fraction is not None):
        return True
    powers = map(_power, islice(_POWER_OF_TEN.finditer(text), NUMBERS_MOST))
    spelled = (number for _, number in kanji_numbers(text))
    if any(value == number for number in chain(powers, islice(spelled, NUMBERS_MOST), era_years(text))):
        return True
    doubted = False
    for number in written:
        for reading in number.readings:
            if reading == value.copy_abs():
                if _signs_agree(value, number.sign, text):
                    return True
                doubted = True
            doubted = doubted or (number.has_word and may_be_scaled(value, reading))
    doubted = doubted or not written or len(written) > NUMBERS_MOST
    return None if doubted or may_be_said(value, text) else False


class _Number:
    """A number as it is written: its sign, what it may say, and whether a word stands behind it."""

    __slots__ = ("has_word", "readings", "sign")

    def __init__(self, sign: str, digits: str, *, has_word: bool) -> None:
        self.sign, self.has_word = sign, has_word
        self.readings = set(_readings(digits))


def _numbers(text: str) -> Iterator[_Number]:
    for at, found in enumerate(_NUMBER.finditer(text)):
        if at > NUMBERS_MOST:
            return
        sign = found[3] or (found[1] or "")[:1]
        yield _Number(sign, found[2], has_word=_WORD_BEHIND.match(text, found.end()) is not None)


def _signs_agree(value: Decimal, sign: str, text: str) -> bool:
    """Whether a number has the value's sign: a minus for one below zero, none before one above."""
    if value < 0:
        return sign == "-" or _NEGATIVE.search(text) is not None
    return sign != "-"


def _is_about(value: Decimal, fraction: Fraction) -> bool:
    """Whether a value is a fraction as far as its digits go."""
    exponent = value.as_tuple().exponent
    places = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    return Fraction(value) == fraction or (places > 1 and round(fraction, min(places, 30)) == Fraction(value))


def _fraction(found: re.Match[str]) -> Fraction | None:
    whole, upper, lower = int(found[1] or 0), int(found[2]), int(found[3])
    return whole + Fraction(upper, lower) if 0 < upper < lower else None


def _power(found: re.Match[str]) -> Decimal:
    return Decimal(f"{found[1].replace(',', '.')}e{found[2]}")


def _readings(written: str) -> Iterator[Decimal]:
    """What a number may say as it is written: "1.234,56", "1,234.56", "1 234" and "1.234" by each custom; and each of
    its pieces, where blanks stand between numbers that have nothing to do with each other, or dots as in a date.
    """
    pieces = written.split(" ")
    for text in {written, *pieces}:
        if not _is_spaced(text):
            continue
        bare = re.sub(r"[ '_]", "", text)
        marks = [char for char in bare if char in ".,"]
        forms = {bare.replace(".", "").replace(",", "")} if _is_grouped(text) else set()
        if marks:
            last = marks[-1]
            whole, _, fraction = bare.rpartition(last)
            if len(set(marks)) == 2 or len(marks) == 1:
                forms.add(f"{re.sub('[.,]', '', whole)}.{fraction}")
            elif not forms:
                forms.update(re.split("[.,]", bare))
        else:
            forms.add(bare)
        for form in forms:
            try:
                yield Decimal(form)
            except InvalidOperation:
                continue


def _is_spaced(text: str) -> bool:
    """Whether blanks and apostrophes in a number may stand between its thousands, and none behind its decimal mark."""
    whole, *more = re.split(r"[ '_]", text)
    if not more:
        return True
    last = re.split(r"[.,]", more[-1])[0]
    return whole.isdigit() and len(whole) <= 3 and all(len(group) == 3 for group in (*more[:-1], last))


def _is_grouped(text: str) -> bool:
    """Whether the marks in a number may all be separators: of thousands, or of lakhs and crores."""
    groups = re.split(r"[.,' _]", text)
    return (
        len(groups) > 1
        and groups[0].lstrip("0") != ""
        and len(groups[-1]) == 3
        and all(len(group) in (2, 3) for group in groups[1:])
    )
