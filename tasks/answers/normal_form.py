"""Normal form: Unicode normalization in time linear in the text, whatever marks stand in it.

Python puts the marks behind a letter in order by moving each past those before it, which is quadratic: half a megabyte
of two accents in turn takes minutes. Runs longer than Unicode's stream-safe format allows (UAX #15, 30 marks) are
normalized piece by piece; no language has them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

MARKS_MOST = 30
# Shorter texts are normalized in a millisecond, whatever stands in them.
SHORT_CHARS = 1_000

Points = npt.NDArray[np.unsignedinteger[Any]]


def normalized(form: Literal["NFC", "NFKC"], text: str) -> str:
    """A text in one of Unicode's forms."""
    if len(text) <= SHORT_CHARS or unicodedata.is_normalized(form, text):
        return unicodedata.normalize(form, text)
    return "".join(unicodedata.normalize(form, piece) for piece in _pieces(text))


def code_points(text: str) -> Points:
    """The code points of a text, lone surrogates among them."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def text_of(points: Points) -> str:
    """The text of code points."""
    return points.astype("<u4", copy=False).tobytes().decode("utf-32-le", "surrogatepass")


def _pieces(text: str) -> Iterator[str]:
    """The text cut within runs of marks that are too long."""
    marked = _is_mark()[code_points(text)]
    at = np.arange(len(marked))
    behind_letter = at - np.maximum.accumulate(np.where(marked, -1, at))
    start = 0
    for end in np.flatnonzero((behind_letter > 0) & (behind_letter % MARKS_MOST == 0)).tolist():
        yield text[start : end + 1]
        start = end + 1
    yield text[start:]


@lru_cache(1)
def _is_mark() -> npt.NDArray[np.bool_]:
    """Of each code point, whether it is put in order among others: 0.1 s, once, when a long text is not yet normal."""
    return np.fromiter((unicodedata.combining(chr(point)) > 0 for point in range(0x110000)), np.bool_, 0x110000)
