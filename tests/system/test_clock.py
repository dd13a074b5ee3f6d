"""Time that passes, also where the machine does not see it pass."""

from __future__ import annotations

import time

import pytest

from rowmill.tasks.system.clock import Clock, elapsed


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system tells no time in which it was suspended")
def test_a_machine_that_was_suspended_knows_how_long(monkeypatch):
    """A lease that ran out while the lid was closed is known as that when it opens: monotonic seconds stand still."""
    passed = {time.CLOCK_BOOTTIME: 3_700.0, time.CLOCK_MONOTONIC: 100.0}
    monkeypatch.setattr(time, "clock_gettime", passed.__getitem__)
    monkeypatch.setattr(time, "monotonic", lambda: passed[time.CLOCK_MONOTONIC])
    assert Clock().now() == elapsed() == 3_700.0
