"""Run shares: of the rows that each run settled, how many are ok, hold each field, have each label. From parts alone.

Row groups without rows of the runs in question are not read: closing a run costs what the run settled, not what stands.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rowmill.schemas.history import CORRECT, FILLED, LABEL, STATUS, SUPPORTED, UNANIMOUS, VALUE, Shares
from rowmill.schemas.outcome import Status
from rowmill.schemas.price import decimal_string, parse_amount
from rowmill.schemas.subschemas import Document, Place
from rowmill.tasks.fields.tree import tree_of

BATCH_ROWS = 8_192
# Fields, labels and values that are counted; with more of them a kind is left out, since a part would mislead.
NAMES_MOST = 300
CHOICES_MOST = 50
ANSWER = ("run_id", "status", "cost_usd", "output", "label", "agreement", "correct", "field_agreement", "field_correct")
EVIDENCE = ("evidence.list.element.field", "evidence.list.element.match")
UNSUPPORTED = "none"
SURE = 1 - 1e-9


class RunCounts:
    """What is counted of one run's rows, some at a time."""

    def __init__(self) -> None:
        # 10⁻¹² USD; rows of unknown price count nothing.
        self.cost_usd = 0
        self._counts: dict[str, dict[str, list[int]]] = {}
        self._ok = 0

    def note(self, kind: str, name: str, count: int, *, of: int) -> None:
        told = self._counts.setdefault(kind, {}).setdefault(name, [0, 0])
        told[0] += count
        told[1] += of

    def add(self, batch: pa.RecordBatch, choices: Mapping[tuple[str, ...], Sequence[str]]) -> None:
        """Count rows of this run."""
        rows = batch.num_rows
        counted = dict(_value_counts(batch.column("status")))
        for status in Status:
            self.note(STATUS, status.value, counted.get(status.value, 0), of=rows)
        cost = pc.sum(batch.column("cost_usd")).as_py()
        self.cost_usd += parse_amount(str(cost)) if cost is not None else 0
        ok = batch.filter(pc.equal(batch.column("status"), Status.OK.value))
        self._ok += ok.num_rows
        self._add_output(ok, choices)
        names = batch.schema.names
        if LABEL in names:
            for label, count in _labels(ok.column(LABEL)):
                self.note(LABEL, label, count, of=0)
        if "agreement" in names:
            self._add_agreement("label", ok.column("agreement"))
        if "field_agreement" in names:
            for name, values, _, _ in _leaves(ok.column("field_agreement")):
                self._add_agreement(name, values)
        if "correct" in names:
            self._add_correct("label", batch.column("correct"))
        if "field_correct" in names:
            for name, values, _, _ in _leaves(batch.column("field_correct")):
                self._add_correct(name, values)
        if "evidence" in names:
            self._add_evidence(ok.column("evidence"))

    def _add_output(self, ok: pa.RecordBatch, choices: Mapping[tuple[str, ...], Sequence[str]]) -> None:
        if not pa.types.is_struct(ok.schema.field("output").type):
            return
        for name, values, path, type_ in _leaves(ok.column("output")):
            self.note(FILLED, name, _filled(values), of=ok.num_rows)
            if pa.types.is_boolean(type_):
                self.note(VALUE, f"{name} = true", pc.sum(values).as_py() or 0, of=ok.num_rows)
            elif path in choices:
                counted = dict(_value_counts(values))
                for choice in choices[path]:
                    self.note(VALUE, f"{name} = {choice}", counted.get(choice, 0), of=ok.num_rows)

    def _add_agreement(self, name: str, values: pa.Array) -> None:
        of = len(values) - values.null_count
        self.note(UNANIMOUS, name, pc.sum(pc.greater_equal(values, SURE)).as_py() or 0, of=of)

    def _add_correct(self, name: str, values: pa.Array) -> None:
        self.note(CORRECT, name, pc.sum(values).as_py() or 0, of=len(values) - values.null_count)

    def _add_evidence(self, evidence: pa.Array) -> None:
        """Rows that have a field, and those of them in which each of its values has support."""
        entries = evidence.flatten()
        if not len(entries):
            return
        once = pc.replace_substring_regex(entries.field("field"), r"/[0-9]+(/|$)", r"/*\1")
        # A match takes the next one's slash: lists of lists need another look.
        name = pc.replace_substring_regex(once, r"/[0-9]+(/|$)", r"/*\1")
        supported = pc.not_equal(entries.field("match"), UNSUPPORTED)
        table = pa.table({"row": pc.list_parent_indices(evidence), "name": name, "supported": supported})
        rows = table.group_by(["row", "name"]).aggregate([("supported", "all")])
        for told in rows.group_by("name").aggregate([("supported_all", "sum"), ("supported_all", "count")]).to_pylist():
            self.note(SUPPORTED, _dotted(told["name"]), told["supported_all_sum"], of=told["supported_all_count"])

    @property
    def shares(self) -> Shares:
        """What was counted. A kind with too many names is left out."""
        if LABEL in self._counts:
            for told in self._counts[LABEL].values():
                told[1] = self._ok
        return {
            kind: {name: (count, of) for name, (count, of) in sorted(names.items())}
            for kind, names in self._counts.items()
            if len(names) <= NAMES_MOST
        }

    @property
    def cost(self) -> str:
        """What the rows cost, in USD, as a decimal string."""
        return decimal_string(self.cost_usd)


def run_counts(parts: Sequence[Path], run_ids: Collection[str]) -> dict[str, RunCounts]:
    """What the parts tell of each of these runs; nothing counted where none of its rows stands. Raises OSError,
    ArrowException for a part that cannot be read.
    """
    found = {run_id: RunCounts() for run_id in run_ids}
    for part in parts:
        with pq.ParquetFile(part, pre_buffer=False) as parquet:
            wanted = _groups(parquet.metadata, run_ids)
            if not any(wanted):
                continue
            schema = parquet.schema_arrow
            choices = _choices(schema)
            columns = [name for name in ANSWER if name in schema.names]
            columns += EVIDENCE if "evidence" in schema.names else ()
            for group, ids in enumerate(wanted):
                if ids:
                    for batch in parquet.iter_batches(BATCH_ROWS, [group], columns, use_threads=False):
                        _count(batch, ids, found, choices=choices)
    return found


def _count(
    batch: pa.RecordBatch,
    ids: Collection[str],
    found: Mapping[str, RunCounts],
    *,
    choices: Mapping[tuple[str, ...], Sequence[str]],
) -> None:
    for run_id in ids:
        mine = pc.equal(batch.column("run_id"), run_id)
        count = pc.sum(mine).as_py() or 0
        if count:
            found[run_id].add(batch if count == batch.num_rows else batch.filter(mine), choices)


def _groups(metadata: pq.FileMetaData, run_ids: Collection[str]) -> list[list[str]]:
    """For each row group, those of the runs that may have rows in it."""
    at = metadata.schema.names.index("run_id") if "run_id" in metadata.schema.names else None
    if at is None:
        return []
    column = next(place for place in range(metadata.num_columns) if metadata.schema.column(place).path == "run_id")
    found = []
    for group in range(metadata.num_row_groups):
        told = metadata.row_group(group).column(column).statistics
        known = told is not None and told.has_min_max
        found.append([one for one in run_ids if not known or told.min <= one <= told.max])
    return found


def _leaves(array: pa.Array, above: tuple[str, ...] = ()) -> Iterator[tuple[str, pa.Array, tuple[str, ...], Any]]:
    """Each leaf of a struct column: its name as people see it, its values (null below a null), its path and type."""
    if not pa.types.is_struct(array.type):
        yield "output", array, (), array.type
        return
    for leaf in tree_of(array.type, frozenset()).leaves:
        yield leaf.name, pc.struct_field(array, list(leaf.path)), leaf.path, leaf.type


def _dotted(pointer: str) -> str:
    """A field as people name it: `/lines/*/amount` is lines.*.amount."""
    return pointer.removeprefix("/").replace("/", ".") or "output"


def _filled(values: pa.Array) -> int:
    """Values that say something: null, blank text and an empty list are one answer."""
    if pa.types.is_map(values.type):
        # Arrow counts the entries of lists alone.
        values = values.cast(pa.list_(pa.struct([values.type.key_field, values.type.item_field])))
    if pa.types.is_list(values.type):
        says = pc.greater(pc.list_value_length(values), 0)
    elif pa.types.is_string(values.type):
        says = pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(values)), 0)
    else:
        return int(len(values) - values.null_count)
    return int(pc.sum(says).as_py() or 0)


def _value_counts(values: pa.Array) -> Iterator[tuple[str, int]]:
    for told in pc.value_counts(values.drop_null()).to_pylist():
        yield str(told["values"]), told["counts"]


def _labels(values: pa.Array) -> Iterator[tuple[str, int]]:
    """Labels with the rows that have them; each row has a label of several once."""
    yield from _value_counts(values.flatten() if pa.types.is_list(values.type) else values)


def _choices(schema: pa.Schema) -> dict[tuple[str, ...], list[str]]:
    """Text fields whose schema allows a few values only, by their path, with the values."""
    told = (schema.metadata or {}).get(b"rowmill.schema")
    output = schema.field("output").type
    if told is None or not pa.types.is_struct(output):
        return {}
    document = Document(json.loads(told))
    found = {}
    for leaf in tree_of(output, frozenset()).leaves:
        if pa.types.is_string(leaf.type) and (values := _enum(document, leaf.path)):
            found[leaf.path] = values
    return found


def _enum(document: Document, path: Sequence[str]) -> list[str]:
    places: list[Place] = [document.root]
    for step in path:
        places = [
            document.inside(inner, place)
            for place in document.of_kind(places, "object")
            if isinstance(place.schema, Mapping) and isinstance(properties := place.schema.get("properties"), Mapping)
            if (inner := properties.get(step)) is not None
        ]
    for place in document.of_kind(places, "string") if places else ():
        values = place.schema.get("enum") if isinstance(place.schema, Mapping) else None
        if isinstance(values, list):
            texts = [value for value in values if isinstance(value, str)]
            return texts if len(texts) <= CHOICES_MOST else []
    return []
