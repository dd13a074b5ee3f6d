"""Settled: what an output holds already, looked at without holding it, for whoever plans what comes next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
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
from rowmill.tasks.output.layout import segments_in
from rowmill.tasks.output.part_footer import Footer, read_footer
from rowmill.tasks.output.part_requests import keys_apart, requests_in
from rowmill.tasks.output.results_frame import result_parts

COLUMNS = [
    "request_key",
    "row_index",
    "run_id",
    "input_tokens",
    "output_tokens",
    "thought_tokens",
    "cost_usd",
    "attempts",
    "latency_ms",
    "reused_from",
]


@dataclass(frozen=True, slots=True)
class Paid:
    """What one settled row was billed for, and by which run. `usd` is None where the price was unknown."""

    row: int
    run_id: str
    input_tokens: int
    output_tokens: int
    usd: float | None
    calls: int
    latency_s: float | None


@dataclass(slots=True)
class SettledRows:
    """Parts and segments of one output by shard number, of one job."""

    parts: dict[int, tuple[Path, Footer]] = field(default_factory=dict)
    segments: dict[int, tuple[Path, Shard, set[int]]] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether the output holds nothing of this job."""
        return not (self.parts or self.segments or self.others)

    def of(self, shard: Shard) -> set[int] | None:
        """Settled rows of an input's shard; None where all of them are."""
        part = self.parts.get(shard.number)
        if part is not None and part[1].shard.digest == shard.digest:
            return None
        segment = self.segments.get(shard.number)
        if segment is not None and segment[1].digest == shard.digest:
            return segment[2]
        return set()

    def paid_keys(self, validator: Validator) -> Iterator[tuple[int | None, bytes]]:
        """(shard number, request key) of every settled row: an identical request costs nothing again.

        Answers that stand in no part or segment have no shard.
        """
        for number, (path, _) in self.parts.items():
            for asked in requests_in(path):
                yield from ((number, key) for key in keys_apart(asked.keys.tobytes()))
        for number, (path, _, _) in self.segments.items():
            yield from ((number, key) for key in _keys(read_outcomes(path, validator)))
        for path in self.others:
            yield from ((None, key) for key in _keys(read_outcomes(path, validator)))

    def paid(self, keys: AbstractSet[bytes], validator: Validator) -> dict[bytes, Paid]:
        """What the rows that asked these requests were billed for, of those that are settled and paid themselves."""
        found: dict[bytes, Paid] = {}
        wanted = pa.array(sorted(key.hex() for key in keys), pa.string())
        for path, _ in self.parts.values():
            table = pq.read_table(path, columns=COLUMNS)
            table = table.filter(pc.and_(pc.is_in(table["request_key"], wanted), pc.is_null(table["reused_from"])))
            for told in table.to_pylist():
                usd, latency = told["cost_usd"], told["latency_ms"]
                found[bytes.fromhex(told["request_key"])] = Paid(
                    told["row_index"], told["run_id"], told["input_tokens"],
                    told["output_tokens"] + told["thought_tokens"], None if usd is None else float(usd),
                    told["attempts"], None if latency is None else latency / 1000,
                )  # fmt: skip
        for path in (*(path for path, _, _ in self.segments.values()), *self.others):
            for outcome in read_outcomes(path, validator):
                _note(found, outcome, keys)
        return found


def _note(found: dict[bytes, Paid], outcome: Outcome, keys: AbstractSet[bytes]) -> None:
    key = bytes.fromhex(outcome.request_key or "")
    if key in keys and outcome.reused_from is None:
        spent = outcome.spent
        found[key] = Paid(
            outcome.row_index, outcome.run_id, spent.usage.input, spent.usage.billed_output,
            spent.cost.usd / PICO if spent.cost else None, spent.attempts,
            None if outcome.latency_ms is None else outcome.latency_ms / 1000,
        )  # fmt: skip


def _keys(outcomes: Iterable[Outcome]) -> Iterator[bytes]:
    for outcome in outcomes:
        if outcome.request_key:
            yield bytes.fromhex(outcome.request_key)


def settled_rows(root: Path, fingerprint: str) -> SettledRows:
    """What stands in an output; nothing where it is another job's or empty. Raises DamageError."""
    found = SettledRows()
    for path in result_parts(root / "results"):
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
