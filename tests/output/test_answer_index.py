"""What is known of a request, in files that were set aside."""

from __future__ import annotations

from pathlib import Path

from rowmill.schemas.account import Account, Voted
from rowmill.schemas.attempt import Spent
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.row import NO_SHARD
from rowmill.tasks.input.key_table import key_array
from rowmill.tasks.journal.entries import VERSION, Bill, Head, Intent, Opened, encode_line
from rowmill.tasks.output.answer_index import AnswerIndex

KEY = bytes(range(16))


def vote(row: int) -> Voted:
    return Voted(row, "m", Outcome(str(row), row, Status.OK, request_key=KEY.hex(), spent=Spent(1)))


def segment(path: Path, *entries: object) -> Path:
    lines = [encode_line(entry) for entry in (Head(VERSION, "", NO_SHARD), *entries)]  # type: ignore[arg-type]
    path.write_bytes(b"".join(lines))
    return path


def known(folder: Path, *files: Path) -> Account:
    index = AnswerIndex(folder, files)
    (place,) = index.places(key_array([KEY]))
    index.close()
    assert place is not None
    assert place.account is not None
    return place.account


def test_the_furthest_account_of_a_request_stands(tmp_path: Path) -> None:
    """Of rows that ask the same, what the one has paid stands before what another began with, wherever each is."""
    asked = [Intent(0, 1, 9, KEY.hex()), Bill(0, 1, None, Spent(1)), vote(0)]
    more = [Intent(0, 2, 9, KEY.hex()), Bill(0, 2, None, Spent(1)), vote(0)]
    long = segment(tmp_path / "000000-shard-000000.jsonl", *asked, *more)
    short = segment(tmp_path / "000001-shard-000001.jsonl", Opened(3, Account(KEY.hex(), votes=(vote(0),)), True))
    for files in ((long, short), (short, long)):
        assert len(known(tmp_path, *files).votes) == 2


def test_of_accounts_with_equal_votes_the_one_with_more_attempts_stands(tmp_path: Path) -> None:
    """An attempt that failed is charged, whichever row made it."""
    failed = Bill(0, 1, "schema_violation", Spent(1))
    charged = segment(tmp_path / "000000-shard-000000.jsonl", Intent(0, 1, 9, KEY.hex()), failed)
    begun = segment(tmp_path / "000001-shard-000001.jsonl", Opened(3, Account(KEY.hex()), True))
    for files in ((charged, begun), (begun, charged)):
        assert known(tmp_path, *files).charged == {"schema_violation": 1}
