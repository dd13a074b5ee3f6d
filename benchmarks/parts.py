"""Parts: journals and parts made of synthetic outcomes, to time compaction and the finding of what is settled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from rowmill.schemas.attempt import Spent
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import Cost
from rowmill.schemas.results import results_schema
from rowmill.schemas.row import Cursor, Shard
from rowmill.schemas.tally import Tally
from rowmill.schemas.usage import Usage
from rowmill.tasks.answers.validator import Validator
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.journal.entries import VERSION, Head
from rowmill.tasks.journal.group_commit import Syncer
from rowmill.tasks.journal.ledger import LEDGER, Ledger
from rowmill.tasks.journal.segment import Segment
from rowmill.tasks.output.answer_cache import AnswerCache
from rowmill.tasks.output.folder import Output
from rowmill.tasks.output.inventory import take_inventory
from rowmill.tasks.output.part_columns import PartColumns
from rowmill.tasks.output.part_footer import PART_VERSION, Footer, tally_value
from rowmill.tasks.output.part_requests import requests_in
from rowmill.tasks.output.part_writer import BATCH_ROWS, write_part

NOW = 1_763_709_128_000_000


def outcome(row: int) -> Outcome:
    return Outcome(
        f"r{row}", row, Status.OK, output_text='{"name": "x", "n": 3}', response_text='{"name": "x", "n": 3}',
        finish_reason="stop", model="gemini-3-pro", spent=Spent(1, Usage(12, 86), Cost(422_400_000, 84_480_000_000)),
        latency_ms=5, started_at=NOW + row, finished_at=NOW + row, run_id="20261121T000000-abcdef",
        request_key=blake2b(row.to_bytes(8, "big"), digest_size=16).hexdigest(), price_version="gemini-3-pro@1",
    )  # fmt: skip


async def compact_rows(folder: Path, schema: Any, count: int) -> float:
    """Rows a second from a settled journal to its synced part."""
    folder.mkdir()
    validator, syncer = Validator(schema), Syncer(asyncio.get_running_loop())
    shard = Shard(0, 0, count, Cursor("f", 0, 0), "")
    segment = Segment(folder / "segment", Head(VERSION, "job", shard), syncer, room=1 << 20)
    for row in range(count):
        segment.note(outcome(row))
    segment.flush()
    columns = results_schema({}, validator.shape.type)
    began = time.perf_counter()
    found = range(count)
    batches = (segment.outcomes(found[at : at + BATCH_ROWS]) for at in range(0, count, BATCH_ROWS))
    footer = Footer(PART_VERSION, "job", shard, True, {})
    write_part(folder / "part.parquet", PartColumns(columns, validator.shape), batches, footer=footer)
    took = time.perf_counter() - began
    segment.close()
    syncer.close()
    return count / took


def stock_of(folder: Path, schema: Any, *, parts: int, rows_each: int) -> tuple[float, float]:
    """Seconds to take stock of so many parts, and to index the requests they paid for."""
    validator, output = Validator(schema), Output(folder)
    columns = results_schema({}, validator.shape.type)
    for number in range(parts):
        shard = Shard(number, number * rows_each, rows_each, Cursor("f", 0, 0), f"d{number}")
        tally = Tally()
        footer = Footer(PART_VERSION, "job", shard, True, tally_value(tally))
        made = (list(map(outcome, batch)) for batch in _ranges(shard.first_row, rows_each))
        write_part(output.part_path(number), PartColumns(columns, validator.shape), made, footer=footer)
    former = AnswerCache(output.journal, validator, None)
    began = time.perf_counter()
    footers = output.parts()
    digests = {number: footer.shard.digest for number, footer in footers.items()}
    standing = take_inventory(
        output,
        footers,
        digests,
        cache=former,
        ledger=Ledger(output.root / LEDGER),
        fingerprint="job",
        reopen=False,
    )
    found = time.perf_counter() - began
    assert len(standing.parts) == parts
    began = time.perf_counter()
    with KeyIndex(output.journal) as keys:
        for number in footers:
            for asked in requests_in(output.part_path(number)):
                keys.own(asked.keys, asked.rows, asked.is_shared)
    claimed = time.perf_counter() - began
    output.close()
    return found, claimed


def _ranges(first: int, count: int) -> Iterator[range]:
    for at in range(first, first + count, BATCH_ROWS):
        yield range(at, min(at + BATCH_ROWS, first + count))
