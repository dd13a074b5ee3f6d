"""Comparison: whether a value is the right one: equal, equal in a normal form, or as a number within a tolerance."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from rowmill.tasks.answers.normal_form import normalized
from rowmill.tasks.fields.tree import MISSING


class Match(StrEnum):
    """How a value meets the right one; the strictest way that holds."""

    EXACT = "exact"
    NORMALIZED = "normalized"
    NUMERIC = "numeric"


@dataclass(frozen=True, slots=True)
class Rule:
    """How a field is compared. `absolute` and `share` (of the right number) are how far a number may be off."""

    exact: bool = False
    as_number: bool = False
    absolute: Decimal = Decimal(0)
    share: Decimal = Decimal(0)


_PLAIN_TYPES = frozenset({str, int, float, bool})
_SPACES = re.compile(r"\s+")
# Signs that are written in several ways, and what is not seen.
_SIGNS = {ord(sign): told for signs, told in (
    ("‘’‚‛′ʼ`´＇", "'"), ("“”„‟″«»＂", '"'), ("‐‑‒–—―−﹘﹣－", "-"), ("\u00ad\u200b\u200c\u200d\u2060\ufeff", ""),
) for sign in signs}  # fmt: skip
# ² is not 2, and ½ is not 1⁄2: what stands above or below the line keeps its place.
_PLACED = ("<super>", "<sub>", "<fraction>")
_MIDNIGHT = re.compile(r"\d{4}-\d\d-\d\d[t ]00:00(?::00(?:\.0+)?)?(?:z|[+]00:00)?")
# A decimal comma that can be nothing else: 1.234,50 and 10,5, but not 1,234.
_COMMA = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:[. ]\d{3})+),(?:\d{1,2}|\d{4,})")
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def matched(said: Any, gold: Any, rule: Rule) -> Match | None:
    """How an answer's value meets the right one; None where it does not. Missing is null.

    Blank text, an empty list and null are equal but for `exact` fields: they say that there is nothing.
    """
    if type(said) is type(gold) and type(said) in _PLAIN_TYPES and said == gold:
        return Match.EXACT
    if is_nothing(said) or is_nothing(gold):
        if same(said, gold):
            return Match.EXACT
        return Match.NORMALIZED if not rule.exact and is_nothing(said) and is_nothing(gold) else None
    if same(said, gold):
        return Match.EXACT
    if rule.exact:
        return None
    if rule.as_number and _near(said, gold, rule):
        return Match.NUMERIC
    return Match.NORMALIZED if canonical(said) == canonical(gold) else None


def alike_pairs(said: Sequence[Any], gold: Sequence[Any], rule: Rule) -> npt.NDArray[np.bool_]:
    """Whether each of some values meets each of some others, as `matched` does; numbers to a double's digits."""
    codes: dict[Any, int] = {None: 0}

    def code(value: Any) -> int:
        if rule.exact:
            return codes.setdefault(key_of(value), len(codes))
        return 0 if is_nothing(value) else codes.setdefault(canonical(value), len(codes))

    ours, theirs = (np.array([code(value) for value in side]) for side in (said, gold))
    alike: npt.NDArray[np.bool_] = ours[:, None] == theirs[None, :]
    if rule.as_number and not rule.exact:
        one, other = (np.array([_as_double(value) for value in side]) for side in (said, gold))
        with np.errstate(all="ignore"):
            slack = np.maximum(float(rule.absolute), float(rule.share) * np.abs(other))
            alike = alike | (np.abs(one[:, None] - other[None, :]) <= slack[None, :] * (1 + 1e-12))
    return alike


def _as_double(value: Any) -> float:
    number = decimal_of(value)
    return float("nan") if number is None else float(number)


def is_nothing(value: Any) -> bool:
    """Whether a value says that there is none: null, blank text, an empty list, an object that says nothing else."""
    if value is None or value is MISSING:
        return True
    if type(value) is str:
        return not value.strip()
    if type(value) is dict:
        # Looked into as deep as Python walks: what is nested deeper says something.
        with suppress(RecursionError):
            return all(map(is_nothing, value.values()))
        return False
    return type(value) is list and not value


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, 1 and true are not, nor a missing field and an empty text."""
    return bool(key_of(one) == key_of(other))


def key_of(value: Any) -> Any:
    """Something hashable that equal JSON values share, and others do not. Missing is null."""
    try:
        return _key_of(value)
    except RecursionError:
        # Nested deeper than Python walks: equal where their texts are.
        return ("deep", msgspec.json.encode(value, order="sorted"))


def _key_of(value: Any) -> Any:
    if value is MISSING or value is None:
        return None
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, dict):
        return ("object", frozenset((name, _key_of(part)) for name, part in value.items() if part is not None))
    if isinstance(value, list | tuple):
        return ("array", tuple(map(_key_of, value)))
    return value


def canonical(value: Any) -> Any:
    """The same for values that differ in what nobody means: case, white space, Unicode form, quotes and hyphens of
    texts, and whether a number or a truth is written as text (7 is "7", and "007" is not).
    """
    try:
        return _canonical(value)
    except RecursionError:
        return key_of(value)


def refuse_incomparable(value: Any) -> None:
    """Raises ValueError, RecursionError, ArithmeticError for a value that is too deep or too large to be compared."""
    _canonical(value)


def _canonical(value: Any) -> Any:
    if isinstance(value, str):
        return normal_text(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return _plain(Decimal(str(value)))
    if isinstance(value, list | tuple):
        return tuple(map(_canonical, value))
    if isinstance(value, Mapping):
        return frozenset((name, _canonical(part)) for name, part in value.items() if not is_nothing(part))
    return None


def normal_text(text: str) -> str:
    """A text without what nobody means by it."""
    if not text.isascii():
        text = "".join(
            sign if unicodedata.decomposition(sign).startswith(_PLACED) else unicodedata.normalize("NFKC", sign)
            for sign in normalized("NFC", text.translate(_SIGNS))
        )
        text = normalized("NFC", text).translate(_SIGNS)
    else:
        text = text.translate(_SIGNS)
    text = _SPACES.sub(" ", text).strip().casefold()
    # A day that a table holds as a time.
    return text[:10] if len(text) > 10 and _MIDNIGHT.fullmatch(text) else text


def decimal_of(value: Any) -> Decimal | None:
    """A number, or one that is written as text (1234.50, 1,234.50, 1.234,50); None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal):
        number = Decimal(str(value))
        return number if number.is_finite() else None
    if not isinstance(value, str):
        return None
    text = value.strip().translate(_SIGNS)
    if _COMMA.fullmatch(text):
        text = text.replace(".", "").replace(" ", "").replace(",", ".")
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    try:
        number = Decimal(text)
    except (InvalidOperation, ValueError):
        return None
    return number if number.is_finite() else None


def _near(said: Any, gold: Any, rule: Rule) -> bool:
    one, other = decimal_of(said), decimal_of(gold)
    if one is None or other is None or max(abs(one.adjusted()), abs(other.adjusted())) > 400:
        return False
    return abs(one - other) <= max(rule.absolute, rule.share * abs(other))


def _plain(number: Decimal) -> str:
    if abs(number.adjusted()) > 400:
        return str(number)
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
