"""Quote: what was quoted for a run and what it came to, in words."""

from __future__ import annotations

from rowmill.flows.text.numbers import share
from rowmill.schemas.display_text import Pairs, counted
from rowmill.schemas.price import usd
from rowmill.schemas.quote import GoldFigures, QuoteOutcome


def quote_line(outcome: QuoteOutcome) -> str:
    """One line for the summary at a run's end."""
    found = outcome.found
    verdict = {True: "kept", False: "broken", None: "not tested, no gold row is settled"}[outcome.is_kept]
    came = f"; it came to {_figures(found)}" if found.accuracy is not None else ""
    return f"quote: {_figures(outcome.quoted)}{came}: {verdict}"


def quote_pairs(outcome: QuoteOutcome | None) -> Pairs:
    """The same for the report."""
    if outcome is None:
        return []
    verdict = {True: "kept", False: "broken", None: "not tested: no gold row is settled"}[outcome.is_kept]
    quoted = outcome.quoted
    return [
        ("quoted", _figures(quoted)),
        ("the run", _figures(outcome.found)),
        ("target", f"{quoted.target:.1%}, at most {quoted.margin:.1%} below it"),
        ("the quote is", verdict),
    ]


def _figures(of: GoldFigures) -> str:
    right = "no gold row"
    if of.accuracy is not None:
        right = f"{share(of.accuracy)} [{share(of.low)}, {share(of.high)}] right of {counted(of.rows, 'gold row')}"
    cost = of.usd_per_1000_rows
    return right if cost is None else f"{right}, {usd(cost)} per 1,000 rows"
