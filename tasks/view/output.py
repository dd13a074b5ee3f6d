"""Viewed output: one output as the page shows it: its manifest, its table and its prompts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rowmill.schemas.label import Label
from rowmill.tasks.labelling.review_sheet import ReviewSheet
from rowmill.tasks.output.flat_columns import FlatColumn
from rowmill.tasks.output.folder_lock import is_locked
from rowmill.tasks.output.manifest_file import manifest_of
from rowmill.tasks.output.prompts import Prompt, Prompts
from rowmill.tasks.output.results_frame import result_parts
from rowmill.tasks.view.number_text import read_as_numbers
from rowmill.tasks.view.open_rows import OpenRows, newest
from rowmill.tasks.view.query import Condition, Query, parsed
from rowmill.tasks.view.table import ResultsTable, signature_of

# Queries whose rows are remembered, 8 bytes a row each.
QUERIES_HELD = 6
# In an output of more rows a search reads the results alone, not the input too: it would take minutes.
INPUT_SEARCHED = 300_000
ROW_ID = FlatColumn("row_id", ("row_id",), pa.string())

Positions = npt.NDArray[np.int64]


class ViewedOutput:
    """An output that may still grow: its parts are looked at anew with each question."""

    def __init__(self, root: Path) -> None:
        """Raises OutputError where there is no run, DamageError."""
        self.root = root
        self.manifest = manifest_of(root)
        self._prompts = Prompts(self.manifest, root)
        self._open_rows = OpenRows(root)
        self._table = ResultsTable(self._parts())
        self._positions: OrderedDict[Query, Positions] = OrderedDict()
        # What columns of text read as, by what was asked of them.
        self._numbers: dict[FlatColumn, FlatColumn] = {}
        self._lock = Lock()

    @property
    def table(self) -> ResultsTable:
        """The rows as they stand now, those among them that a run settles at this moment."""
        with self._lock:
            parts = self._parts()
            if signature_of(parts) != self._table.signature:
                self._table = ResultsTable(parts)
                self.manifest = manifest_of(self.root)
                self._positions.clear()
                self._numbers.clear()
            return self._table

    def _parts(self) -> list[Path]:
        opened = self._open_rows.parts(self.manifest)
        return newest(result_parts(self.root / "results"), opened)

    def query(self, **asked: Any) -> Query:
        table = self.table

        def by_number(column: FlatColumn) -> FlatColumn:
            if column not in self._numbers:
                self._numbers[column] = read_as_numbers(table, column)
            return self._numbers[column]

        return parsed(table.columns, by_number, **asked)

    def positions(self, query: Query) -> Positions | None:
        """Positions of the rows that a query asks for; None for all, as they stand."""
        table = self.table
        if query.takes_all:
            return None
        with self._lock:
            known = self._positions.get(query)
        if known is None:
            known = query.positions(table, self._in_input(table, query.search) if query.search else None)
        with self._lock:
            self._positions[query] = known
            self._positions.move_to_end(query)
            while len(self._positions) > QUERIES_HELD:
                self._positions.popitem(last=False)
        return known

    def _in_input(self, table: ResultsTable, text: str) -> npt.NDArray[np.bool_] | None:
        """Of each row, whether its input holds a text; None where there are too many to read."""
        if table.rows > INPUT_SEARCHED:
            return None
        index = FlatColumn("row_index", ("row_index",), pa.int64())
        by_part: dict[Path, npt.NDArray[np.int64]] = {part: np.empty(0, np.int64) for part in table.parts}

        def noted(first: int, batch: pa.RecordBatch) -> None:
            part = table.place(first).part
            by_part[part] = np.concatenate([by_part[part], index.of(batch).to_numpy()])

        for _ in table.scan([index], noted):
            pass
        return np.concatenate(
            [np.empty(0, bool), *(np.isin(rows, self._prompts.rows_with(part, text)) for part, rows in by_part.items())]
        )

    def rows(self, positions: Sequence[int], *, prompts: bool, sources: bool = False) -> list[dict[str, Any]]:
        """Results rows at these positions, each with its `prompt` and the texts of its evidence where these are asked
        for.
        """
        table = self.table
        rows = table.read(positions)
        if not prompts:
            return rows
        of_part: dict[Path, list[dict[str, Any]]] = {}
        for position, row in zip(positions, rows, strict=True):
            of_part.setdefault(table.place(position).part, []).append(row)
        found: dict[int, Prompt] = {}
        for part, some in of_part.items():
            found |= self._prompts.of(part, some)
        told = [with_prompt(row, found[row["row_index"]]) for row in rows]
        if not sources:
            return told
        return [{**row, "sources": dict(found[row["row_index"]].sources)} for row in told]

    def page(self, query: Query, offset: int, limit: int) -> tuple[int, list[dict[str, Any]]]:
        """How many rows a query finds, and some of them."""
        positions = self.positions(query)
        total = self.table.rows if positions is None else len(positions)
        if positions is None:
            wanted = list(range(min(offset, total), min(offset + limit, total)))
        else:
            wanted = [int(position) for position in positions[offset : offset + limit]]
        return total, self.rows(wanted, prompts=self._prompts.is_quick)

    def row(self, row_id: str) -> dict[str, Any] | None:
        """The row of this id with its prompt; None where there is none."""
        found = self.positions(Query(conditions=(Condition(ROW_ID, row_id),)))
        return None if found is None or not len(found) else self.rows([int(found[0])], prompts=True, sources=True)[0]

    def review_sheet(self) -> ReviewSheet | None:
        """Where people's labels are written; None for an output of another kind, or whose labels are not known."""
        label = self.manifest.job.get("label")
        if not isinstance(label, dict) or not label.get("labels"):
            return None
        return ReviewSheet(self.root, Label.model_validate(label))

    def about(self) -> dict[str, Any]:
        """What the page's head tells; `version` is another one where rows have come or changed since."""
        table = self.table
        manifest = manifest_of(self.root)
        told = manifest.as_dict()
        goes_on = manifest.state == "running"
        state = "killed" if goes_on and not is_locked(self.root) else manifest.state
        label = manifest.job.get("label")
        return {
            "path": str(self.root), "name": manifest.name, "model": manifest.model,
            "run_id": manifest.run_id, "sandbox": manifest.is_sandbox, "state": state,
            "settled": table.rows, "version": version_of(table),
            "termination": told["termination"], "ledger": told["ledger"], "totals": told["totals"],
            "columns": [{"name": name, "kind": str(column.type)} for name, column in table.columns.items()],
            "labels": None if label is None else [_label_name(one) for one in label.get("labels") or ()],
            "evidence": told.get("evidence"),
            "multi": bool(label and label.get("multi")),
            "searches_input": table.rows <= INPUT_SEARCHED,
        }  # fmt: skip


def version_of(table: ResultsTable) -> str:
    return blake2b(repr(table.signature).encode(), digest_size=8).hexdigest()


def with_prompt(row: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
    turns = [{"role": role, "text": text} for role, text in prompt.turns]
    return {**row, "prompt": prompt.text, "prompt_turns": turns, "prompt_note": prompt.note}


def _label_name(choice: Any) -> str:
    return str(choice["name"] if isinstance(choice, dict) else choice)
