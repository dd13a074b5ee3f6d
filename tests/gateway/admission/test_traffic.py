"""Traffic through the gate, of one process and of several together."""

from __future__ import annotations

from rowmill.tasks.gateway.admission.traffic import Traffic, together


def test_several_doors_are_shown_as_one():
    """Calls of all workers add up, and the run waits for something only where nothing passes."""
    waits = Traffic(in_flight=0, limit=8, waiting_for="rate limit", opens_in=5.0, lately=(("timeout", 2),))
    busy = Traffic(in_flight=8, limit=8, calls=60, waiting_for="concurrency", lately=(("timeout", 1),))
    assert together([waits, busy]) == Traffic(8, 16, 60, 0, None, 0.0, 0, (("timeout", 3),))
    assert together([waits, waits]).waiting_for == "rate limit"
    assert together([]) == Traffic()
