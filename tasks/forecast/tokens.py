"""Tokens: how many a text will be billed as, before anybody has counted them.

By script class, a regression fitted to Gemma's tokenizer (docs/forecast.md), or by a tokenizer file of the user's own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rowmill.schemas.errors import InputError
from rowmill.tasks.forecast.token_classes import (
    ASCII,
    CLASSES,
    CYRILLIC,
    DIGIT,
    LETTERS,
    LONGEST_WORD,
    RUNS,
    SCRIPTS,
    SIDES,
    Cost,
    costs_of,
    side_of,
)
from rowmill.tasks.forecast.token_costs import CYRILLIC_COSTS, LETTER_PAIRS, NEIGHBOURS, RUN_COSTS, SCRIPT_COSTS

Count = Callable[[str], float]

# What stands before a text: a line ends there.
START = "line"


def _classes() -> npt.NDArray[np.intp]:
    classes = np.full(1 << 16, CLASSES.index("other"), np.intp)
    for number, name in enumerate(CLASSES):
        for first, last in LETTERS.get(name) or ASCII.get(name) or SCRIPTS.get(name, ()):
            classes[first : last + 1] = number
    for letter in CYRILLIC:
        classes[ord(letter)] = CLASSES.index(letter)
    return classes


def costs() -> dict[Cost, float]:
    """Costs in tokens by name, as token_costs.py spells them."""
    found: dict[Cost, float] = {}
    for line in LETTER_PAIRS.strip().splitlines():
        left, digits = line.split()
        found.update(
            {("letters", left, right): _twentieths(digit) for right, digit in zip(LETTERS, digits, strict=True)}
        )
    for line in NEIGHBOURS.strip().splitlines():
        left, *cells = line.split()
        found.update(
            {
                ("neighbours", left, right): float(cell.replace("-", "0"))
                for right, cell in zip(SIDES, cells, strict=True)
            }
        )
    for name, digits in CYRILLIC_COSTS.items():
        found.update({(name, letter): _twentieths(digit) for letter, digit in zip(CYRILLIC, digits, strict=True)})
    for script, (first, following) in SCRIPT_COSTS.items():
        found["first", script], found["next", script] = first, following
    return found


def _twentieths(digit: str) -> float:
    return int(digit, 36) / DIGIT


def _pair_costs() -> npt.NDArray[np.float32]:
    """Tokens of a unit by (its left neighbour's class, its own)."""
    by_name = costs()
    rows = [[sum(by_name.get(name, 0.0) for name in costs_of(left, right)) for right in CLASSES] for left in CLASSES]
    return np.array(rows, np.float32).ravel()


_CLASSES = _classes()
_PAIRS = _pair_costs()
# 1: small letters, 2: capitals, 0: all else.
_RUNS = np.array([(None, *RUNS).index(name if name in RUNS else None) for name in map(side_of, CLASSES)], np.uint8)
# Eight units of one kind, read as one number.
_EIGHT = tuple(np.frombuffer(bytes([number]) * 8, np.uint64)[0] for number in (1, 2))
_START = CLASSES.index(START)


def in_classes(text: str) -> npt.NDArray[np.intp]:
    """The classes of a text's UTF-16 units, after that of what stands before them."""
    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")
    classes = np.empty(len(units) + 1, np.intp)
    classes[0] = _START
    _CLASSES.take(units, out=classes[1:], mode="clip")
    return classes


def long_runs(classes: npt.NDArray[np.intp]) -> tuple[int, ...]:
    """Letters beyond the longest word of their run, for each of RUNS."""
    kinds = _RUNS.take(classes)
    # A run that long holds twice eight units that begin at a multiple of eight: few texts have one.
    eights = kinds[: len(kinds) // 8 * 8].view(np.uint64)
    if not any(((eights[1:] == eight) & (eights[:-1] == eight)).any() for eight in _EIGHT):
        return (0,) * len(RUNS)
    ends = np.append(np.flatnonzero(kinds[1:] != kinds[:-1]), len(kinds) - 1)
    beyond = np.maximum(np.diff(ends, prepend=-1) - LONGEST_WORD, 0)
    return tuple(int(beyond[kinds[ends] == number].sum()) for number in range(1, len(RUNS) + 1))


def by_script(text: str) -> float:
    """Tokens by the classes of a text's characters and of their neighbours: some 15 µs for a kilobyte."""
    if not text:
        return 0.0
    classes = in_classes(text)
    tokens = float(_PAIRS.take(classes[:-1] * len(CLASSES) + classes[1:]).sum())
    tokens += sum(cost * units for cost, units in zip(RUN_COSTS, long_runs(classes), strict=True))
    return max(1.0, tokens)


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
