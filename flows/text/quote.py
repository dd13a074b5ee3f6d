"""Quote: what was quoted for a run and what it came to, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowmill.flows.text.forecast import usd


def quote_line(told: Mapping[str, Any]) -> str:
    """One line for the summary at a run's end."""
    quoted, found = told["quoted"], told["found"]
    verdict = {True: "kept", False: "broken", None: "not tested, no gold row is settled"}[told["is_kept"]]
    came = f"; it came to {_figures(found)}" if found["accuracy"] is not None else ""
    return f"quote: {_figures(quoted)}{came}: {verdict}"


def quote_pairs(told: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """The same for the report."""
    if not told:
        return []
    verdict = {True: "kept", False: "broken", None: "not tested: no gold row is settled"}[told["is_kept"]]
    quoted = told["quoted"]
    return [
        ("quoted", _figures(quoted)),
        ("the run", _figures(told["found"])),
        ("target", f"{quoted['target']:.1%}, at most {quoted['margin']:.1%} below it"),
        ("the quote is", verdict),
    ]


def _figures(told: Mapping[str, Any]) -> str:
    right = "no gold row"
    if told["accuracy"] is not None:
        right = f"{told['accuracy']:.1%} [{told['low']:.1%}, {told['high']:.1%}] right of {told['rows']:,} gold rows"
    cost = told["usd_per_1000_rows"]
    return right if cost is None else f"{right}, {usd(cost)} per 1,000 rows"
