"""Value check: whether a quote holds the value that was read from it, where that can be decided.

True where one reading of the quote is the value, False where all of its numbers or dates are others, None where a
person has to judge: words, yes and no, a quote that spells its number out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from rowmill.tasks.answers.evidence_fields import ValueRule
from rowmill.tasks.answers.normal_form import normalized
from rowmill.tasks.answers.quote_form import strict_form

NUMBERS_MOST, QUOTE_MOST_CHARS = 40, 4_000
_ISO_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[T ].*)?", re.DOTALL)
_PLAIN_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_NUMBER = re.compile(r"(?<![\d.,])[+-]?(?:\d+(?:[.,' ’_]\d+)*)")
# What makes a number of another size stand beside its digits.
_SCALE = re.compile(
    r"%|‰|percent|prozent|hundred|thousand|million|billion|trillion|tausend|mio|mrd|mill|mia|lakh|crore|dozen|half"
    r"|\de[+-]?\d|\d\s?(?:k|m|bn|b|tn|t)\b|[百千万亿億兆만억]|[/⁄]",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"\d+")
_WORD = re.compile(r"[^\W\d_]+")
# Months by how their names begin, in English, German, French, Spanish, Italian, Portuguese and Dutch.
_MONTHS = (
    ("jan", "jän", "ene", "gen"), ("feb", "fév", "fev"), ("mar", "mär", "maa", "mrt"), ("apr", "avr", "abr"),
    ("may", "mai", "mag", "mei"), ("jun", "juin", "giu"), ("jul", "juil", "lug"), ("aug", "aoû", "aou", "ago"),
    ("sep", "set"), ("oct", "okt", "ott", "out"), ("nov",), ("dec", "dez", "déc", "dic"),
)  # fmt: skip
_ERAS = {"令和": 2018, "平成": 1988, "昭和": 1925, "大正": 1911, "明治": 1867}
_ERA_YEAR = re.compile(r"(令和|平成|昭和|大正|明治)\s*(元|\d{1,2})\s*年")


def value_in_quote(value: Any, quote: str, rule: ValueRule) -> bool | None:
    """Whether the quote holds the value; None where that cannot be decided."""
    if len(quote) > QUOTE_MOST_CHARS or isinstance(value, bool):
        return None
    text = normalized("NFKC", quote).translate(_PLAIN)
    if isinstance(value, (int, float)):
        return _holds_number(_decimal(value), text)
    if not isinstance(value, str):
        return None
    if (date := _ISO_DATE.fullmatch(value.strip())) is not None and rule.format in (None, "date", "date-time"):
        return True if date[0] in text else _holds_date(int(date[1]), int(date[2]), int(date[3]), text=text)
    said, held = strict_form(value).casefold(), strict_form(quote).casefold()
    if said and said in held:
        return True
    if rule.options:
        others = [one for one in rule.options if strict_form(one).casefold() != said]
        return False if any(_is_word(one, quote) for one in others) else None
    return _holds_number(Decimal(value.strip()), text) if _PLAIN_NUMBER.fullmatch(value.strip()) else None


# Signs for minus and separators of thousands, as they are read.
_PLAIN = str.maketrans({"−": "-", "–": "-", "‐": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "’": "'", "·": "."})


def _decimal(value: int | float) -> Decimal:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def _holds_number(value: Decimal, text: str) -> bool | None:
    found = 0
    for written in _numbers(text):
        found += 1
        # A sign may be an accountant's brackets, or words such as "credit".
        if any(reading == value or reading == -value for reading in _readings(written)):
            return True
    if not found or found > NUMBERS_MOST or _SCALE.search(text) is not None:
        return None
    return False


def _numbers(text: str) -> Iterator[str]:
    for at, number in enumerate(_NUMBER.finditer(text)):
        if at > NUMBERS_MOST:
            return
        yield "".join(str(unicodedata.digit(char, char)) for char in number[0])


def _readings(written: str) -> Iterator[Decimal]:
    """What a number may say as it is written: "1.234,56", "1,234.56", "1 234" and "1.234" by each custom; and each of
    its pieces, where blanks stand between numbers that have nothing to do with each other.
    """
    pieces = re.split(r"[ ]", written)
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
        elif not marks:
            forms.add(bare)
        for form in forms:
            try:
                yield Decimal(form)
            except InvalidOperation:
                continue


def _is_spaced(text: str) -> bool:
    """Whether blanks and apostrophes in a number may stand between its thousands, and none behind its decimal mark."""
    whole, *more = re.split(r"[ '_]", text.lstrip("+-"))
    if not more:
        return True
    last = re.split(r"[.,]", more[-1])[0]
    return whole.isdigit() and len(whole) <= 3 and all(len(group) == 3 for group in (*more[:-1], last))


def _is_grouped(text: str) -> bool:
    """Whether the marks in a number may all be separators: of thousands, or of lakhs and crores."""
    groups = re.split(r"[.,' _]", text.lstrip("+-"))
    return len(groups) > 1 and len(groups[-1]) == 3 and all(len(group) in (2, 3) for group in groups[1:])


def _holds_date(year: int, month: int, day: int, *, text: str) -> bool | None:
    """Whether a text names this day: by numbers in any order, by the name of the month, or by the year of an era."""
    for era in _ERA_YEAR.finditer(text):
        count = 1 if era[2] == "元" else int(era[2])
        text = text.replace(era[0], f" {_ERAS[era[1]] + count} ", 1)
    numbers = [int(one) for one in _DIGITS.findall(text)[:NUMBERS_MOST] if len(one) <= 8]
    if not numbers:
        return None
    if int(f"{year:04}{month:02}{day:02}") in numbers:
        return True
    names = {at for word in _WORD.findall(text.casefold()) for at in _months(word)}
    has_year = year in numbers or year % 100 in numbers
    others = [one for one in numbers if one not in (year, year % 100)] if year % 100 not in (day, month) else numbers
    left = list(others)
    by_numbers = has_year
    for one in (day, month):
        by_numbers &= one in left
        if one in left:
            left.remove(one)
    if by_numbers or (month in names and day in numbers and has_year):
        return True
    if len(numbers) < (2 if names else 3) or (not names and _has_unknown_month(text)):
        return None
    return False


def _months(word: str) -> Iterator[int]:
    for at, beginnings in enumerate(_MONTHS, 1):
        if word.startswith(beginnings) and len(word) <= 10:
            yield at


def _has_unknown_month(text: str) -> bool:
    """Whether words beside the numbers may name a month in a language that is not known here."""
    return any(len(word) > 2 for word in _WORD.findall(text))


def _is_word(option: str, quote: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(option)}(?!\w)", quote, re.IGNORECASE) is not None
