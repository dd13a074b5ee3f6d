"""Former answers: paid for by rows that have since changed their place, and still good for the same request.

When the input changes, parts and segments whose rows are no longer there as they were are set aside here. A row whose
request is found keeps its answer and its cost; what no row claims is kept for a later run.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.schemas.attempt import Spent, ToolCall
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import PICO, Cost
from rowmill.schemas.usage import Usage
from rowmill.tasks.answers.validator import Accepted, Validator
from rowmill.tasks.journal.segment import encode_line, replay
from rowmill.tasks.output.folder import write_file
from rowmill.tasks.output.label_columns import labelling_in

FOLDER = "former"
ANY = "any"
# Row groups of some thousand rows each that a lookup keeps.
GROUPS_KEPT = 4
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class AnswerCache:
    """Outcomes by request_key, found in files set aside. Index on disk, rebuilt at each start, gone at close."""

    def __init__(self, journal: Path, validator: Validator, retry: str | None) -> None:
        """`retry` names the status or error kind whose rows are tried again (`any`: every row that is not ok)."""
        self.folder = journal / FOLDER
        self._retry = retry
        self._validator, self._lookup = validator, Lookup(validator)
        self._index_path = journal / "former.sqlite"
        self._db: sqlite3.Connection | None = None
        self._files: list[Path] = []

    def set_aside(self, path: Path) -> None:
        """Move a part or a segment here."""
        self.folder.mkdir(exist_ok=True)
        path.rename(self._free_name(path.name))

    def _free_name(self, name: str) -> Path:
        """A name after all that stand there, so that the order of setting aside is the order of names."""
        last = max((int(path.name[:6]) for path in self.folder.iterdir() if path.name[:6].isdigit()), default=-1)
        return self.folder / f"{last + 1:06d}-{name}"

    def open(self) -> None:
        """Index what is set aside; costs nothing where there is nothing."""
        if not self.folder.is_dir() or not (files := sorted(self.folder.iterdir())):
            return
        self._files = files
        self._index_path.unlink(missing_ok=True)
        self._db = sqlite3.connect(self._index_path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(
            "CREATE TABLE former (key TEXT PRIMARY KEY, file INTEGER, row INTEGER, usd INTEGER, carried INTEGER)"
            " WITHOUT ROWID"
        )
        for number, path in enumerate(files):
            self._db.executemany(
                "INSERT OR IGNORE INTO former VALUES (?, ?, ?, ?, 0)",
                (
                    (outcome.request_key, number, outcome.row_index, bound_usd(outcome.spent))
                    for outcome in read_outcomes(path, self._validator)
                    if outcome.request_key and outcome.reused_from is None
                ),
            )

    def carried(self, request_key: str) -> None:
        """A row of this run has this answer: its cost stands there."""
        if self._db is not None:
            self._db.execute("UPDATE former SET carried = 1 WHERE key = ?", (request_key,))

    def find(self, key: bytes) -> Outcome | None:
        """The former outcome of a request, and note that it is carried."""
        if self._db is None:
            return None
        request_key = key.hex()
        found = self._db.execute("SELECT file, row FROM former WHERE key = ?", (request_key,)).fetchone()
        if found is None:
            return None
        self.carried(request_key)
        return self._lookup.outcome(self._files[found[0]], found[1])

    def reopens(self, outcome: Outcome) -> bool:
        """Whether this outcome is to be tried again, its cost so far kept."""
        if self._retry is None or outcome.status is Status.OK:
            return False
        return self._retry in (ANY, outcome.status.value, outcome.error_kind)

    def uncarried_usd(self) -> int:
        """What was paid (10⁻¹² USD) for answers that no row of this run has: spent, but no longer in the results."""
        if self._db is None:
            return 0
        return int(self._db.execute("SELECT coalesce(sum(usd), 0) FROM former WHERE carried = 0").fetchone()[0])

    def finish(self) -> None:
        """After a complete run: keep only what no row has claimed, in one file."""
        if self._db is None:
            return
        left: list[bytes] = []
        for number, path in enumerate(self._files):
            rows = {row for (row,) in self._db.execute(
                "SELECT row FROM former WHERE carried = 0 AND file = ?", (number,))}  # fmt: skip
            left.extend(
                encode_line(outcome) for outcome in read_outcomes(path, self._validator) if outcome.row_index in rows
            )
        if left:
            write_file(self._free_name("kept.outcomes"), b"".join(left))
        for path in self._files:
            path.unlink()
        if not left:
            self.folder.rmdir()

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._index_path.unlink(missing_ok=True)


def bound_usd(spent: Spent) -> int:
    """Cost and the bound of what is unknown, in 10⁻¹² USD."""
    return (spent.cost.usd if spent.cost else 0) + spent.unknown_usd


def read_outcomes(path: Path, validator: Validator) -> Iterator[Outcome]:
    """The outcomes of a part, a segment or a file of kept outcomes, in the file's order."""
    if path.suffix == ".parquet":
        with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as part:
            columns = [name for name in part.schema_arrow.names if name != "output"]
            for batch in part.iter_batches(1_024, columns=columns, use_threads=False):
                for values in batch.to_pylist():
                    yield _outcome(values, validator)
        return
    found: list[Outcome] = []
    replay(path, found.append, headless=path.suffix == ".outcomes")
    yield from found


class Lookup:
    """Outcomes of single rows, from files that do not change. The row groups read last are kept: rows that ask the same
    as others often ask the same as neighbours.
    """

    def __init__(self, validator: Validator) -> None:
        self._validator = validator
        self._groups: OrderedDict[tuple[Path, int], tuple[dict[int, int], pa.Table]] = OrderedDict()
        self._spans: dict[Path, list[tuple[int, int]]] = {}

    def outcome(self, path: Path, row: int) -> Outcome | None:
        """One row's outcome from a file; reads the one row group that holds it where the file is a part."""
        if path.suffix != ".parquet":
            return next((found for found in read_outcomes(path, self._validator) if found.row_index == row), None)
        for group, (first, last) in enumerate(self._spans_of(path)):
            if first <= row <= last:
                places, table = self._group(path, group)
                if row in places:
                    return _outcome(table.slice(places[row], 1).to_pylist()[0], self._validator)
        return None

    def _spans_of(self, path: Path) -> list[tuple[int, int]]:
        """First and last row of each row group; all rows where the part does not tell."""
        if path not in self._spans:
            with pq.ParquetFile(path, pre_buffer=False) as part:
                place = part.schema_arrow.names.index("row_index")
                # row_id and row_index come first and are flat: a column's place is its leaf's.
                told = [part.metadata.row_group(at).column(place).statistics for at in range(part.num_row_groups)]
            self._spans[path] = [(one.min, one.max) if one is not None else (0, 2**63) for one in told]
        return self._spans[path]

    def _group(self, path: Path, group: int) -> tuple[dict[int, int], pa.Table]:
        """A row group's rows by their place in it."""
        found = self._groups.pop((path, group), None)
        if found is None:
            with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as part:
                columns = [name for name in part.schema_arrow.names if name != "output"]
                table = part.read_row_group(group, columns=columns, use_threads=False)
            found = {row: place for place, row in enumerate(table.column("row_index").to_pylist())}, table
        self._groups[path, group] = found
        if len(self._groups) > GROUPS_KEPT:
            self._groups.popitem(last=False)
        return found


def _outcome(values: dict[str, Any], validator: Validator) -> Outcome:
    """A results row → the outcome it was written from. The output is judged again from the raw answer."""
    status = Status(str(values["status"]))
    text = values["response_text"]
    verdict = validator.judge(str(text)) if status is Status.OK and text else None
    money = [values["cost_usd"], values["cost_credits"]]
    cost = None if None in money else Cost(*(int(amount * PICO) for amount in money))
    times: dict[str, Any] = {
        name: None if values[name] is None else (values[name] - EPOCH) // timedelta(microseconds=1)
        for name in ("started_at", "finished_at")
    }
    same: dict[str, Any] = {name: values[name] for name in _SAME}
    wasted = values["wasted_cost_usd"]
    return Outcome(
        **same,
        **times,
        status=status,
        output_text=verdict.text if isinstance(verdict, Accepted) else None,
        spent=Spent(
            values["attempts"],
            Usage(values["input_tokens"], values["output_tokens"], values["thought_tokens"]),
            cost,
            values["cost_unknown"],
        ),
        wasted_usd=None if wasted is None else int(wasted * PICO),
        thoughts=values.get("thoughts"),
        grounding=values.get("grounding"),
        tool_calls=tuple(ToolCall(**call) for call in values.get("tool_calls") or ()),
        labelling=labelling_in(values),
    )


_SAME = (
    "row_id", "row_index", "response_text", "repair", "error_kind", "error_message", "finish_reason", "model",
    "reused_from", "latency_ms", "request_key", "price_version", "run_id",
)  # fmt: skip
