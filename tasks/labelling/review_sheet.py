"""Review sheet: review.jsonl as somebody fills it in, row by row. The next run of the job takes what stands there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from rowmill.schemas.errors import InputError
from rowmill.schemas.json_text import JsonTextError, decode_json, encode_json
from rowmill.schemas.label import Label, Labels
from rowmill.tasks.labelling.judgements import REVIEW
from rowmill.tasks.output.folder_lock import refuse_in_use
from rowmill.tasks.plan.label_gold import GoldReader
from rowmill.tasks.system.durable import write_file

ROW, GOLD = "row_id", "gold"


class ReviewSheet:
    """The sheet of one output. Rows that the run did not put there may be filled in too."""

    def __init__(self, root: Path, label: Label) -> None:
        self._root, self._label = root, label
        self._path = root / REVIEW
        self._reader = GoldReader(label)
        self._lock = Lock()

    def said(self) -> dict[str, Labels]:
        """What is filled in, by row. Raises InputError naming the line that cannot be read."""
        found: dict[str, Labels] = {}
        for line in self._lines():
            if (labels := self._labels(line.get(GOLD))) is not None:
                found[str(line.get(ROW))] = labels
        return found

    def fill_in(self, row_id: str, value: Any) -> Labels | None:
        """Write a row's label (several as a list, None to clear it); what other lines hold stays.

        Raises InputError for what is no label of the job, OutputError while a run holds the output, StorageError.
        """
        labels = self._labels(value)
        refuse_in_use(self._root)
        told = None if labels is None else list(labels) if self._label.multi else labels[0]
        with self._lock:
            lines = self._lines()
            known = [line for line in lines if line.get(ROW) == row_id]
            if not known:
                lines.append({ROW: row_id})
                known = lines[-1:]
            for line in known:
                line[GOLD] = told
            kept = [line for line in lines if line.get(GOLD) is not None or line.keys() - {ROW, GOLD}]
            if kept:
                write_file(self._path, b"".join(encode_json(line) + b"\n" for line in kept))
            else:
                self._path.unlink(missing_ok=True)
        return labels

    def _lines(self) -> list[dict[str, Any]]:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        return [self._line(number, line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]

    def _line(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            value = decode_json(line)
        except JsonTextError:
            value = None
        if not isinstance(value, Mapping):
            raise InputError(
                "it is no JSON object",
                where=f"{self._path}, line {number}",
                hint="mend the line, or move the file away: the next run writes it anew",
            )
        return dict(value)

    def _labels(self, value: Any) -> Labels | None:
        try:
            labels = self._reader.labels(value)
        except ValueError as error:
            raise InputError(str(error), where=str(self._path), hint="give one of the job's labels") from None
        if labels is not None and (wrong := self._label.outside(labels)):
            raise InputError(
                f"the label {wrong[0]!r} is not among the labels ({', '.join(self._label.names[:20])})",
                where=str(self._path),
                hint="give one of these",
            )
        return labels
