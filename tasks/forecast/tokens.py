"""Tokens: how many a text will be billed as, before anybody has counted them.

By script class, a regression fitted to Gemma's tokenizer (docs/forecast.md), or by a tokenizer file of the user's own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rowmill.schemas.errors import InputError

Count = Callable[[str], float]

# Classes of UTF-16 units; the ranges of each, ends included. What is in no range is "other".
RANGES: dict[str, tuple[tuple[int, int], ...]] = {
    "space": ((0x20, 0x20), (0x09, 0x09)),
    "line": ((0x0A, 0x0A), (0x0D, 0x0D)),
    "lower": ((0x61, 0x7A),),
    "upper": ((0x41, 0x5A),),
    "digit": ((0x30, 0x39),),
    "mark": ((0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7F)),
    "latin": ((0xC0, 0x24F), (0x300, 0x36F), (0x1E00, 0x1EFF)),
    "greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "cyrillic": ((0x400, 0x52F),),
    "caucasus": ((0x530, 0x58F), (0x10A0, 0x10FF)),
    "hebrew": ((0x590, 0x5FF),),
    "arabic": ((0x600, 0x8FF),),
    "ethiopic": ((0x1200, 0x139F),),
    "indic": ((0x900, 0x9FF), (0xB80, 0xBFF)),
    "brahmic": ((0xA00, 0xB7F), (0xC00, 0xDFF)),
    "southeast": ((0xE00, 0x109F), (0x1780, 0x17FF)),
    "korean": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF)),
    "kana": ((0x3040, 0x30FF),),
    "han": ((0x3400, 0x9FFF), (0xF900, 0xFAFF)),
    "astral": ((0xD800, 0xDFFF),),
    "other": (),
}
NAMES = tuple(RANGES)
# All that are no ASCII count as one side of a pair.
SIDES = (*NAMES[:6], "other")

# Tokens for each unit of a class, for each stretch of units of one class, and for each two neighbours.
PER_UNIT = {
    "upper": 0.191,
    "greek": 0.371,
    "cyrillic": 0.096,
    "caucasus": 0.105,
    "hebrew": 0.506,
    "arabic": 0.355,
    "indic": 0.252,
    "brahmic": 0.373,
    "southeast": 0.286,
    "korean": 0.414,
    "kana": 0.347,
    "han": 0.592,
    "astral": 0.791,
    "other": 0.463,
    "ethiopic": 0.9,
}
PER_STRETCH = {
    "upper": 0.26,
    "mark": 0.654,
    "latin": 0.24,
    "greek": 0.249,
    "cyrillic": 1.045,
    "caucasus": 3.002,
    "hebrew": 0.14,
    "indic": 0.214,
    "brahmic": 0.392,
    "southeast": 0.815,
    "korean": 0.662,
    "kana": 0.121,
    "han": 0.219,
    "astral": 0.651,
    "other": 0.539,
}
PER_PAIR = {
    ("space", "space"): 0.098,
    ("space", "digit"): 1.99,
    ("space", "mark"): 0.493,
    ("line", "digit"): 1.717,
    ("lower", "lower"): 0.303,
    ("lower", "upper"): 0.801,
    ("lower", "digit"): 1.212,
    ("lower", "other"): 0.865,
    ("upper", "space"): 0.191,
    ("upper", "digit"): 2.137,
    ("upper", "mark"): 0.99,
    ("upper", "other"): 1.066,
    ("digit", "line"): 0.947,
    ("digit", "lower"): 0.851,
    ("digit", "upper"): 0.658,
    ("digit", "digit"): 1.013,
    ("digit", "mark"): 0.011,
    ("mark", "line"): 0.836,
    ("mark", "lower"): 0.532,
    ("mark", "digit"): 1.219,
    ("other", "mark"): 0.438,
}


def _tables() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    classes = np.full(1 << 16, NAMES.index("other"), np.uint8)
    for name, ranges in RANGES.items():
        for first, last in ranges:
            classes[first : last + 1] = NAMES.index(name)
    per_unit = np.array([PER_UNIT.get(name, 0.0) for name in NAMES])
    # One table for what a neighbour adds: the pair's own, and a new stretch where the class changes.
    pairs = np.zeros((len(NAMES), len(NAMES)))
    for left in range(len(NAMES)):
        for right in range(len(NAMES)):
            of = (SIDES[min(left, len(SIDES) - 1)], SIDES[min(right, len(SIDES) - 1)])
            pairs[left, right] = PER_PAIR.get(of, 0.0)
            if left != right:
                pairs[left, right] += PER_STRETCH.get(NAMES[right], 0.0)
    return classes, per_unit, pairs.ravel()


_CLASSES, _PER_UNIT, _PER_PAIR = _tables()


def by_script(text: str) -> float:
    """Tokens by the classes of a text's characters and of their neighbours: some 10 µs for a kilobyte."""
    if not text:
        return 0.0
    units = np.frombuffer(text.encode("utf-16-le", "replace"), "<u2")
    classes = _CLASSES[units]
    first = PER_STRETCH.get(NAMES[classes[0]], 0.0)
    pairs = classes[:-1] * np.uint16(len(NAMES)) + classes[1:]
    return float(_PER_UNIT[classes].sum() + _PER_PAIR[pairs].sum() + first + 1.0)


def by_tokenizer(path: Path) -> Count:
    """Tokens by a file in the JSON format of the tokenizers package. Raises InputError."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise InputError(
            "the tokenizers package is not installed", where="--tokenizer", hint="pip install 'rowmill[tokenizer]'"
        ) from None
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        # The package raises bare Exceptions for a missing file and for one of another form.
        raise InputError(f"no tokenizer file: {error}", where=str(path), hint="name a tokenizer.json") from None
    return lambda text: float(len(tokenizer.encode(text, add_special_tokens=False).ids))
