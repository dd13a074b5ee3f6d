"""Traffic: what passes the door to the gateway at a moment, in one process or over all workers of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from rowmill.tasks.gateway.admission.gate import Gate

LATELY_S = 30.0
# Failures shown, the most frequent first.
KINDS_SHOWN = 3
# What a door is closed by that is no more than how a run goes.
USUAL = (None, "concurrency")


class Traffic(msgspec.Struct, frozen=True):
    """Calls in flight of those allowed, calls and tokens a minute, why it waits, failures by kind lately, and
    all calls that ended by their verdict.
    """

    in_flight: int = 0
    limit: int = 0
    calls: float = 0.0
    tokens: float = 0.0
    waiting_for: str | None = None
    opens_in: float = 0.0
    retrying: int = 0
    lately: tuple[tuple[str, int], ...] = ()
    # All calls that ended so far.
    verdicts: dict[str, int] = {}


def traffic_at(gate: Gate, now: float) -> Traffic:
    """The traffic through one door."""
    calls, tokens = gate.limiter.a_minute(now)
    lately = Counter(kind for at, kind in gate.recent if now - at <= LATELY_S)
    return Traffic(
        gate.in_flight, gate.concurrency.limit, calls, tokens, gate.waiting_for,
        gate.opens_in(now), gate.retrying, tuple(lately.most_common(KINDS_SHOWN)), dict(gate.verdicts),
    )  # fmt: skip


def together(doors: Iterable[Traffic]) -> Traffic:
    """The traffic through several doors. It waits for something only where each of them does, or nothing passes."""
    seen = list(doors)
    lately = Counter({kind: 0 for door in seen for kind, _ in door.lately})
    for door in seen:
        lately.update(dict(door.lately))
    verdicts: Counter[str] = Counter()
    for door in seen:
        verdicts.update(door.verdicts)
    in_flight = sum(door.in_flight for door in seen)
    waiting = [door for door in seen if door.waiting_for not in USUAL]
    shown = waiting[0] if waiting and (len(waiting) == len(seen) or not in_flight) else Traffic()
    return Traffic(
        in_flight,
        sum(door.limit for door in seen),
        sum(door.calls for door in seen),
        sum(door.tokens for door in seen),
        shown.waiting_for,
        shown.opens_in,
        sum(door.retrying for door in seen),
        tuple(lately.most_common(KINDS_SHOWN)),
        dict(verdicts),
    )
