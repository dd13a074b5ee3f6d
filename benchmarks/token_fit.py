"""Token fit: token_costs.py from a real tokenizer's counts (`python -m benchmarks token-fit`).

Non-negative least squares on relative errors: each source's total (so that no kind is off), and each text (so that rows
of a kind are alike). Every source weighs as much as the next but for those in HEAVIER. A ridge holds what few texts
speak of near what is usual. Costs are rounded to a twentieth where a digit stands for them, and the others fitted once
more.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls

from benchmarks.measure import ROOT
from benchmarks.token_texts import kinds
from rowmill.tasks.forecast import token_classes as table
from rowmill.tasks.forecast.token_classes import CLASSES, Cost, costs_of
from rowmill.tasks.forecast.tokens import in_classes, long_runs

Numbers = npt.NDArray[np.float64]
WRITTEN = ROOT / "tasks" / "forecast" / "token_costs.py"
TEXTS_EACH = 250
SINGLE_TEXTS = 0.15
RIDGE, RIDGE_OTHERS = 0.002, 0.0001
USUAL = {"letters": 0.33, "before": 0.12, "after": 0.12, "first": 0.6, "next": 0.5}
IN_DIGITS = ("letters", "before", "after")
HEAVIER = {
    "english": 4.0, "german": 2.0, "french": 2.0, "spanish": 2.0, "italian": 2.0, "portuguese": 2.0, "polish": 2.0,
    "turkish": 2.0, "vietnamese": 2.0, "dutch": 2.0, "letters": 2.0,
}  # fmt: skip
MOST = 35
HEAD = """Token costs: tokens of each class of characters by what stands before it.

Written by `python -m benchmarks token-fit`. Rows are the left neighbour, columns the right one, in the order of
token_classes.py; letters in twentieths of a token.
"""


def fit(count: Callable[[list[str]], list[int]]) -> dict[Cost, float]:
    """Costs by name, from the texts that a fit may see."""
    names, design = _design()
    square, right = np.zeros((len(names), len(names))), np.zeros(len(names))
    for kind, source, texts in kinds(held_out=False, many=TEXTS_EACH):
        counted = np.array(count(texts), float)
        rows = np.array([_amounts(text, design, len(names)) for text in texts])
        whole, single = rows.sum(0) / counted.sum(), rows / counted[:, None]
        weights = np.sqrt(counted) / np.sqrt(counted).sum()
        heavy = HEAVIER.get(kind, 1.0) * HEAVIER.get(source, 1.0)
        square += heavy * (np.outer(whole, whole) + SINGLE_TEXTS * (single.T * weights) @ single)
        right += heavy * (whole + SINGLE_TEXTS * single.T @ weights)
    usual = np.array([USUAL.get(name[0], 0.0) for name in names])
    ridge = np.array([RIDGE if name[0] in IN_DIGITS else RIDGE_OTHERS for name in names])
    square, right = square + np.diag(ridge), right + ridge * usual
    costs = _least(square, right)
    digits = np.array([name[0] in IN_DIGITS for name in names])
    costs[digits] = np.round(np.minimum(costs[digits], MOST / table.DIGIT) * table.DIGIT) / table.DIGIT
    rest = ~digits
    costs[rest] = _least(square[np.ix_(rest, rest)], right[rest] - square[np.ix_(rest, digits)] @ costs[digits])
    return dict(zip(names, costs.tolist(), strict=True))


def _design() -> tuple[list[Cost], list[npt.NDArray[np.int64]]]:
    """The names of all costs, and for each pair of classes the numbers of those that it takes."""
    numbers: dict[Cost, int] = {}
    design = [
        np.array([numbers.setdefault(cost, len(numbers)) for cost in costs_of(left, right)], np.int64)
        for left in CLASSES for right in CLASSES
    ]  # fmt: skip
    for side in table.RUNS:
        numbers["run", side] = len(numbers)
    return list(numbers), design


def _amounts(text: str, design: list[npt.NDArray[np.int64]], many: int) -> Numbers:
    """How often a text takes each cost."""
    amounts = np.zeros(many)
    classes = in_classes(text)
    pairs = np.bincount(classes[:-1].astype(np.int64) * len(CLASSES) + classes[1:])
    for pair in np.flatnonzero(pairs):
        amounts[design[pair]] += pairs[pair]
    amounts[many - len(table.RUNS) :] = long_runs(classes)
    return amounts


def _least(square: Numbers, right: Numbers) -> Numbers:
    """The non-negative minimum of x'Ax - 2b'x: least squares on the Cholesky factor."""
    factor = cholesky(square)
    found: Numbers = nnls(factor, solve_triangular(factor, right, trans="T"), maxiter=20 * len(right))[0]
    return found


def write(costs: dict[Cost, float], path: Path = WRITTEN) -> None:
    """The module of the costs."""
    path.write_text(f'"""{HEAD}"""\n\n' + "\n".join(line.rstrip() for line in _lines(costs)) + "\n")


def _lines(costs: dict[Cost, float]) -> list[str]:
    letters, cyrillic = tuple(table.LETTERS), tuple(table.CYRILLIC)
    of = {
        name: [costs.get((name, letter), 0.0) for letter in cyrillic] for name in ("before", "after")
    } | {name: [costs.get((name, script), 0.0) for script in table.SCRIPTS] for name in ("first", "next")}  # fmt: skip
    scripts = zip(table.SCRIPTS, of["first"], of["next"], strict=True)
    runs = ", ".join(f"{costs['run', side]:.3f}" for side in table.RUNS)
    return [
        "# In twentieths of a token, 0 to 9 and a to z.",
        'LETTER_PAIRS = """',
        *(f"{left:<10} " + _digits([costs["letters", left, right] for right in letters]) for left in letters),
        '"""',
        "# In tokens.",
        'NEIGHBOURS = """',
        *(f"{left:<8} " + " ".join(_hundredths(costs.get(("neighbours", left, right), 0.0)) for right in table.SIDES)
          for left in table.SIDES),
        '"""',
        "# Twentieths again: of a small Cyrillic letter before and after another.",
        "CYRILLIC_COSTS = {",
        *(f'    "{name}": "{_digits(of[name])}",' for name in ("before", "after")),
        "}",
        "# Tokens of the first unit of a stretch and of each next one.",
        "SCRIPT_COSTS = {",
        *(f'    "{script}": ({first:.2f}, {following:.2f}),' for script, first, following in scripts),
        "}",
        "# Tokens of each letter of RUNS beyond the longest word.",
        f"RUN_COSTS = ({runs})",
    ]  # fmt: skip


def _digits(costs: list[float]) -> str:
    return "".join(np.base_repr(round(cost * table.DIGIT), 36).lower() for cost in costs)


def _hundredths(cost: float) -> str:
    return f"{cost:.2f}" if cost >= 0.005 else "-   "
