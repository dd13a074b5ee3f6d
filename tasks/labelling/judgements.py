"""Judgements: what people said of rows, from files and from earlier runs, and who decides where they disagree."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from rowmill.schemas.errors import InputError
from rowmill.schemas.json_text import encode_json
from rowmill.schemas.label import Label, Labels
from rowmill.tasks.labelling.label_studio import OWN_COLUMNS
from rowmill.tasks.labelling.people_file import Entry, PeopleFile, plain_name, read_people_file
from rowmill.tasks.plan.label_gold import GoldReader
from rowmill.tasks.system.durable import write_file

log = logging.getLogger("rowmill")
KEPT = "gold.jsonl"
REVIEW = "review.jsonl"
ID = "row_id"
# A column to be filled in; where a file has none, a labelling tool's. `suggested` is no person's word.
FILLED_IN = ("gold", "label", "labels", "choice")
ANNOTATORS = ("annotator", "annotator_id", "completed_by", "coder", "rater")
MAJORITY = "majority"
NAMED = 20

Corrections = dict[str, Labels]
# What each person said of a row, by name.
Opinions = Mapping[str, Labels]


@dataclass(frozen=True, slots=True)
class Judgements:
    """What people said: the label of each row on which they agree or one decides, and what each of them said.

    Rows in `opinions` without a label are those on which they disagree: nobody wins by a place in a file.
    """

    labels: Corrections = field(default_factory=dict)
    opinions: dict[str, Opinions] = field(default_factory=dict)
    # Rows on which people disagree and most of them say the label.
    majorities: tuple[str, ...] = ()

    @property
    def conflicts(self) -> dict[str, Opinions]:
        return {row: said for row, said in self.opinions.items() if row not in self.labels}

    def __or__(self, later: Judgements) -> Judgements:
        """What was said later decides; a later conflict leaves a label that was given before."""
        opinions = dict(self.opinions)
        for row, said in later.opinions.items():
            opinions[row] = {**opinions.get(row, {}), **said}
        return Judgements(self.labels | later.labels, opinions)


def read_judgements(
    path: Path, label: Label, id_column: str | None = None, *, gold_by: str | None = None
) -> Judgements:
    """What people said in a file: review.jsonl, JSON lines, a table, or a Label Studio export. The file is read whole.

    `gold_by` names the annotator who decides where they disagree, or `majority`.

    Raises InputError naming file and line: what cannot be read, a row without id, a label outside the set.
    """
    names = [ID, *([plain_name(id_column)] if id_column else []), "id", *FILLED_IN]
    file = read_people_file(path, names)
    filled_in = _filled_in(file, path)
    ids, reader = _id_columns(file, id_column), GoldReader(label)
    said: dict[str, dict[str, list[Labels]]] = {}
    final: dict[str, set[Labels]] = {}
    for entry in file.entries:
        labels = _labels_of(entry, filled_in, label, reader=reader)
        if labels is None:
            continue
        row, person = _row_of(entry, ids), _person_of(entry)
        said.setdefault(row, {}).setdefault(person, []).append(labels)
        if entry.values.get("ground_truth") is True:
            final.setdefault(row, set()).add(labels)
    return _decided(_one_opinion_each(said), final, gold_by, path=path)


def _filled_in(file: PeopleFile, path: Path) -> str | None:
    """The column that people fill in. Raises InputError where a file with rows, or with columns, has none."""
    found = next((name for name in FILLED_IN if name in file.columns), None)
    if found is None and file.columns:
        raise InputError(
            f"no column `gold` to read labels from; the file has: {', '.join(sorted(file.columns)[:NAMED])}",
            where=str(path),
            hint="each row needs `row_id` and `gold`; what stands in other columns is no person's label",
        )
    return found


def _id_columns(file: PeopleFile, id_column: str | None) -> list[str]:
    own = plain_name(id_column) if id_column else None
    is_tool = bool(file.columns & OWN_COLUMNS)
    ids = [ID, *([own] if own and not (own == "id" and is_tool) else [])]
    return ids if is_tool else [*ids, "id"]


def _labels_of(entry: Entry, filled_in: str | None, label: Label, *, reader: GoldReader) -> Labels | None:
    value = entry.values.get(filled_in) if filled_in else None
    if isinstance(value, dict) and set(value) == {"choices"}:
        # Label Studio's short forms write several choices so.
        value = value["choices"]
    try:
        labels = reader.labels(value)
    except ValueError as error:
        raise InputError(str(error), where=entry.where, hint="write one label of the job, or a list of them") from None
    if labels is not None and label.labels is not None and (wrong := label.outside(labels)):
        raise InputError(
            f"the label {wrong[0]!r} is not among the labels ({', '.join(label.names[:20])})",
            where=entry.where,
            hint="correct the line, or add the label under label.labels",
        )
    return labels


def _row_of(entry: Entry, ids: Iterable[str]) -> str:
    row = next((entry.values[key] for key in ids if entry.values.get(key) not in (None, "")), None)
    if row is None:
        raise InputError(
            f"a label without a row_id; there is: {', '.join(sorted(entry.values)[:NAMED])}",
            where=entry.where,
            hint="each line needs `row_id` and `gold`",
        )
    return str(int(row)) if isinstance(row, float) and row.is_integer() else str(row)


def _person_of(entry: Entry) -> str:
    """Who said it; lines of nobody's name are each another person's."""
    told = next((entry.values[key] for key in ANNOTATORS if entry.values.get(key) not in (None, "")), None)
    return str(told) if told is not None else entry.where.rpartition(", ")[2]


def _one_opinion_each(said: Mapping[str, Mapping[str, list[Labels]]]) -> dict[str, Opinions]:
    """A person who says two things of one row is two: neither is dropped for the place where it stands."""
    found: dict[str, Opinions] = {}
    for row, by_person in said.items():
        opinions: dict[str, Labels] = {}
        for person, several in by_person.items():
            for number, labels in enumerate(dict.fromkeys(several)):
                opinions[person if not number else f"{person} ({number + 1})"] = labels
        found[row] = opinions
    return found


def _decided(
    opinions: Mapping[str, Opinions], final: Mapping[str, set[Labels]], gold_by: str | None, *, path: Path
) -> Judgements:
    people = sorted({person for said in opinions.values() for person in said})
    if gold_by not in (None, MAJORITY) and opinions and gold_by not in people:
        raise InputError(
            f"nobody named {gold_by!r} labelled a row of this file; there are: {', '.join(people[:NAMED])}",
            where=f"--gold-by, {path}",
            hint=f"name one of these, or {MAJORITY}",
        )
    labels: Corrections = {}
    majorities: list[str] = []
    for row, said in opinions.items():
        meant = {frozenset(one): one for one in said.values()}
        if len(meant) == 1:
            labels[row] = next(iter(meant.values()))
        elif gold_by is not None and gold_by != MAJORITY and gold_by in said:
            labels[row] = said[gold_by]
        elif len(final.get(row, ())) == 1:
            # A reviewer marked one of the annotations as the truth.
            labels[row] = next(iter(final[row]))
        elif gold_by in (None, MAJORITY) and (most := _majority(said)) is not None:
            labels[row] = most
            majorities.append(row)
    return Judgements(labels, dict(opinions), tuple(majorities))


def _majority(said: Opinions) -> Labels | None:
    """What more than half of the people say."""
    counts = Counter(frozenset(one) for one in said.values())
    most, count = counts.most_common(1)[0]
    return next(one for one in said.values() if frozenset(one) == most) if 2 * count > len(said) else None


def log_what_was_found(found: Judgements, path: Path) -> None:
    """Say of a file that was handed in what its labels alone do not show."""
    if not found.opinions:
        log.warning("%s holds no label: nothing was taken from it", path)
    if found.majorities:
        log.warning(
            "%s: people disagree on %d rows where most of them say the same, which was taken (%s)",
            path, len(found.majorities), ", ".join(found.majorities[:NAMED]),
        )  # fmt: skip
    if conflicts := found.conflicts:
        shown = "; ".join(f"{row}: {opinions_text(said)}" for row, said in list(conflicts.items())[:NAMED])
        more = f"; and {len(conflicts) - NAMED:,} more" if len(conflicts) > NAMED else ""
        log.warning(
            "%s: people disagree on %d rows, which keep what the votes say and are to review (%s%s); "
            "--gold-by NAME lets one of them decide",
            path, len(conflicts), shown, more,
        )  # fmt: skip


def opinions_text(said: Opinions) -> str:
    """What each person says, in a line."""
    return ", ".join(f"{person} says {'|'.join(labels) or '(none)'}" for person, labels in said.items())


def kept_judgements(root: Path, label: Label) -> Judgements:
    """What people said before, from OUT/gold.jsonl and from an OUT/review.jsonl that somebody filled in."""
    found = Judgements()
    if (root / KEPT).exists():
        found |= _kept(root / KEPT, label)
    if (root / REVIEW).exists() and (root / REVIEW).stat().st_size:
        found |= _without_opinions(read_judgements(root / REVIEW, label))
    return found


def _without_opinions(found: Judgements) -> Judgements:
    """Labels of the review that lies beside the results: whoever filled it in gave no name."""
    return Judgements(found.labels, {row: said for row, said in found.opinions.items() if row not in found.labels})


def _kept(path: Path, label: Label) -> Judgements:
    """OUT/gold.jsonl: its own form, one line a row. Raises InputError, as a file that was handed in does."""
    file, reader = read_people_file(path, [ID, *FILLED_IN]), GoldReader(label)
    labels: Corrections = {}
    opinions: dict[str, Opinions] = {}
    for entry in file.entries:
        row = _row_of(entry, [ID])
        if (gold := _labels_of(entry, "gold", label, reader=reader)) is not None:
            labels[row] = gold
        if isinstance(by := entry.values.get("by"), dict):
            opinions[row] = {str(person): tuple(map(str, said)) for person, said in by.items()}
    return Judgements(labels, opinions)


def keep_judgements(root: Path, found: Judgements) -> None:
    """Write OUT/gold.jsonl. Raises StorageError."""
    rows = dict.fromkeys([*found.labels, *found.opinions])
    lines = [json.dumps(_kept_line(row, found), ensure_ascii=False) for row in rows]
    write_file(root / KEPT, "".join(f"{line}\n" for line in lines).encode())


def _kept_line(row: str, found: Judgements) -> dict[str, Any]:
    gold = found.labels.get(row)
    line: dict[str, Any] = {"row_id": row, "gold": None if gold is None else list(gold)}
    said = found.opinions.get(row, {})
    # One nameless label, or one person's, says no more than the label itself.
    return line | ({"by": {person: list(labels) for person, labels in said.items()}} if len(said) > 1 else {})


def digest_of(found: Judgements) -> str:
    """blake2b-128 (hex): another one where anybody said anything new."""
    told: list[Any] = sorted(found.labels.items())
    if several := sorted((row, sorted(said.items())) for row, said in found.opinions.items() if len(said) > 1):
        told = [told, several]
    return blake2b(encode_json(told), digest_size=16).hexdigest()
