"""Merge: the results of all parts as those of one output, as one run over the whole input would have left them.

Rows get their positions in the whole input, parts of the results their numbers in the whole output, and the bill of
each part is entered in the whole's ledger under the part's name. What is left to do for a run that opens the output
then is to look whether it is so: it finds every row settled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rowmill.schemas.job import Job
from rowmill.schemas.price import parse_amount
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.listing import job_files
from rowmill.tasks.input.reader import shard_rows
from rowmill.tasks.journal.ledger import LEDGER, Ledger
from rowmill.tasks.output.folder import Output
from rowmill.tasks.output.layout import MANIFEST
from rowmill.tasks.output.part_footer import FOOTER, Footer, read_footer
from rowmill.tasks.output.part_notes import DETAILS, JOINED, details_in, joined_in
from rowmill.tasks.output.part_writer import writing
from rowmill.tasks.output.results_frame import result_parts
from rowmill.tasks.output.spending import spent_in

_OF_ARROW = b"ARROW:schema"


@dataclass(slots=True)
class Merged:
    """What came together: rows, and what parts that know nothing of each other have done twice.

    `requests` counts paid requests that an earlier part has paid too, `usd` what they cost (10⁻¹² USD), `ids` rows
    whose id stands in an earlier part.
    """

    rows: int = 0
    requests: int = 0
    usd: int = 0
    ids: int = 0


class Merger:
    """Writes parts of the results into the whole's output, one part job after the other."""

    def __init__(self, job: Job, output: Output, index: KeyIndex) -> None:
        """`job` is the whole. What stands in its output is set aside first: it is made of the same parts."""
        self._job, self._output, self._index = job, output, index
        self.merged = Merged()
        self._number = 0
        # Of the part job's rows so far, whether their id is their place and moves with them.
        self._places = bytearray()
        for path in [*output.results.iterdir(), *output.journal.iterdir()]:
            output.drop(path)
        for name in (MANIFEST, LEDGER):
            output.drop(output.root / name)
        self._ledger = Ledger(output.root / LEDGER, output.keep)

    def add(self, number: int, root: Path) -> None:
        """The results and the bill of a part job whose output stands in `root`. Raises DamageError, StorageError."""
        first = self.merged.rows
        self._places.clear()
        for path in result_parts(root / "results"):
            footer = read_footer(path)
            if footer.shard.rows:
                self._write(path, footer, first, number=number)
                self.merged.rows += footer.shard.rows
                self._number += 1
        self._ledger.add(f"part {number}", spent_in(root))

    def _write(self, path: Path, footer: Footer, first: int, *, number: int) -> None:
        """One part of the results; `first` is the place in the whole of the part job's first row."""
        shard = replace(footer.shard, number=self._number, first_row=footer.shard.first_row + first)
        ids = self._own_ids(replace(footer, shard=shard)) if first else None
        with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as part:
            told = _moved_notes(part.metadata.metadata or {}, first)
            about = msgspec.json.encode(replace(footer, shard=shard))
            schema = part.schema_arrow.with_metadata({**(part.schema_arrow.metadata or {}), FOOTER.encode(): about})
            target = self._output.part_path(self._number)
            with writing(target, schema) as writer:
                for group in range(part.num_row_groups):
                    table = part.read_row_group(group, use_threads=False)
                    self._count(table, number)
                    writer.write_table(self._moved(table, first, ids) if first else table)
                writer.add_key_value_metadata(told)
        self._output.keep(target)

    def _own_ids(self, footer: Footer) -> Iterator[str] | None:
        """Ids that rows which are whole requests bring themselves, where they do; None where a position is the id."""
        job = self._job
        if job.id is not None or job.prompt is not None:
            return None
        rows = shard_rows(footer.shard, job_files(job), None, max_line_bytes=job.limits.max_line_bytes)
        return (row.row_id for row in rows)

    def _moved(self, table: pa.Table, first: int, ids: Iterator[str] | None) -> pa.Table:
        """The rows at their places in the whole; ids that are places are moved too."""
        before = table["row_index"]
        table = _set(table, "row_index", pc.add(before, first))
        if self._job.id is not None:
            return table
        places = pc.cast(before, pa.string())
        if ids is not None:
            own = pa.array([next(ids) for _ in range(table.num_rows)], pa.string())
            is_place = pc.and_(pc.equal(table["row_id"], places), pc.not_equal(own, table["row_id"]))
        else:
            is_place = pc.equal(table["row_id"], places)
            own = pc.if_else(is_place, pc.cast(table["row_index"], pa.string()), table["row_id"])
        self._places += bytes(is_place.to_pylist())
        table = _set(table, "row_id", own)
        owners = [self._moved_id(owner, first) for owner in table["reused_from"].to_pylist()]
        return _set(table, "reused_from", pa.array(owners, pa.string()))

    def _moved_id(self, owner: str | None, first: int) -> str | None:
        """The id of the row whose answer was reused, moved where it is a place. The row that paid comes first."""
        if owner is None or not (owner.isascii() and owner.isdigit()):
            return owner
        return (
            str(int(owner) + first) if len(owner) < 19 and self._places[int(owner) : int(owner) + 1] == b"\1" else owner
        )

    def _count(self, table: pa.Table, number: int) -> None:
        if self._job.id is not None:
            firsts = self._index.firsts_with_id([(row_id, number) for row_id in table["row_id"].to_pylist()])
            self.merged.ids += sum(first != number for first in firsts)
        paid = table.filter(pc.and_(pc.is_null(table["reused_from"]), pc.is_valid(table["request_key"])))
        keys = [bytes.fromhex(key) for key in paid["request_key"].to_pylist()]
        for place, owner in enumerate(self._index.owners([(key, number) for key in keys])):
            if owner != number:
                self.merged.requests += 1
                cost = paid["cost_usd"][place].as_py()
                self.merged.usd += 0 if cost is None else parse_amount(str(cost))


def _set(table: pa.Table, name: str, column: pa.ChunkedArray | pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(place), column)


def _moved_notes(metadata: Mapping[bytes, bytes], first: int) -> dict[bytes, bytes]:
    """What a part's metadata tells of its rows, at their places in the whole."""
    told = {key: value for key, value in metadata.items() if key not in (_OF_ARROW, FOOTER.encode())}
    if DETAILS in told:
        details = [(row + first, usd, failures) for row, (usd, failures) in details_in(metadata).items()]
        told[DETAILS] = msgspec.json.encode(details)
    if JOINED in told:
        told[JOINED] = msgspec.json.encode([(row + first, count) for row, count in joined_in(metadata).items()])
    return told
