"""Pilot record: which rows a pilot drew, and from what, so that later forecasts know what its answers stand for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from rowmill.tasks.forecast.counted_rows import Candidate, Tally
from rowmill.tasks.forecast.files import output_folder
from rowmill.tasks.system.durable import write_file

PILOT = "pilot.json"


class Drawn(msgspec.Struct, frozen=True):
    """A row that was drawn: its request key in hex, its estimated tokens, its expected cost in USD."""

    key: str
    tokens: float
    size: float


class PilotRecord(msgspec.Struct, frozen=True):
    """The rows drawn, in order, from `rows` rows to ask that were expected to cost `size` USD together.

    `keys` is the sum of all request keys of the input, in hex: another sum is another set of rows.
    """

    job: str
    keys: str
    rows: int
    size: float
    drawn: list[Drawn]


def read_record(output: Path, job: str) -> PilotRecord | None:
    """The record that an output holds for this job; None where there is none that can be read."""
    try:
        found = msgspec.json.decode((output / PILOT).read_bytes(), type=PilotRecord)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if found.job == job else None


def is_of(record: PilotRecord, tally: Tally) -> bool:
    """Whether a record was made of the same rows: none appended, edited or gone since, however many are settled."""
    return record.keys == f"{tally.keys:032x}"


def record_draw(output: Path, job: str, tally: Tally, *, drawn: Sequence[Candidate]) -> None:
    """Note who is drawn, before anybody is asked; goes on from an earlier draw of the same rows.

    Raises OutputError, StorageError.
    """
    before = read_record(output, job)
    new = [Drawn(one.key.hex(), one.tokens, one.size) for one in drawn]
    if before is not None and is_of(before, tally):
        record = msgspec.structs.replace(before, drawn=before.drawn + new)
    else:
        record = PilotRecord(job, f"{tally.keys:032x}", tally.to_ask, tally.size, new)
    output_folder(output)
    write_file(output / PILOT, msgspec.json.encode(record))
