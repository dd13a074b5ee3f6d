"""Answer cache: answers and accounts that were paid for by rows that have since changed their place, by request.

When the input changes, or rows are to be tried again, parts and segments whose rows are no longer as they were are set
aside here. A row whose request is found keeps its answer and its cost, or goes on from what was spent for it. They are
found by request key alone; what no row asks for is kept for a later run.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from rowmill.schemas.account import Account, Voted
from rowmill.schemas.attempt import FailureKind, Spent
from rowmill.schemas.errors import DamageError
from rowmill.schemas.label import Vote
from rowmill.schemas.outcome import Outcome, Status
from rowmill.tasks.answers.validator import Accepted, Validator
from rowmill.tasks.journal.entries import Entry, Opened, decode_line, encode_line
from rowmill.tasks.journal.replay import Replay, lost_call, replay
from rowmill.tasks.output.folder import write_file
from rowmill.tasks.output.part_reader import OutcomeLookup, PartReader
from rowmill.tasks.system.durable import PRIVATE_FILE, private_folder

FOLDER = "former"
KEPT = "kept.outcomes"
ANY = "any"
REOPENED = "reopened"
# How good what is known of a request is: an answer that was accepted is never displaced by one that was not, nor the
# row that paid by one that shared its answer. Among equals the later one stands: it goes on from the earlier.
ACCEPTED, OWNED = 2, 1
_INSERT = (
    "INSERT INTO former VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT(key) DO UPDATE SET file = excluded.file,"
    " place = excluded.place, length = excluded.length, rank = excluded.rank, account = excluded.account"
    " WHERE excluded.rank >= former.rank"
)
_FIND = "SELECT file, place, length, account FROM former WHERE key = ?"
Indexed = tuple[bytes, int, int, int, int, bytes | None]


class AnswerCache:
    """Outcomes and accounts by request key, found in files set aside. Index on disk, rebuilt at each start."""

    def __init__(self, journal: Path, validator: Validator, retry: str | None) -> None:
        """`retry` names the status or error kind whose rows are tried again (`any`: every row that is not ok)."""
        self.folder = journal / FOLDER
        self._retry, self._validator = retry, validator
        self._lookup = OutcomeLookup(validator)
        self._index_path = journal / "former.sqlite"
        self._db: sqlite3.Connection | None = None
        self._files: list[Path] = []
        self._opened: dict[int, int] = {}

    def set_aside(self, path: Path) -> None:
        """Move a part or a segment here. The ledger has counted a segment by then."""
        private_folder(self.folder)
        path.rename(self._free_name(path.name))

    def _free_name(self, name: str) -> Path:
        """A name after all that stand there, so that the order of setting aside is the order of names."""
        last = max((int(path.name[:6]) for path in self.folder.iterdir() if path.name[:6].isdigit()), default=-1)
        return self.folder / f"{last + 1:06d}-{name}"

    def open(self) -> None:
        """Take stock of what is set aside. It is indexed when the first request is looked for."""
        self._files = sorted(self.folder.iterdir()) if self.folder.is_dir() else []

    @property
    def parts(self) -> list[Path]:
        """The parts among what is set aside, the latest first."""
        return [path for path in reversed(self._files) if path.suffix == ".parquet"]

    def indexed(self) -> sqlite3.Connection:
        """The index of what is set aside by request, made when it is first needed. Raises DamageError."""
        if self._db is not None:
            return self._db
        self._index_path.unlink(missing_ok=True)
        os.close(os.open(self._index_path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE))
        self._db = sqlite3.connect(self._index_path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute(
            "CREATE TABLE former (key BLOB PRIMARY KEY, file INTEGER, place INTEGER, length INTEGER, rank INTEGER,"
            " account BLOB) WITHOUT ROWID"
        )
        self._db.execute("BEGIN")
        for number, path in enumerate(self._files):
            self._db.executemany(_INSERT, self._indexed(number, path))
        self._db.execute("COMMIT")
        return self._db

    def _indexed(self, number: int, path: Path) -> Iterator[Indexed]:
        """The index's rows of a file; a part's place is its row group and the place there, a segment's its bytes."""
        if path.suffix == ".parquet":
            for group, place, key, status, reused_from in PartReader(path, self._validator).asked():
                yield key, number, group, place, _rank(status, reused_from), None
            return
        found: list[Indexed] = []
        accounts: list[Account] = []
        is_kept = path.suffix == ".outcomes"

        def note(entry: Entry, offset: int, length: int) -> None:
            if isinstance(entry, Outcome) and entry.request_key:
                rank = _rank(entry.status.value, entry.reused_from)
                found.append((bytes.fromhex(entry.request_key), number, offset, length, rank, None))
            elif isinstance(entry, Opened) and is_kept:
                accounts.append(entry.account)

        replayed = replay(path, headless=is_kept, on_entry=note)
        yield from found
        for account in accounts if is_kept else accounts_of(replayed):
            yield bytes.fromhex(account.key), number, 0, 0, OWNED, msgspec.json.encode(account)

    @property
    def is_indexed(self) -> bool:
        """Whether a request is found at once."""
        return self._db is not None or not self._files

    @property
    def is_empty(self) -> bool:
        """Whether nothing is set aside."""
        return not self._files

    def find(self, key: bytes) -> Outcome | Account | None:
        """What is known of a request: its outcome, or what it has cost without one.

        An outcome that is to be tried again comes back as an account that keeps its cost and its good votes.
        """
        if not self._files:
            return None
        row = self.indexed().execute(_FIND, (key,)).fetchone()
        if row is None:
            return None
        number, place, length, account = row
        if account is not None:
            return msgspec.json.decode(account, type=Account)
        outcome = self._outcome(number, place, length)
        if outcome.request_key != key.hex():
            raise DamageError(
                "an answer does not belong to the request under which it was found",
                where=str(self._files[number]),
                hint="remove this file: what it holds is then asked again",
            )
        return self._reopened(outcome) if self.reopens(outcome) else outcome

    def _outcome(self, number: int, place: int, length: int) -> Outcome:
        path = self._files[number]
        if path.suffix == ".parquet":
            return self._lookup.outcome(path, place, length)
        if number not in self._opened:
            self._opened[number] = os.open(path, os.O_RDONLY)
        entry = decode_line(os.pread(self._opened[number], length, place)[:-1])
        assert isinstance(entry, Outcome)
        return entry

    def reopens(self, outcome: Outcome) -> bool:
        """Whether this outcome is to be tried again, its cost so far kept."""
        if self._retry is None or outcome.status is Status.OK:
            return False
        return self._retry in (ANY, outcome.status.value, outcome.error_kind)

    def _reopened(self, outcome: Outcome) -> Account:
        """The account of a row that is tried again: good votes stand, nothing is charged to its retries."""
        votes = tuple(self._vote(outcome, vote) for vote in _good_votes(outcome))
        spent = outcome.spent
        for vote in votes:
            spent = spent - vote.outcome.spent
        failures = {**outcome.failures, REOPENED: outcome.failures.get(REOPENED, 0) + 1}
        return Account(str(outcome.request_key), spent, failures, votes=votes)

    def _vote(self, row: Outcome, vote: Vote) -> Voted:
        """A vote as it was cast, from what the results tell of it."""
        verdict = self._validator.judge(vote.text or "")
        return Voted(
            row.row_index,
            vote.model,
            Outcome(
                row.row_id,
                row.row_index,
                Status.OK,
                output_text=verdict.text if isinstance(verdict, Accepted) else None,
                response_text=vote.text,
                model=vote.model,
                spent=vote.spent,
                latency_ms=vote.latency_ms,
                request_key=row.request_key,
                price_version=row.price_version,
                run_id=row.run_id,
            ),
        )

    def finish(self, is_owned: Callable[[bytes], bool]) -> None:
        """After a complete run: keep only what no row asks for. `is_owned` tells whether a row has this key."""
        kept: list[Path] = []
        for number, path in enumerate(self._files):
            keys = dict.fromkeys(indexed[0] for indexed in self._indexed(number, path))
            unowned = [key for key in keys if not is_owned(key)]
            # Of what is known of a request in several files one entry stands.
            found = ((key, *self.indexed().execute(_FIND, (key,)).fetchone()) for key in unowned)
            left = [(key, place, length, account) for key, file, place, length, account in found if file == number]
            if left and path.name.endswith(KEPT) and len(left) == len(keys):
                kept.append(path)
            elif left:
                lines = (encode_line(self._kept(number, row)) for row in left)
                write_file(self._free_name(KEPT), b"".join(lines))
        # All are read before the first goes: an index that was not needed so far is made of all of them.
        for path in self._files:
            if path not in kept:
                path.unlink()
        if self._files and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _kept(self, number: int, row: tuple[bytes, int, int, bytes | None]) -> Outcome | Opened:
        _, place, length, account = row
        if account is not None:
            return Opened(-1, msgspec.json.decode(account, type=Account))
        return self._outcome(number, place, length)

    def close(self) -> None:
        self._lookup.close()
        for fd in self._opened.values():
            os.close(fd)
        if self._db is not None:
            self._db.close()
            self._index_path.unlink(missing_ok=True)


def _rank(status: str, reused_from: str | None) -> int:
    return (ACCEPTED if status == Status.OK.value else 0) + (OWNED if reused_from is None else 0)


def _good_votes(outcome: Outcome) -> list[Vote]:
    votes = outcome.labelling.votes if outcome.labelling is not None else ()
    return [vote for vote in votes if vote.labels is not None]


def accounts_of(found: Replay | None) -> Iterator[Account]:
    """The accounts of a segment's rows without an outcome, calls left in flight at their worst case."""
    if found is None:
        return
    for row in {*found.accounts, *found.in_flight}:
        account = found.account(row)
        if (intent := found.in_flight.get(row)) is not None:
            account = account.billed(FailureKind.INTERRUPTED.value, lost_call(intent))
            account = msgspec.structs.replace(account, key=account.key or intent.key)
        if account.key:
            yield account


def bound_usd(spent: Spent) -> int:
    """Cost and the bound of what is unknown, in 10⁻¹² USD."""
    return (spent.cost.usd if spent.cost else 0) + spent.unknown_usd


def read_outcomes(path: Path, validator: Validator) -> Iterator[Outcome]:
    """The outcomes of a part, a segment or a file of kept outcomes, in the file's order."""
    if path.suffix == ".parquet":
        reader = PartReader(path, validator)
        for group in range(len(reader.rows)):
            yield from reader.outcomes(group)
        return
    found: list[Outcome] = []
    replay(path, found.append, headless=path.suffix == ".outcomes")
    yield from found
