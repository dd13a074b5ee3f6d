"""Corrections: labels that people gave. They are kept beside the results, and no later run overwrites them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rowmill.schemas.errors import InputError
from rowmill.schemas.json_text import JsonTextError, decode_json, encode_json
from rowmill.schemas.label import Label, Labels
from rowmill.tasks.output.folder import write_file
from rowmill.tasks.output.label_columns import labels_array, labels_of
from rowmill.tasks.output.part_notes import notes_of
from rowmill.tasks.plan.label_prompt import gold_in
from rowmill.tasks.system.durable import published

KEPT = "gold.jsonl"
REVIEW = "review.jsonl"
IDS = ("row_id", "id")
# What a person filled in comes before what stood there as a suggestion.
SAID = ("gold", "label")

Corrections = dict[str, Labels]


def read_corrections(path: Path, label: Label, id_column: str | None = None) -> Corrections:
    """Labels by row_id from review.jsonl or any JSONL, a CSV, or a Label Studio export. Rows without a label are left.

    Raises InputError naming file and line: what cannot be read, a row without id, a label outside the set.
    """
    found: Corrections = {}
    ids = (*IDS, id_column) if id_column else IDS
    for number, told in _entries(path):
        where = f"{path}, line {number}"
        said = next((told[key] for key in SAID if told.get(key) not in (None, "")), None)
        row_id = next((told[key] for key in ids if told.get(key) not in (None, "")), None)
        try:
            labels = gold_in(said, multi=label.multi)
        except ValueError as error:
            raise InputError(str(error), where=where, hint="write one label of the job, or a list of them") from None
        if labels is None:
            continue
        if row_id is None:
            raise InputError("a label without a row_id", where=where, hint="each line needs `row_id` and `gold`")
        if label.labels is not None and (wrong := label.outside(labels)):
            raise InputError(
                f"the label {wrong[0]!r} is not among the labels ({', '.join(label.names[:20])})",
                where=where,
                hint="mend the line, or add the label under label.labels",
            )
        found[str(row_id)] = labels
    return found


def _entries(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line number and columns of each entry of a file, by its ending."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot be read: {getattr(error, 'strerror', None) or error}",
            where=str(path),
            hint="--gold names a file of labels",
        ) from None
    if path.suffix.lower() == ".csv":
        reader = csv.DictReader(text.splitlines(keepends=True))
        yield from ((reader.line_num, row) for row in reader)
    elif text.lstrip().startswith("["):
        yield from enumerate(_label_studio(text, path), 1)
    else:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield number, _object(line, f"{path}, line {number}")


def _object(text: str, where: str) -> Mapping[str, Any]:
    try:
        value = decode_json(text)
    except JsonTextError as error:
        raise InputError(f"not valid JSON: {error}", where=where, hint="each line is one JSON object") from None
    if not isinstance(value, dict):
        raise InputError("a JSON object is expected", where=where, hint="each line needs `row_id` and `gold`")
    return value


def _label_studio(text: str, path: Path) -> Iterator[Mapping[str, Any]]:
    """Tasks of a Label Studio export (JSON): each one's last annotation that was not cancelled."""
    try:
        tasks = decode_json(text)
    except JsonTextError as error:
        raise InputError(
            f"not valid JSON: {error}", where=str(path), hint="export as JSON, or use .jsonl or .csv"
        ) from None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise InputError("a list of tasks is expected", where=str(path), hint="export as JSON")
    for task in tasks:
        if "data" not in task:
            # Its short form, and any other list of rows.
            yield task
            continue
        choices: list[str] | None = None
        for annotation in task.get("annotations") or ():
            if annotation.get("was_cancelled"):
                continue
            for result in annotation.get("result") or ():
                choices = (result.get("value") or {}).get("choices", choices)
        several = choices is not None and len(choices) != 1
        yield {
            "row_id": (task["data"] or {}).get("row_id"),
            "gold": choices if several or not choices else choices[0],
        }


def kept_corrections(root: Path, label: Label) -> Corrections:
    """What people said before, from OUT/gold.jsonl and from an OUT/review.jsonl that somebody filled in."""
    found: Corrections = {}
    for name in (KEPT, REVIEW):
        if (root / name).exists():
            found |= read_corrections(root / name, label)
    return found


def keep_corrections(root: Path, found: Corrections) -> None:
    """Write OUT/gold.jsonl. Raises StorageError."""
    lines = (
        json.dumps({"row_id": row_id, "gold": list(labels)}, ensure_ascii=False) for row_id, labels in found.items()
    )
    write_file(root / KEPT, "".join(f"{line}\n" for line in lines).encode())


def digest_of(found: Corrections) -> str:
    """blake2b-128 (hex): another one where anybody said anything new."""
    return blake2b(encode_json(sorted(found.items())), digest_size=16).hexdigest()


def apply_corrections(part: Path, found: Corrections) -> bool:
    """Give rows of a part what people said: `label` and `gold` are theirs, `correct` tells whether the votes had it.

    The part is replaced in one step. Returns whether anything was new. Raises StorageError.
    """
    ids = pa.array(sorted(found), pa.string())
    rows = pq.read_table(part, columns=["row_id", "label", "gold", "voted_label"])
    places = pc.indices_nonzero(pc.is_in(rows["row_id"], ids)).to_pylist()
    labels, gold = ([labels_of(value) for value in rows[name].to_pylist()] for name in ("label", "gold"))
    new = [at for at in places if (said := found[rows["row_id"][at].as_py()]) != labels[at] or said != gold[at]]
    if not new:
        return False
    with pq.ParquetFile(part, pre_buffer=False, page_checksum_verification=True) as file:
        table, notes = file.read(), notes_of(file.metadata.metadata)
    correct = table["correct"].to_pylist()
    voted = [labels_of(value) for value in rows["voted_label"].to_pylist()]
    for at in new:
        labels[at] = gold[at] = found[rows["row_id"][at].as_py()]
        correct[at] = None if voted[at] is None else set(voted[at] or ()) == set(gold[at] or ())
    for name, values in (("label", labels), ("gold", gold)):
        table = _replaced(table, name, labels_array(values, table.schema.field(name).type))
    table = _replaced(table, "correct", pa.array(correct, pa.bool_()))
    with (
        published(part, "the part") as sink,
        pq.ParquetWriter(sink, table.schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        writer.write_table(table, row_group_size=5_000)
        writer.add_key_value_metadata(notes)
    return True


def _replaced(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), values)
