"""Scored rows: what an output tells of its gold rows, and their accuracy and cost with intervals."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from rowmill.schemas.tuning import Measure
from rowmill.tasks.labelling.scores import Z_95, score_interval
from rowmill.tasks.output.results_frame import result_parts, scan_part


@dataclass(frozen=True, slots=True)
class Scored:
    """One gold row: the share of it that is right (0 or 1 for a label), and what it cost in USD where that is known."""

    right: float
    usd: float | None


def scored_rows(results: Path, rows: Collection[int]) -> dict[int, Scored]:
    """The rows that are settled, by position. A row that is not ok is wrong; one whose gold is no gold is left out."""
    import polars as pl

    parts = result_parts(results)
    found: dict[int, Scored] = {}
    for part in parts:
        wanted = scan_part(part).filter(pl.col("row_index").is_in(list(rows)))
        frame = wanted.select(pl.col("row_index", "status", "cost_usd", "^(correct|field_correct)$")).collect()
        for row in frame.iter_rows(named=True):
            right = _share_right(row)
            if right is not None:
                usd = None if row["cost_usd"] is None else float(row["cost_usd"])
                found[row["row_index"]] = Scored(right, usd)
    return found


def shares_right(results: Path, not_ok: int = 0) -> list[float]:
    """The share that is right of every settled row that has gold. Rows that are not ok are wrong: those of a labelling
    job tell their gold, of an extraction `not_ok` tells how many have some.
    """
    import polars as pl

    shares = [0.0] * not_ok
    for part in result_parts(results):
        wanted = scan_part(part).select(pl.col("status", "^(gold|correct|field_correct)$"))
        for row in wanted.collect().iter_rows(named=True):
            if row["status"] == "ok":
                right = _share_right(row)
                shares += [] if right is None else [right]
            elif "correct" in row and row["gold"] is not None:
                shares.append(0.0)
    return shares


def _share_right(row: Mapping[str, object]) -> float | None:
    told = row.get("correct", row.get("field_correct"))
    if isinstance(told, bool):
        return float(told)
    fields = list(_booleans(told))
    if fields:
        return sum(fields) / len(fields)
    return None if row["status"] == "ok" else 0.0


def _booleans(value: object) -> list[bool]:
    """The verdicts of a struct of any depth; fields without gold have none."""
    if isinstance(value, bool):
        return [value]
    if isinstance(value, Mapping):
        return [one for part in value.values() for one in _booleans(part)]
    if isinstance(value, list):
        return [one for part in value for one in _booleans(part)]
    return []


def interval(shares: Collection[float], z: float, unseen: float = 0.0) -> tuple[float, float, float]:
    """(mean, low, high) of shares right: Wilson's interval, for as many rows as the shares' own spread is worth.

    A few rows may look more alike than all are: `unseen` rows are reckoned with besides that are right or wrong as a
    whole, which is the widest spread that shares can have.
    """
    count = len(shares)
    if not count:
        return 0.0, 0.0, 1.0
    mean = sum(shares) / count
    widest = mean * (1 - mean)
    spread = (sum((share - mean) ** 2 for share in shares) + unseen * widest) / (count + unseen)
    # Of rows with many fields each, one tells more than a yes or no does.
    worth = count * (widest / spread if spread > 0 else 1.0)
    return mean, *score_interval(mean, worth, z)


def standard_error(values: Collection[float]) -> float:
    """Of the mean of two values or more."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((one - mean) ** 2 for one in values) / (len(values) - 1) / len(values))


def cost_interval(amounts: Collection[float | None], z: float) -> tuple[float, float, float] | None:
    """(mean, low, high) of a row's cost in USD; None where a price is unknown or there is no row."""
    known = [amount for amount in amounts if amount is not None]
    if not known or len(known) < len(amounts):
        return None
    mean = sum(known) / len(known)
    if len(known) == 1:
        return mean, 0.0, math.inf
    error = standard_error(known)
    return mean, max(0.0, mean - z * error), mean + z * error


def measure(scored: Collection[Scored], z: float = Z_95) -> Measure:
    """Accuracy and cost of these rows, each with an interval of `z` standard errors either way."""
    if not scored:
        return Measure()
    accuracy, low, high = interval([one.right for one in scored], z)
    cost = cost_interval([one.usd for one in scored], z)
    usd = [None, None, None] if cost is None else [1_000 * amount for amount in cost]
    return Measure(len(scored), accuracy, low, high, *usd)
