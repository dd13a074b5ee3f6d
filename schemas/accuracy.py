"""Accuracy: how many rows are right by gold, and how well single labels or items are found."""

from __future__ import annotations

from msgspec import Struct


class Accuracy(Struct, frozen=True, kw_only=True):
    """Rows that have gold, how many of them are right, their share and its 95 % interval.

    The share is None without a row, the interval also where the rows are no sample.
    """

    rows: int = 0
    right: int = 0
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None


class Retrieval(Struct, frozen=True, kw_only=True):
    """Precision, recall and F1 of what was said against gold; None where no row defines one."""

    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
