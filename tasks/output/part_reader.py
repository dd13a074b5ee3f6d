"""Part reader: rows of a results part → the outcomes they were written from, a row group at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rowmill.schemas.attempt import Spent, ToolCall
from rowmill.schemas.evidence import FieldEvidence, Match
from rowmill.schemas.fields import FieldVoting
from rowmill.schemas.label import Labelling, Vote
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import Cost
from rowmill.schemas.usage import Usage
from rowmill.tasks.answers.validator import Accepted, Validator
from rowmill.tasks.fields.majority import decision
from rowmill.tasks.fields.tree import field_tree
from rowmill.tasks.output.label_columns import labelling_in, vote_in
from rowmill.tasks.output.part_notes import NO_DETAILS, details_in, digests_in, joined_in

# Row groups of some thousand rows each that are held at a time.
GROUPS_HELD = 4
_MONEY = ("cost_usd", "cost_credits", "wasted_cost_usd")
_TIMES = ("started_at", "finished_at")
_LABELS = ("votes", "voted_label", "agreement", "gold")
_STATUSES = {status.value: status for status in Status}


class _Columns(NamedTuple):
    """A row's values of the columns that are read; the last ones stand only in some parts. Money is 10⁻¹² units, times
    are microseconds since 1970.
    """

    row_id: str
    row_index: int
    status: str
    response_text: str | None
    repair: str | None
    error_kind: str | None
    error_message: str | None
    finish_reason: str | None
    model: str | None
    reused_from: str | None
    latency_ms: int | None
    request_key: str | None
    price_version: str | None
    run_id: str
    cost_usd: int | None
    cost_credits: int | None
    wasted_cost_usd: int | None
    started_at: int | None
    finished_at: int | None
    attempts: int
    input_tokens: int
    output_tokens: int
    thought_tokens: int
    cost_unknown: bool
    thoughts: str | None
    grounding: str | None
    tool_calls: list[dict[str, Any]] | None
    evidence: list[dict[str, Any]] | None
    value_in_quote: list[bool | None] | None


_READ = _Columns._fields


class PartReader:
    """One part, read by row group. Holds nothing but what it is asked for."""

    def __init__(self, path: Path, validator: Validator) -> None:
        """Raises OSError, ArrowException for a part that cannot be read."""
        self.path, self._validator = path, validator
        with self._open() as part:
            told = part.schema_arrow.names
            self._columns = [name for name in (*_READ, *_LABELS) if name in told]
            place = told.index("row_index")
            # row_id and row_index come first and are flat: a column's place is its leaf's.
            groups = range(part.num_row_groups)
            spans = [part.metadata.row_group(group).column(place).statistics for group in groups]
            self.rows = [part.metadata.row_group(group).num_rows for group in groups]
            metadata = part.metadata.metadata or {}
        self._spans = [(0, 2**63) if span is None else (span.min, span.max) for span in spans]
        self._details, self._joined = details_in(metadata), joined_in(metadata)
        self._digests = digests_in(metadata, sum(self.rows))

    def _open(self) -> pq.ParquetFile:
        return pq.ParquetFile(self.path, pre_buffer=False, page_checksum_verification=True)

    def group_of(self, row: int) -> int | None:
        """The row group that may hold this row of the input."""
        return next((group for group, (first, last) in enumerate(self._spans) if first <= row <= last), None)

    def column(self, group: int, name: str) -> list[Any]:
        """One column of a row group."""
        with self._open() as part:
            values: list[Any] = part.read_row_group(group, columns=[name], use_threads=False).column(0).to_pylist()
        return values

    def outcomes(self, group: int) -> list[Outcome]:
        """The outcomes of a row group, in order. A repaired output is read again from the raw answer."""
        with self._open() as part:
            table = part.read_row_group(group, columns=self._columns, use_threads=False)
        held = {name: _plain(name, table.column(name)) for name in self._columns}
        nothing = [None] * table.num_rows
        columns = [held.get(name, nothing) for name in _READ]
        labellings = self._labellings(held, table.num_rows)
        votes = held["votes"] if "votes" in held and "voted_label" not in held else nothing
        first = sum(self.rows[:group])
        digests = self._digests[first : first + table.num_rows]
        rows = map(_Columns._make, zip(*columns, strict=True))
        outcomes = [self._outcome(*of_row) for of_row in zip(rows, digests, labellings, strict=True)]
        return [self._voted(outcome, told) if told else outcome for outcome, told in zip(outcomes, votes, strict=True)]

    def _voted(self, outcome: Outcome, told: list[dict[str, Any]]) -> Outcome:
        """An outcome with the votes about its fields, which are what its output is made of."""
        votes = tuple(map(vote_in, told))
        texts = [self._accepted_text(vote) for vote in votes]
        tree, meets = field_tree(self._validator.shape), self._validator.meets
        found = decision([vote.model for vote in votes], texts, tree, meets=meets)
        if found is None or outcome.status is not Status.OK:
            return msgspec.structs.replace(outcome, voting=FieldVoting(votes))
        return msgspec.structs.replace(outcome, output_text=found.text, voting=FieldVoting(votes, found.agreement))

    def _accepted_text(self, vote: Vote) -> str | None:
        if vote.status != Status.OK or vote.text is None:
            return None
        verdict = self._validator.judge(vote.text)
        return verdict.text if isinstance(verdict, Accepted) else None

    def _labellings(self, held: dict[str, list[Any]], rows: int) -> Sequence[Labelling | None]:
        if "voted_label" not in held:
            return [None] * rows
        return [labelling_in({name: held[name][place] for name in _LABELS}) for place in range(rows)]

    def _outcome(self, row: _Columns, answer_digest: str | None, labelling: Labelling | None) -> Outcome:
        unknown_usd, failures = self._details.get(row.row_index, NO_DETAILS)
        usd, credits = row.cost_usd, row.cost_credits
        return Outcome(
            row_id=row.row_id,
            row_index=row.row_index,
            status=_STATUSES[row.status],
            output_text=self._output_text(row.response_text, row.repair) if row.status == Status.OK.value else None,
            response_text=row.response_text,
            repair=row.repair,
            error_kind=row.error_kind,
            error_message=row.error_message,
            finish_reason=row.finish_reason,
            model=row.model,
            spent=Spent(
                row.attempts,
                Usage(row.input_tokens, row.output_tokens, row.thought_tokens),
                None if usd is None or credits is None else Cost(usd, credits),
                row.cost_unknown,
                unknown_usd,
                self._joined.get(row.row_index, 0),
            ),
            wasted_usd=row.wasted_cost_usd,
            reused_from=row.reused_from,
            latency_ms=row.latency_ms,
            started_at=row.started_at,
            finished_at=row.finished_at,
            request_key=row.request_key,
            answer_digest=answer_digest,
            price_version=row.price_version,
            run_id=row.run_id,
            thoughts=row.thoughts,
            grounding=row.grounding,
            tool_calls=tuple(ToolCall(**call) for call in row.tool_calls or ()),
            failures=failures,
            labelling=labelling,
            evidence=_evidence(row.evidence, row.value_in_quote),
        )

    def _output_text(self, text: str | None, repair: str | None) -> str | None:
        """The accepted answer as it was read from the raw one; None for an answer of tool calls alone."""
        if not text or (repair is None and self._validator.answers_are_outputs):
            return text or None
        verdict = self._validator.judge(text)
        return verdict.text if isinstance(verdict, Accepted) else None


def _evidence(told: list[dict[str, Any]] | None, held: list[bool | None] | None) -> tuple[FieldEvidence, ...] | None:
    if told is None:
        return None
    pairs = zip(told, held or [None] * len(told), strict=True)
    return tuple(FieldEvidence(**{**one, "match": Match(one["match"])}, value_in_quote=holds) for one, holds in pairs)


def _plain(name: str, column: pa.ChunkedArray) -> list[Any]:
    """A column's values as an outcome holds them: money as whole 10⁻¹² units, times as microseconds since 1970."""
    whole = column.combine_chunks()
    if name in _MONEY:
        # The same integers under another scale.
        units = pa.Array.from_buffers(pa.decimal128(38, 0), len(whole), whole.buffers(), whole.null_count, whole.offset)
        return [None if amount is None else int(amount) for amount in units.to_pylist()]
    if name in _TIMES:
        return pc.cast(whole, pa.int64()).to_pylist()  # type: ignore[no-any-return]
    values: list[Any] = whole.to_pylist()
    return values
