"""Standing: what of an output is still true for the input as it is now; the rest is set aside as former answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from rowmill.schemas.attempt import Spent
from rowmill.schemas.errors import OutputError
from rowmill.schemas.manifest import Tally
from rowmill.tasks.journal.segment import Replay, replay
from rowmill.tasks.output.answer_cache import AnswerCache
from rowmill.tasks.output.folder import Output
from rowmill.tasks.output.part_writer import Footer, tally_of


@dataclass(slots=True)
class Inventory:
    """Parts that stand with their sums, and what the open segments' rows have cost so far."""

    parts: dict[int, Footer] = field(default_factory=dict)
    tallies: dict[int, Tally] = field(default_factory=dict)
    open_spent: Spent = field(default_factory=Spent)


def take_inventory(
    output: Output,
    parts: Mapping[int, Footer],
    digests: Mapping[int, str],
    cache: AnswerCache,
    fingerprint: str,
    *,
    reopen: bool,
    survey_complete: bool,
) -> Inventory:
    """Keep what is unchanged; set aside parts and segments whose rows changed, or that hold rows to be tried again.

    `digests` are those of the input's shards by number. Raises OutputError for a part of another job, DamageError.
    """
    inventory = Inventory()
    for number, footer in parts.items():
        if footer.job != fingerprint:
            raise OutputError(
                "this part was made by another job",
                where=str(output.part_path(number)),
                hint="name another output, or use --fresh",
            )
        tally = tally_of(footer)
        beyond = number not in digests and not survey_complete
        if (digests.get(number) == footer.shard.digest or beyond) and not (reopen and tally.not_ok):
            inventory.parts[number], inventory.tallies[number] = footer, tally
        else:
            cache.set_aside(output.part_path(number))
    for number, path in output.segments().items():
        _stock_segment(number, path, inventory, digests, cache, fingerprint, reopen=reopen)
    return inventory


def _stock_segment(
    number: int,
    path: Path,
    inventory: Inventory,
    digests: Mapping[int, str],
    cache: AnswerCache,
    fingerprint: str,
    *,
    reopen: bool,
) -> None:
    settled = Tally()
    found = replay(path, settled.add)
    if found is None or number in inventory.parts:
        # Killed before its head was written, or between a part's rename and this deletion.
        path.unlink()
    elif digests.get(number) != found.head.shard.digest or found.head.job != fingerprint or (reopen and settled.not_ok):
        cache.set_aside(path)
    else:
        inventory.open_spent = inventory.open_spent + settled.spent + unsettled(found)


def unsettled(found: Replay) -> Spent:
    """What rows without an outcome have cost, calls left in flight at their worst case."""
    lost = (Spent(1, unknown=True, unknown_usd=intent.worst_usd) for intent in found.in_flight.values())
    return sum(lost, found.unsettled)


def claims(path: Path) -> Iterator[tuple[bytes, int]]:
    """Each request a part paid for, with its row: (request_key, row_index)."""
    columns = ["request_key", "row_index", "reused_from"]
    with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as part:
        for batch in part.iter_batches(8_192, columns=columns, use_threads=False):
            for key, row, owner in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if key is not None and owner is None:
                    yield bytes.fromhex(key), row
