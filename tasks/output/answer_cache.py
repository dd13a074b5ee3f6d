"""Answer cache: answers and accounts that were paid for by rows that have since changed their place, by request.

When the input changes, or rows are to be tried again, parts and segments whose rows are no longer as they were are set
aside here. A row whose request is found keeps its answer and its cost, or goes on from what was spent for it. They are
found by request key alone; what no row asks for is kept for a later run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rowmill.schemas.account import Account, Voted
from rowmill.schemas.attempt import Spent
from rowmill.schemas.errors import DamageError
from rowmill.schemas.label import Vote
from rowmill.schemas.outcome import Outcome, Status
from rowmill.tasks.answers.validator import Accepted, Validator
from rowmill.tasks.input.key_table import Keys, Marks, key_array
from rowmill.tasks.journal.entries import Opened, decode_line, encode_line
from rowmill.tasks.journal.replay import replay
from rowmill.tasks.output.answer_index import AnswerIndex, Place, entries_in
from rowmill.tasks.output.outcome_lookup import OutcomeLookup
from rowmill.tasks.output.part_reader import PartReader
from rowmill.tasks.output.part_requests import keys_apart
from rowmill.tasks.system.durable import private_folder, write_file

FOLDER = "former"
KEPT = "kept.outcomes"
ANY = "any"
REOPENED = "reopened"


class AnswerCache:
    """Outcomes and accounts by request key, found in files set aside. Index on disk, rebuilt at each start."""

    def __init__(self, journal: Path, validator: Validator, retry: str | None) -> None:
        """`retry` names the status or error kind whose rows are tried again (`any`: every row that is not ok)."""
        self.folder = journal / FOLDER
        self._retry, self._validator = retry, validator
        self._lookup = OutcomeLookup(validator)
        self._journal = journal
        self._index: AnswerIndex | None = None
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

    def make_index(self) -> None:
        """Index what is set aside by request, unless that is done. Raises DamageError, StorageError."""
        if self._index is None:
            self._index = AnswerIndex(self._journal, self._files)

    @property
    def is_indexed(self) -> bool:
        """Whether a request is found at once."""
        return self._index is not None or not self._files

    @property
    def is_empty(self) -> bool:
        """Whether nothing is set aside."""
        return not self._files

    def places(self, keys: Sequence[bytes]) -> list[Place | None]:
        """Where what is known of each of these requests stands."""
        if not self._files:
            return [None] * len(keys)
        self.make_index()
        assert self._index is not None
        return self._index.places(key_array(keys))

    def at(self, place: Place, key: bytes) -> Outcome | Account:
        """What is known of a request: its outcome, or what it has cost without one.

        An outcome that is to be tried again comes back as an account that keeps its cost and its good votes.
        """
        if place.account is not None:
            return place.account
        outcome = self._outcome(place)
        if outcome.request_key != key.hex():
            raise DamageError(
                "an answer does not belong to the request under which it was found",
                where=str(self._files[place.file]),
                hint="remove this file: what it holds is then asked again",
            )
        return self.reopened(outcome) if self.reopens(outcome) else outcome

    def _outcome(self, place: Place) -> Outcome:
        path = self._files[place.file]
        if path.suffix == ".parquet":
            return self._lookup.at(path, place.row)
        if place.file not in self._opened:
            self._opened[place.file] = os.open(path, os.O_RDONLY)
        offset, length = place.span
        entry = decode_line(os.pread(self._opened[place.file], length, offset)[:-1])
        assert isinstance(entry, Outcome)
        return entry

    def reopens(self, outcome: Outcome) -> bool:
        """Whether this outcome is to be tried again, its cost so far kept."""
        if self._retry is None or outcome.status is Status.OK:
            return False
        return self._retry in (ANY, outcome.status.value, outcome.error_kind)

    def reopened(self, outcome: Outcome) -> Account:
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

    def finish(self, is_owned: Callable[[Keys], Marks]) -> None:
        """After a complete run: keep only what no row asks for. `is_owned` tells whether rows have these keys."""
        kept: list[Path] = []
        for number, path in enumerate(self._files):
            keys = entries_in(path).keys
            is_unowned = ~is_owned(keys)
            if not is_unowned.any():
                continue
            unowned = list(dict.fromkeys(keys_apart(keys[is_unowned].tobytes())))
            # Of what is known of a request in several files one entry stands.
            left = [place for place in self.places(unowned) if place is not None and place.file == number]
            if left and path.name.endswith(KEPT) and len(left) == len(unowned) and is_unowned.all():
                kept.append(path)
            elif left:
                lines = (encode_line(self._kept(place)) for place in left)
                write_file(self._free_name(KEPT), b"".join(lines))
        # All are read before the first goes: an index that was not needed so far is made of all of them.
        for path in self._files:
            if path not in kept:
                path.unlink()
        if self._files and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _kept(self, place: Place) -> Outcome | Opened:
        return self._outcome(place) if place.account is None else Opened(-1, place.account)

    def close(self) -> None:
        self._lookup.close()
        for fd in self._opened.values():
            os.close(fd)
        if self._index is not None:
            self._index.close()


def _good_votes(outcome: Outcome) -> list[Vote]:
    votes = outcome.labelling.votes if outcome.labelling is not None else ()
    return [vote for vote in votes if vote.labels is not None]


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
