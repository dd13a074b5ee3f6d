"""Answer index: where what is known of a request stands in the files that were set aside.

Of what is known of a request the best stands: an answer that was accepted is never displaced by one that was not, nor
the row that paid by one that shared its answer. Among equals the later one stands: it goes on from the earlier. Of
accounts the furthest stands, wherever it is: of rows that ask the same the later one may hold what the earlier began
with.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from rowmill.schemas.account import Account, furthest
from rowmill.schemas.attempt import FailureKind
from rowmill.schemas.outcome import Outcome, Status
from rowmill.tasks.input.key_table import UNKNOWN, Keys, KeyTable, key_array
from rowmill.tasks.journal.entries import Entry, Opened
from rowmill.tasks.journal.replay import Replay, lost_call, replay
from rowmill.tasks.output.part_requests import requests_in

ACCEPTED, OWNED = 2, 1
_BEST = ACCEPTED + OWNED
# A table keeps the least number of a key: rank, file and entry are counted from behind.
_FILE, _RANK = 40, 60
_LAST_FILE, _LAST_ENTRY = (1 << _RANK - _FILE) - 1, (1 << _FILE) - 1


@dataclass(frozen=True, slots=True)
class Entries:
    """What a file tells of requests: the key and the rank of each entry, and which it is. A part's entries are its
    rows; of a journal they are its outcomes, whose bytes `spans` tells, and then its accounts.
    """

    keys: Keys
    ranks: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    spans: array[int]
    accounts: Sequence[Account] = ()


NO_ENTRIES = Entries(key_array(b""), np.empty(0, np.int64), np.empty(0, np.int64), array("q"))


def entries_in(path: Path) -> Entries:
    """Raises OSError, ArrowException, DamageError."""
    return _of_part(path) if path.suffix == ".parquet" else _of_journal(path)


def _of_part(path: Path) -> Entries:
    asked = list(requests_in(path))
    if not asked:
        return NO_ENTRIES
    return Entries(
        np.concatenate([one.keys for one in asked]),
        np.concatenate([ACCEPTED * one.is_ok + OWNED * ~one.is_shared for one in asked]),
        np.concatenate([one.at for one in asked]),
        array("q"),
    )


def _of_journal(path: Path) -> Entries:
    is_kept = path.suffix == ".outcomes"
    keys: list[bytes] = []
    ranks: list[int] = []
    spans, accounts = array("q"), []

    def note(entry: Entry, offset: int, length: int) -> None:
        if isinstance(entry, Outcome) and entry.request_key:
            keys.append(bytes.fromhex(entry.request_key))
            ranks.append(ACCEPTED * (entry.status is Status.OK) + OWNED * (entry.reused_from is None))
            spans.extend((offset, length))
        elif isinstance(entry, Opened) and is_kept:
            accounts.append(entry.account)

    replayed = replay(path, headless=is_kept, on_entry=note)
    if not is_kept:
        accounts += accounts_of(replayed)
    keys += [bytes.fromhex(account.key) for account in accounts]
    ranks += [OWNED] * len(accounts)
    return Entries(key_array(keys), np.array(ranks, np.int64), np.arange(len(keys)), spans, accounts)


def accounts_of(found: Replay | None) -> list[Account]:
    """The accounts of a segment's rows without an outcome, calls left in flight at their worst case."""
    accounts: list[Account] = []
    if found is None:
        return accounts
    for row in {**found.accounts, **found.in_flight}:
        account = found.account(row)
        if (intent := found.in_flight.get(row)) is not None:
            account = account.billed(FailureKind.INTERRUPTED.value, lost_call(intent))
            account = msgspec.structs.replace(account, key=account.key or intent.key)
        if account.key:
            accounts.append(account)
    return accounts


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer stands: in which file, as which row of a part or in which bytes of a journal; or the account."""

    file: int
    row: int = 0
    span: tuple[int, int] = (0, 0)
    account: Account | None = None


class AnswerIndex:
    """Places by request, of files in the order in which they were set aside. Raises StorageError."""

    def __init__(self, folder: Path, files: Sequence[Path]) -> None:
        """`folder` is where the index stands while it is needed. Raises OSError, ArrowException, DamageError."""
        self._table = KeyTable(folder)
        self._spans: list[array[int]] = []
        self._accounts: list[Sequence[Account]] = []
        self._furthest: dict[str, Account] = {}
        for file, path in enumerate(files):
            found = entries_in(path)
            self._table.add(
                found.keys,
                (_BEST - found.ranks << _RANK) + (_LAST_FILE - file << _FILE) + _LAST_ENTRY - found.numbers,
            )
            self._spans.append(found.spans)
            self._accounts.append(found.accounts)
            for account in found.accounts:
                self._furthest[account.key] = furthest(self._furthest.get(account.key, account), account)

    def places(self, keys: Keys) -> list[Place | None]:
        """Where what is known of each request stands."""
        return [None if number == UNKNOWN else self._place(number) for number in self._table.find(keys).tolist()]

    def _place(self, number: int) -> Place:
        file, entry = _LAST_FILE - (number >> _FILE & _LAST_FILE), _LAST_ENTRY - (number & _LAST_ENTRY)
        spans = self._spans[file]
        if 2 * entry < len(spans):
            return Place(file, span=(spans[2 * entry], spans[2 * entry + 1]))
        if self._accounts[file]:
            account = self._accounts[file][entry - len(spans) // 2]
            return Place(file, account=self._furthest[account.key])
        return Place(file, entry)

    def close(self) -> None:
        self._table.close()
