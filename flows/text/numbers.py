"""Numbers: a share, its interval and a plain number for people; a dash stands for what no row defines."""

from __future__ import annotations

from typing import Protocol

NOTHING = "–"


class Estimated(Protocol):
    """A share and its 95 % interval, of an Accuracy and its like."""

    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def share(value: float | None) -> str:
    """A share in per cent."""
    return NOTHING if value is None else f"{value:.1%}"


def number(value: float | None) -> str:
    """A number with two decimals."""
    return NOTHING if value is None else f"{value:.2f}"


def interval(of: Estimated, none: str = NOTHING) -> str:
    """An interval in per cent; `none` where there is none."""
    return none if of.low is None or of.high is None else f"{of.low:.1%} to {of.high:.1%}"
