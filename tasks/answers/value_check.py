"""Value check: whether a quote holds the value that was read from it, where that can be decided.

True where one reading of the quote is the value, False where all of its numbers or dates are others, None where a
person has to judge: words, yes and no, a quote that spells its number out or tells it in another unit.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from math import isfinite
from typing import Any

from rowmill.tasks.answers.evidence_fields import ValueRule
from rowmill.tasks.answers.normal_form import normalized
from rowmill.tasks.answers.source_text import SourceText
from rowmill.tasks.answers.written_date import holds_date
from rowmill.tasks.answers.written_number import holds_number
from rowmill.tasks.answers.written_time import holds_time, is_time, tells_time

QUOTE_MOST_CHARS = 4_000
_ISO_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})([T ].*)?", re.DOTALL | re.ASCII)
_ENDING = re.compile(r"(?<=\w{4})(?:e?s|en?|n)\b")
# Words and signs of languages that turn what they stand beside into its contrary.
_NEGATION = re.compile(
    r"\b(?:not|no(?!\.?\s?[#\d])|never|neither|nor|without|isn|wasn|aren|don|doesn|didn|cannot|nicht|kein\w*|nie|ohne|weder|ne|pas|non|jamais|sans|ni|nunca"
    r"|sin|não|nao|nem|sem|senza|niet|geen|nooit|inte|ingen|icke|ikke|aldrig|ei|eivät|nem|nincs|nie|bez|není|nejsou|nije|fără|değil"
    r"|yok|tidak|bukan|belum|tanpa|không|chưa|не|нет|ни|без|ні|немає|όχι|δεν|μη|χωρίς|नहीं|बिना|لا|ليس|ليست|غير|لم|بدون|לא|אין|ללא)(?!\w)"
    r"|n['’]|\b(?:un|non)-|[不未非無无没沒]|ない|ません|ず|않|아니|없|ไม่",
    re.IGNORECASE,
)
_PLAIN_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)


def value_in_quote(value: Any, quote: str, rule: ValueRule) -> bool | None:
    """Whether the quote holds the value; None where that cannot be decided."""
    if len(quote) > QUOTE_MOST_CHARS or isinstance(value, bool):
        return None
    if isinstance(value, float) and not isfinite(value):
        return None
    if isinstance(value, (int, float)):
        return holds_number(Decimal(repr(value)) if isinstance(value, float) else Decimal(value), quote)
    if not isinstance(value, str):
        return None
    told = value.strip()
    if (date := _ISO_DATE.fullmatch(told)) is not None and rule.format in (None, "date", "date-time"):
        return True if date[0] in quote else _holds_date(date, quote)
    if rule.format in (None, "time") and is_time(told):
        return True if _holds_text(told, quote) else holds_time(told, quote)
    if rule.options:
        return _holds_option(told, quote, rule.options)
    if _holds_text(told, quote):
        return True
    return holds_number(Decimal(told), quote) if _PLAIN_NUMBER.fullmatch(told) else None


def _holds_date(date: re.Match[str], quote: str) -> bool | None:
    year, month, day = int(date[1]), int(date[2]), int(date[3])
    held = holds_date(year, month, day, quote=quote)
    if date[4] is None:
        return held
    if held is True:
        # A passage that tells no time is held against the day alone.
        at = holds_time(date[4], quote)
        return at if at is not None or tells_time(quote) else True
    # In another time zone it may be the day before or the day after.
    near = [_day(year, month, day, days=days) for days in (-1, 1)]
    return (
        None
        if held is None or any(one and holds_date(one.year, one.month, one.day, quote=quote) for one in near)
        else False
    )


def _day(year: int, month: int, day: int, *, days: int) -> dt.date | None:
    try:
        return dt.date(year, month, day) + dt.timedelta(days=days)
    except (ValueError, OverflowError):
        return None


def _ending(text: str, at: int) -> int:
    """How many letters behind a place are an ending, as in "receipts"."""
    return len(found[0]) if (found := _ENDING.match(text, at)) else 0


def _holds_text(value: str, quote: str, inflected: Callable[[str, int], int] = lambda text, at: 0) -> bool:
    """Whether a text stands in the quote, however it is typeset, in capitals or not, and not as a part of a word."""
    form = SourceText(_folded(quote))
    _, places = form.places(_folded(value))
    return any(not form.cuts_a_word((start, end + inflected(form.text, end))) for start, end in places)


def _holds_option(value: str, quote: str, options: Sequence[str]) -> bool | None:
    """Whether the quote names this value of an enum. One that stands within a longer one, as "approved" in "not
    approved", is not named there; False where the quote names others alone, None where a word denies it.
    """
    said = _folded(value)
    others = [one for one in options if _folded(one) != said]
    left = _folded(quote)
    for longer in sorted((_folded(one) for one in others if said in _folded(one)), key=len, reverse=True):
        left = left.replace(longer, "\n")
    if _holds_text(value, left, _ending):
        # A word beside it may say the contrary: "approved" in "never approved".
        return None if _NEGATION.search(left.replace(said, "\n")) is not None else True
    return False if any(_holds_text(one, quote, _ending) for one in others) else None


def _folded(text: str) -> str:
    return normalized("NFKC", text).casefold()
