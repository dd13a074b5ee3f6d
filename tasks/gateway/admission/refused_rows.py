"""Refused rows: how long a row that was refused for its pace rests before it tries again."""

from __future__ import annotations

from dataclasses import dataclass

# Without a Retry-After a row rests this long, from the fourth refusal in a row on twice as long each time.
REST_FIRST_S = 0.25
REST_SAME = 2
REST_MOST_S = 30.0
# However long it is told to wait, a row rests no longer where others were answered while it was refused: what it was
# told is then no limit that anybody else meets, and an hour of it must not hold the run.
ALONE_REST_MOST_S = 60.0
# A row is taken to be refused by chance as often in a row as has at least this probability.
CHANCE = 1e-9
# Calls over which the share of refused ones is taken, and the least that is reckoned with.
RECENT = 200
LEAST_SHARE = 0.02


@dataclass(slots=True)
class _Refusals:
    times: int = 0
    rests_until: float = 0.0
    is_alone: bool = False


class RefusedRows:
    """The rows that were refused last time, and the share of calls refused lately. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._rows: dict[int, _Refusals] = {}
        self._share = 0.0

    def ended(self, row: int, *, refused: bool, retry_after: float | None, alone: bool, now: float) -> None:
        """A call has ended. `alone`: others were answered between its admission and its end."""
        self._share += (refused - self._share) / RECENT
        if not refused:
            self._rows.pop(row, None)
            return
        refusals = self._rows.setdefault(row, _Refusals())
        own = min(REST_MOST_S, REST_FIRST_S * 2 ** min(max(0, refusals.times - REST_SAME), 16))
        refusals.times += 1
        refusals.is_alone = refusals.is_alone or alone
        told = own if retry_after is None else retry_after
        refusals.rests_until = now + (min(told, ALONE_REST_MOST_S) if refusals.is_alone else told)

    def rests_until(self, row: int) -> float:
        """The moment from which the row may try again."""
        refusals = self._rows.get(row)
        return refusals.rests_until if refusals is not None else 0.0

    def settled(self, row: int) -> None:
        self._rows.pop(row, None)

    def by_chance(self, times: int) -> bool:
        """Whether chance explains that a row was refused so often in a row."""
        return max(LEAST_SHARE, self._share) ** times >= CHANCE
