"""Replay: a segment read back: what is settled, what each open row has cost, and all that was ever sent from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rowmill.schemas.account import Account, Voted
from rowmill.schemas.attempt import Spent
from rowmill.schemas.errors import DamageError
from rowmill.schemas.outcome import Outcome
from rowmill.tasks.journal.entries import (
    NO_HEAD,
    Bill,
    Entry,
    Head,
    Intent,
    Opened,
    PackBill,
    PackIntent,
    entry_or_none,
)

# Segments of this version told no bill of an accepted attempt apart from its outcome.
WITHOUT_BILLS = 1


@dataclass(slots=True)
class Replay:
    """What a segment holds: offsets of outcomes by row, the accounts of rows without one, calls left in flight.

    `billed` is the sum of this segment's own attempts, whatever became of their rows.
    """

    head: Head
    end: int = 0
    settled: dict[int, tuple[int, int]] = field(default_factory=dict)
    accounts: dict[int, Account] = field(default_factory=dict)
    in_flight: dict[int, Intent] = field(default_factory=dict)
    # What of a row's account another row's holds too.
    counted: dict[int, Spent] = field(default_factory=dict)
    billed: Spent = Spent()

    @property
    def unsettled(self) -> Spent:
        """What rows without an outcome have cost, calls left in flight left out, and what another row counts."""
        all_of_them = sum((account.total for account in self.accounts.values()), Spent())
        return all_of_them - sum((spent for row, spent in self.counted.items() if row in self.accounts), Spent())

    @property
    def lost(self) -> Spent:
        """Calls left in flight at their worst case: they may have been paid."""
        return sum((lost_call(intent) for intent in self.in_flight.values()), Spent())

    @property
    def sent(self) -> Spent:
        """All that this segment's attempts cost, or may have cost."""
        return self.billed + self.lost

    def account(self, row: int) -> Account:
        """The account of a row that is not settled; an empty one where nothing was sent for it."""
        return self.accounts.get(row) or Account()

    def see(self, entry: Entry, offset: int, length: int) -> None:
        """Take in an entry that stands at `offset`."""
        # The three of every row by their very class: to ask whether an entry is of another takes longer than these do.
        if type(entry) is Intent:
            self.in_flight[entry.row] = entry
        elif type(entry) is Bill:
            self.billed = self.billed + entry.spent
            intent = self.in_flight.pop(entry.row, None)
            account = self.accounts.get(entry.row) or Account(intent.key if intent is not None else "")
            self.accounts[entry.row] = account.billed(entry.kind, entry.spent, entry.declined)
        elif type(entry) is Outcome:
            self._settle(entry, offset, length)
        else:
            self._see_rare(entry, offset, length)

    def _settle(self, outcome: Outcome, offset: int, length: int) -> None:
        row = outcome.row_index
        self.settled[row] = (offset, length)
        account = self.accounts.pop(row, None)
        self.in_flight.pop(row, None)
        if self.head.version == WITHOUT_BILLS and outcome.reused_from is None:
            self.billed = self.billed + (outcome.spent - account.total if account is not None else outcome.spent)

    def _see_rare(self, entry: Entry, offset: int, length: int) -> None:
        match entry:
            case PackIntent(rows=parts) | PackBill(rows=parts):
                for part in parts:
                    self.see(part, offset, length)
            case Voted(row=row):
                account = self.account(row)
                self.accounts[row] = account.voted(entry)
                self.in_flight.pop(row, None)
                if self.head.version == WITHOUT_BILLS:
                    self.billed = self.billed + (entry.outcome.spent - account.spent)
            case Opened(row=row):
                self.accounts[row] = entry.account
                self.counted.pop(row, None)
                if entry.stands:
                    self.counted[row] = entry.account.total


def lost_call(intent: Intent) -> Spent:
    """What a call that nobody heard the end of may have cost."""
    return Spent(1, unknown=True, unknown_usd=intent.worst_usd, joined=int(intent.joined))


Seen = Callable[[Entry, int, int], None]


def replay(
    path: Path,
    on_outcome: Callable[[Outcome], None] | None = None,
    *,
    headless: bool = False,
    on_entry: Seen | None = None,
) -> Replay | None:
    """Read a segment back; None where it ends before its head was written (`headless` files have none).

    `on_entry` is told each entry with its offset and length. A torn tail (a last line cut short, or the zeros of
    preallocated room) is left out. A bad line followed by a good one is damage: raises DamageError with file and line.
    """
    found: Replay | None = None
    offset, bad_line = 0, 0
    with open(path, "rb", buffering=1 << 20) as file:
        for number, line in enumerate(file, 1):
            entry = entry_or_none(line)
            if entry is None:
                if not line.strip(b"\0"):
                    break
                bad_line = bad_line or number
                continue
            if bad_line:
                raise _damage(path, bad_line)
            if found is None:
                if isinstance(entry, Head) == headless:
                    raise _damage(path, number)
                found = Replay(entry if isinstance(entry, Head) else NO_HEAD)
            found.see(entry, offset, len(line))
            if on_outcome is not None and isinstance(entry, Outcome):
                on_outcome(entry)
            if on_entry is not None:
                on_entry(entry, offset, len(line))
            offset += len(line)
            found.end = offset
    return found


def _damage(path: Path, line: int) -> DamageError:
    number = int(next((part for part in path.stem.split("-") if part.isdigit()), "0"))
    return DamageError(
        f"line {line} is damaged, and good lines follow it: something else changed this file",
        where=str(path),
        hint=f"restore it from a copy, or run with --fresh-part {number}: it is moved aside, and its rows are asked "
        "(and paid for) again",
    )
