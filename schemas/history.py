"""History: what one run leaves behind for the nights after it: a line of `history.jsonl`."""

from __future__ import annotations

from typing import Any

import msgspec

# Ends that no run writes down itself.
KILLED, RUNNING = "killed", "running"
# What is counted about the rows of a run. In the kinds of CHOICES each row has one of several names, so that a name
# which is not there was counted 0 times.
STATUS, FILLED, LABEL, VALUE, SUPPORTED = "status", "filled", "label", "value", "supported"
UNANIMOUS, CORRECT = "unanimous", "correct"
CHOICES = frozenset((STATUS, LABEL))
# Kind → name → (rows of which it holds, rows that were looked at).
Shares = dict[str, dict[str, tuple[int, int]]]


class RunRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One run of an output: when, how it ended, what it cost, and shares of the rows that it settled.

    `keys` are those of the job's fingerprint, to name what changed; `drawn` says what rows it asked where that was not
    simply what was new (`retry`, `pilot`). `calls`, `cost_usd` (decimal string, None where it is not known) and
    `unknown_usd` (the bound of calls of unknown bill) are the run's own, `sent` (calls, USD, bound) all that was sent
    for this output until its end. `shares` is None where nobody has counted them.
    """

    run_id: str
    name: str
    model: str
    started_at: str
    ended_at: str | None = None
    kind: str
    code: str | None = None
    fingerprint: str = ""
    keys: dict[str, str] = {}
    sandbox: bool = False
    drawn: str | None = None
    ledger: dict[str, int] = {}
    calls: int | None = 0
    cost_usd: str | None = "0"
    unknown_usd: str = "0"
    sent: tuple[int, str | None, str] | None = None
    shares: Shares | None = None

    @property
    def rows(self) -> int | None:
        """Rows that this run settled; None where nobody has counted them."""
        return None if self.shares is None else sum(count for count, _ in self.shares.get(STATUS, {}).values())

    @property
    def by_status(self) -> dict[str, int]:
        """Rows that this run settled, by status."""
        return {name: count for name, (count, _) in (self.shares or {}).get(STATUS, {}).items()}


def record_of(value: Any) -> RunRecord:
    """A line of the history. Raises msgspec.MsgspecError where it is none."""
    return msgspec.json.decode(value, type=RunRecord)
