"""Settled: what an output holds already, looked at without holding it, for whoever plans what comes next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rowmill.schemas.outcome import Outcome
from rowmill.schemas.price import PICO
from rowmill.schemas.row import Shard
from rowmill.tasks.answers.validator import Validator
from rowmill.tasks.journal.replay import replay
from rowmill.tasks.output.answer_cache import FOLDER, read_outcomes
from rowmill.tasks.output.folder import segments_in
from rowmill.tasks.output.inventory import claims
from rowmill.tasks.output.part_writer import Footer, read_footer

COLUMNS = (
    "row_index", "input_tokens", "output_tokens", "thought_tokens", "cost_usd", "attempts", "latency_ms", "reused_from",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Paid:
    """What one settled row was billed for. `usd` is None where the price was unknown or another row paid."""

    input_tokens: int
    output_tokens: int
    usd: float | None
    calls: int
    latency_s: float | None
    reused: bool


@dataclass(slots=True)
class SettledRows:
    """Parts and segments of one output by shard number, of one job."""

    parts: dict[int, tuple[Path, Footer]] = field(default_factory=dict)
    segments: dict[int, tuple[Path, Shard, set[int]]] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)

    def of(self, shard: Shard) -> set[int] | None:
        """Settled rows of an input's shard; None where all of them are."""
        part = self.parts.get(shard.number)
        if part is not None and part[1].shard.digest == shard.digest:
            return None
        segment = self.segments.get(shard.number)
        if segment is not None and segment[1].digest == shard.digest:
            return segment[2]
        return set()

    def paid_keys(self, validator: Validator) -> Iterator[bytes]:
        """Request keys that were paid for: an identical request costs nothing again."""
        for path, _ in self.parts.values():
            yield from (key for key, _ in claims(path))
        for path in (*(path for path, _, _ in self.segments.values()), *self.others):
            yield from _keys(read_outcomes(path, validator))

    def paid(self, rows: set[int]) -> dict[int, Paid]:
        """What these rows were billed for, of those that are settled."""
        found: dict[int, Paid] = {}
        wanted = pa.array(sorted(rows), pa.int64())
        for path, footer in self.parts.values():
            if any(footer.shard.first_row <= row <= footer.shard.last_row for row in rows):
                table = pq.read_table(path, columns=list(COLUMNS))
                table = table.filter(pc.is_in(table["row_index"], wanted))
                for told in table.to_pylist():
                    usd, latency = told["cost_usd"], told["latency_ms"]
                    found[told["row_index"]] = Paid(
                        told["input_tokens"], told["output_tokens"] + told["thought_tokens"],
                        None if usd is None else float(usd), told["attempts"],
                        None if latency is None else latency / 1000, told["reused_from"] is not None,
                    )  # fmt: skip
        for path, _, settled in self.segments.values():
            if not settled.isdisjoint(rows):
                replay(path, lambda outcome: _note(found, outcome, rows))
        return found


def _note(found: dict[int, Paid], outcome: Outcome, rows: set[int]) -> None:
    if outcome.row_index in rows:
        spent = outcome.spent
        found[outcome.row_index] = Paid(
            spent.usage.input, spent.usage.billed_output, spent.cost.usd / PICO if spent.cost else None, spent.attempts,
            None if outcome.latency_ms is None else outcome.latency_ms / 1000, outcome.reused_from is not None,
        )  # fmt: skip


def _keys(outcomes: Iterable[Outcome]) -> Iterator[bytes]:
    for outcome in outcomes:
        if outcome.request_key and outcome.reused_from is None:
            yield bytes.fromhex(outcome.request_key)


def settled_rows(root: Path, fingerprint: str) -> SettledRows:
    """What stands in an output; nothing where it is another job's or empty. Raises DamageError."""
    found = SettledRows()
    for path in sorted((root / "results").glob("part-*.parquet")):
        footer = read_footer(path)
        if footer.complete and footer.job == fingerprint:
            found.parts[footer.shard.number] = (path, footer)
    for path in segments_in(root / "journal").values():
        told = replay(path)
        if told is not None and told.head.job == fingerprint and told.head.shard.number not in found.parts:
            found.segments[told.head.shard.number] = (path, told.head.shard, set(told.settled))
    if found.parts or found.segments:
        found.others = sorted((root / "journal" / FOLDER).glob("*"))
    return found
