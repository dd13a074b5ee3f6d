"""Refusal pauses: how long everybody waits after a refusal for pace. Times are monotonic seconds."""

from __future__ import annotations

PAUSE_FIRST_S = 1.0
PAUSE_MOST_S = 60.0
# Where a limit of ours holds calls back, what one refusal asks for is waited for in this share of the time at most.
PAUSED_OF = 100


class RefusalPauses:
    """Pauses without a word of the gateway's double until a call is answered; those that it asks for are seldom."""

    def __init__(self) -> None:
        self._next_s = PAUSE_FIRST_S
        self._paused_at = float("-inf")

    def answered(self) -> None:
        """A call was answered: the next pause is a short one."""
        self._next_s = PAUSE_FIRST_S

    def next_s(self) -> float:
        """Seconds of the pause that begins now."""
        seconds, self._next_s = self._next_s, min(PAUSE_MOST_S, self._next_s * 2)
        return seconds

    def may_pause(self, retry_after: float, now: float) -> bool:
        """Whether everybody may wait for what one refusal asks for: 1 % of the time at most."""
        if now - self._paused_at < PAUSED_OF * retry_after:
            return False
        self._paused_at = now
        return True
