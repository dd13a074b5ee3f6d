"""Prompts: what was sent for a row, planned again from the input where that is still there."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from rowmill.schemas.catalogue import Model, find_model
from rowmill.schemas.errors import RowmillError
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.request import FunctionCall, FunctionResult, Media, Request, Text
from rowmill.schemas.row import Row, Unreadable
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.input.files import Line, size_of
from rowmill.tasks.input.reader import job_files, judge, shard_lines
from rowmill.tasks.job.job_file import catalogue_of, job_of
from rowmill.tasks.output.part_footer import read_footer
from rowmill.tasks.plan.begun_labels import in_begun_order
from rowmill.tasks.plan.evidence_plan import evidence_sources
from rowmill.tasks.plan.label_prompt import as_asked
from rowmill.tasks.plan.planner import Planner

# A compressed file is read from its beginning for each row that lies deep in it.
QUICK_BYTES = 32 << 20
NO_INPUT = "the input is not there any more, so the prompt cannot be shown"


@dataclass(frozen=True, slots=True)
class Prompt:
    """The turns of a request as texts, each with its role. `note` says what is not as it was, or why there is none.

    `sources` are the texts, by column, that the row's evidence stands in.
    """

    turns: list[tuple[str, str]] = field(default_factory=list)
    note: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str | None:
        return "\n\n".join(text for _, text in self.turns) if self.turns else None


class Prompts:
    """The prompts of one output's rows."""

    def __init__(self, manifest: Manifest, root: Path) -> None:
        """`root` is the output's folder. Never raises.

        An output whose input or model is gone has rows without prompts.
        """
        self._why: str | None = None
        try:
            self._job: Job = in_begun_order(job_of(manifest.job, "run.json"), manifest)
            self._model: Model = find_model(
                self._job.model, catalogue_of(self._job, os.environ.get("ROWMILL_CATALOGUE"))
            )
            self._files = job_files(self._job, root)
            paths = [file.path for file in manifest.input.files]
            # An input that was moved as a whole is the same files in the same order.
            self._moved = (
                dict(zip(paths, map(str, self._files), strict=False)) if len(paths) == len(self._files) else {}
            )
            self._planner = Planner(as_asked(self._job), self._model, sandbox=manifest.is_sandbox)
            self._sources = evidence_sources(self._job) if self._job.evidence else None
            self.is_quick = all(file.compression is None or size_of(file) <= QUICK_BYTES for file in self._files)
        except (RowmillError, OSError, ValueError, KeyError) as error:
            self._why = f"{NO_INPUT} ({error})"
            self.is_quick = True

    def of(self, part: Path, rows: Sequence[Mapping[str, Any]]) -> dict[int, Prompt]:
        """Prompts of some results rows of a part, by row_index."""
        if self._why is not None:
            return {row["row_index"]: Prompt(note=self._why) for row in rows}
        by_index = {row["row_index"]: row for row in rows}
        try:
            found = self._read(part, by_index)
        except (RowmillError, OSError, ValueError) as error:
            return dict.fromkeys(by_index, Prompt(note=f"{NO_INPUT} ({error})"))
        return {index: self._prompt(found.get(index), row) for index, row in by_index.items()}

    def rows_with(self, part: Path, text: str) -> list[int]:
        """Indexes of a part's rows that hold a text in their input, whatever its case; none where that is gone."""
        if self._why is not None:
            return []
        sought = text.casefold()
        try:
            return [
                index
                for index, line, file in self._lines(part)
                if _holds(_content(judge(line, index, file, id_column=self._job.id), line), sought)
            ]
        except (RowmillError, OSError, ValueError):
            return []

    def _read(self, part: Path, wanted: Collection[int]) -> dict[int, Row | Unreadable]:
        return {
            index: judge(line, index, file, id_column=self._job.id)
            for index, line, file in self._lines(part, max(wanted))
            if index in wanted
        }

    def _lines(self, part: Path, last: int | None = None) -> Iterator[tuple[int, Line, str]]:
        """Index, content and file of the input's lines that a part is of, up to its last one or the one named."""
        shard = read_footer(part).shard
        start = replace(shard.start, file=self._moved.get(shard.start.file, shard.start.file))
        lines = shard_lines(replace(shard, start=start), self._files, self._job.limits.max_line_bytes)
        most = shard.rows if last is None else last - shard.first_row + 1
        for step, (line, file) in enumerate(islice(lines, most)):
            yield shard.first_row + step, line, file

    def _prompt(self, row: Row | Unreadable | None, result: Mapping[str, Any]) -> Prompt:
        if row is None or row.row_id != result["row_id"]:
            return Prompt(note="no row of the input is this one any more")
        if isinstance(row, Unreadable):
            return Prompt([("line", row.raw)], f"this line could not be read, and nothing was asked: {row.message}")
        planned = self._planner.plan(row)
        if not isinstance(planned, Request):
            return Prompt(note=planned.error_message)
        try:
            turns = PROTOCOLS[self._model.protocol].turns(planned.body)
        except ValueError as error:
            return Prompt(note=str(error))
        note = None
        if result.get("request_key") not in (None, planned.key.hex()):
            note = "the row or a file it names has changed since: this is what would be asked now"
        held = self._sources(row.columns) if self._sources is not None else {}
        sources = {name: one.text for name, one in held.items()}
        return Prompt([(turn.role, "\n".join(map(_shown, turn.parts))) for turn in turns], note, sources)


def _content(row: Row | Unreadable, line: Line) -> Any:
    """What a row says; of a line that is none, the line as it stands."""
    return row.columns if isinstance(row, Row) else line.raw.decode("utf-8", "replace")


def _holds(value: Any, sought: str) -> bool:
    if isinstance(value, str):
        return sought in value.casefold()
    if isinstance(value, Mapping):
        return any(_holds(one, sought) for one in value.values())
    if isinstance(value, list):
        return any(_holds(one, sought) for one in value)
    return value is not None and not isinstance(value, bool) and sought in str(value)


def _shown(part: Text | Media | FunctionCall | FunctionResult) -> str:
    if isinstance(part, Text):
        return part.text
    if isinstance(part, Media):
        size = f"{len(part.base64) * 3 // 4:,} bytes" if part.base64 is not None else part.url
        return f"[{part.mime or 'file'}, {size}]"
    if isinstance(part, FunctionCall):
        return f"[call of {part.name}: {part.arguments}]"
    return f"[result of {part.name}: {part.content}]"
