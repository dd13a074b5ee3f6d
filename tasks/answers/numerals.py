"""Numerals: numbers as they are written elsewhere than in a program, brought to one form for reading.

Digits of all scripts become 0 to 9, and numerals of Chinese, Japanese and Korean are read: 百二十三, 1万2345, 二〇二四.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from rowmill.tasks.answers.normal_form import normalized

_DIGITS = {digit: at for digits in ("零一二三四五六七八九", "〇壱弐参肆伍陸柒捌玖", "○壹貳參肆伍陆柒捌玖")
           for at, digit in enumerate(digits)} | {"贰": 2, "两": 2, "兩": 2, "叁": 3}  # fmt: skip
_UNITS = {"十": 10, "拾": 10, "廿": 20, "卅": 30, "百": 100, "佰": 100, "千": 1_000, "仟": 1_000}
_MYRIADS = {"万": 10**4, "萬": 10**4, "만": 10**4, "億": 10**8, "亿": 10**8, "억": 10**8, "兆": 10**12, "조": 10**12}
KANJI = "".join((*_DIGITS, *_UNITS, *_MYRIADS))
_WRITTEN = re.compile(rf"(?:\d[\d,]*(?:\.\d+)?|[{KANJI}])+")

# What stands in a number for its marks: minus signs, separators of thousands, the decimal mark of Arabic.
_SIGNS = str.maketrans({"−": "-", "–": "-", "‐": "-", "‑": "-", "·": ".", "٫": "."} | dict.fromkeys("’‘ʼ´`˙٬", "'"))
_BLANKS = str.maketrans(dict.fromkeys("\u00a0\u202f\u2009\u2007", " "))
# Powers are no digits of the number before them; a fraction behind a number is added to it.
_RAISED = re.compile("[\u00b2\u00b3\u00b9\u2070-\u2079\u2080-\u2089]+")
_FRACTION = re.compile("[\u00bc-\u00be\u2150-\u215e]")
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")


def plain_numbers(text: str) -> str:
    """A text whose numbers are written with ASCII digits, signs and separators."""
    apart = _RAISED.sub(" ^ ", _FRACTION.sub(r" \g<0> ", text.translate(_SIGNS)))
    form = normalized("NFKC", apart).translate(_SIGNS).translate(_BLANKS).replace("⁄", "/")
    return _OTHER_DIGIT.sub(lambda digit: str(int(digit[0])), form)


def kanji_numbers(text: str) -> Iterator[tuple[str, Fraction]]:
    """Numbers that are written with Chinese numerals, alone or with digits, as they stand there and as a number."""
    for written in _WRITTEN.finditer(text):
        if not written[0].isascii():
            number = _read(written[0])
            if number is not None:
                yield written[0], number


def _read(written: str) -> Fraction | None:
    """百二十三 is 123, 二〇二四 is 2024, 1万2345 is 12345. None for what is no number, as 十千."""
    total = section = Fraction(0)
    current: Fraction | None = None
    for piece in re.findall(r"\d[\d,]*(?:\.\d+)?|.", written):
        if piece[0].isdigit() and piece.isascii():
            if current is not None:
                return None
            current = Fraction(piece.replace(",", ""))
        elif piece in _DIGITS:
            current = Fraction(_DIGITS[piece]) + (current or 0) * 10
        elif piece in _UNITS:
            section += (1 if current is None else current) * _UNITS[piece]
            current = None
        else:
            size = section + (current or 0)
            if not size:
                return None
            total, section, current = total + size * _MYRIADS[piece], Fraction(0), None
    return total + section + (current or 0)
