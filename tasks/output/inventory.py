"""Inventory: what of an output is still true for the input as it is now; the rest goes to the answer cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rowmill.schemas.account import Account
from rowmill.schemas.attempt import Spent
from rowmill.schemas.errors import OutputError
from rowmill.schemas.tally import Tally
from rowmill.tasks.journal.entries import Head
from rowmill.tasks.journal.ledger import Ledger
from rowmill.tasks.journal.replay import replay
from rowmill.tasks.output.answer_cache import AnswerCache
from rowmill.tasks.output.answer_index import accounts_of
from rowmill.tasks.output.folder import Output
from rowmill.tasks.output.layout import number_of
from rowmill.tasks.output.part_footer import Footer, tally_of
from rowmill.tasks.output.results_frame import result_parts


@dataclass(slots=True)
class Inventory:
    """Parts that stand and segments that are gone on with, by shard number.

    `tallies` sums the rows of both; `sent` is what was sent from each open segment. `accounts` are those of the
    segments' rows without an outcome.
    """

    parts: dict[int, Footer] = field(default_factory=dict)
    tallies: dict[int, Tally] = field(default_factory=dict)
    sent: dict[int, Spent] = field(default_factory=dict)
    accounts: list[Account] = field(default_factory=list)


def take_inventory(
    output: Output,
    parts: Mapping[int, Footer],
    digests: Mapping[int, str],
    *,
    cache: AnswerCache,
    ledger: Ledger,
    fingerprint: str,
    reopen: bool,
) -> Inventory:
    """Keep what is unchanged; set aside parts and segments whose rows changed, or that hold rows to be tried again.

    `digests` are those of the input's shards by number, as far as parts reach at least. A segment is closed in the
    ledger before it goes anywhere. Raises OutputError for a part of another job, DamageError, StorageError.
    """
    inventory = Inventory()
    for number, footer in parts.items():
        if footer.job != fingerprint:
            raise OutputError(
                "this part was made by another job, and without the run.json of that one nothing tells what differs",
                where=str(output.part_path(number)),
                hint="name another output, or use --fresh",
            )
        tally = tally_of(footer)
        if digests.get(number) == footer.shard.digest and not (reopen and tally.not_ok):
            inventory.parts[number], inventory.tallies[number] = footer, tally
        else:
            cache.set_aside(output.part_path(number))
    for number, path in output.segments().items():
        settled = Tally()
        found = replay(path, settled.add)
        if found is None:
            # Killed before its head was written.
            path.unlink()
        elif ledger.holds(found.head.id or path.name):
            # Killed between the closing of this segment and its going: its part is written, or it was to be set aside.
            _remove(path, cache, is_in_part=number in inventory.parts)
        elif number in inventory.parts:
            # Killed between a part's rename and the closing of its segment.
            ledger.close(path.name, found)
            path.unlink()
        elif (reopen and settled.not_ok) or not _goes_on(found.head, digests, fingerprint):
            ledger.close(path.name, found)
            cache.set_aside(path)
        else:
            inventory.sent[number], inventory.tallies[number] = found.sent, settled
            inventory.accounts += accounts_of(found)
    _drop_previews(output, inventory)
    return inventory


def _drop_previews(output: Output, inventory: Inventory) -> None:
    """Parts of a stopped run that show rows which have been set aside: their answers are found by request now."""
    for path in result_parts(output.results):
        if number_of(path) not in inventory.tallies:
            output.drop(path)


def _goes_on(head: Head, digests: Mapping[int, str], fingerprint: str) -> bool:
    """Whether a segment holds the rows of a shard as they are now, for this job."""
    return digests.get(head.shard.number) == head.shard.digest and head.job == fingerprint


def _remove(path: Path, cache: AnswerCache, *, is_in_part: bool) -> None:
    if is_in_part:
        path.unlink()
    else:
        cache.set_aside(path)
