"""Spending: all that was ever sent for an output, from its files alone, also while a run lives."""

from __future__ import annotations

from pathlib import Path

from rowmill.schemas.attempt import Spent
from rowmill.schemas.errors import DamageError
from rowmill.tasks.journal.ledger import LEDGER, Ledger
from rowmill.tasks.journal.replay import Replay, replay
from rowmill.tasks.output.layout import CANARY, segments_in


def spent_in(root: Path) -> Spent:
    """The ledger's sum, and what was sent from segments that it does not hold yet, calls in flight at their bound.

    Raises DamageError.
    """
    ledger = Ledger(root / LEDGER)
    live = (found.sent for found in open_segments(root, ledger).values())
    return sum(live, ledger.spent) + spent_on_canary(root, ledger)


def spent_on_canary(root: Path, ledger: Ledger) -> Spent:
    """What a run that is at it, or was killed then, has sent to ask settled rows again. Raises DamageError."""
    found = canary_in(root / "journal")
    return found.sent if found is not None and not ledger.holds(found.head.id) else Spent()


def canary_in(journal: Path) -> Replay | None:
    """The journal of settled rows that are asked again; None where there is none. Raises DamageError, saying what its
    loss costs: no result, since it holds none, but the bill of its calls.
    """
    path = journal / CANARY
    try:
        return replay(path)
    except FileNotFoundError:
        return None
    except DamageError as error:
        raise DamageError(
            error.what,
            where=error.where,
            hint=f"restore it from a copy, or move it out of {journal}: it holds no results, and the run goes on; what "
            "its calls cost is then in no total, so lower max_cost_usd by it",
        ) from None


def open_segments(root: Path, ledger: Ledger) -> dict[int, Replay]:
    """The segments that the ledger does not hold, by shard number. Raises DamageError."""
    found: dict[int, Replay] = {}
    for number, path in segments_in(root / "journal").items():
        try:
            replayed = replay(path)
        except FileNotFoundError:
            # The run finished this shard between the listing and the reading.
            continue
        if replayed is not None and not ledger.holds(replayed.head.id or path.name):
            found[number] = replayed
    return found
