"""Review: the rows that people should look at, the most doubtful first, ready to be filled in and handed back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rowmill.schemas.json_text import encode_json
from rowmill.schemas.label import Label
from rowmill.schemas.outcome import Status
from rowmill.schemas.results import PROBABILITY
from rowmill.tasks.labelling.audit import Stratum, is_drawn
from rowmill.tasks.labelling.corrections import ANSWERED
from rowmill.tasks.labelling.judgements import Judgements, opinions_text
from rowmill.tasks.system.durable import published

COLUMNS = [
    "row_id", "row_index", "status", "error_message", "voted_label", "agreement", "votes", "gold", "correct",
]  # fmt: skip
BATCH_ROWS = 2_048
# Rows without an answer that people can give in the model's place. A failed call is for --retry-failed.
ANSWERED_BY_PEOPLE = frozenset({Status.INVALID.value, Status.REFUSED.value})
# Why a row is to review, in the order in which people see them; the random ones come last.
PEOPLE, NO_LABEL, GOLD, DOUBT, AUDIT = "people", "no_label", "gold", "doubt", "audit"
RANK = {PEOPLE: 0, NO_LABEL: 1, GOLD: 2, DOUBT: 3, AUDIT: 9}

# For a part: what finds a row's text by its index, as the model read it, for rows in their order.
Texts = Callable[[Path], Callable[[int], str]]


@dataclass(slots=True)
class Reviewed:
    """What the review found: rows written, rows beyond its limit, both by kind, and the strata of the audit."""

    written: int = 0
    left_out: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    doubtful: Stratum = field(default_factory=Stratum)
    other: Stratum = field(default_factory=Stratum)


@dataclass(frozen=True, slots=True)
class _Candidate:
    kind: str
    why: str
    part: int
    row: Mapping[str, Any]

    @property
    def order(self) -> tuple[int, float, int]:
        sure = sureness(self.row)
        # Of votes that contradict gold the surest first: there it is likelier gold that is wrong.
        return RANK[self.kind], 0.0 if sure is None else -sure if self.kind == GOLD else sure, self.row["row_index"]


def write_review(path: Path, label: Label, parts: Sequence[Path], *, texts: Texts, people: Judgements) -> Reviewed:
    """Write review.jsonl anew: the rows of most doubt, at most `review.most`, then the audit's. Raises StorageError.

    In doubt are rows on which people disagree, without a label, whose votes all contradict gold, and of little
    agreement (little probability, where votes are weighed). Rows that people have labelled already are not asked again.
    """
    found = Reviewed()
    doubtful: list[_Candidate] = []
    audit: list[_Candidate] = []
    most = label.review.most
    for number, part in enumerate(parts):
        for one in _candidates(part, number, label, people=people, found=found):
            (audit if one.kind == AUDIT else doubtful).append(one)
            if len(doubtful) >= 2 * most:
                doubtful = sorted(doubtful, key=lambda one: one.order)[:most]
    chosen = sorted(doubtful, key=lambda one: one.order)[:most] + audit
    found.written = len(chosen)
    found.left_out = sum(found.kinds.values()) - len(chosen)
    with published(path, "the review") as file:
        for line in _lines(chosen, parts, texts):
            file.write(line)
    if not chosen:
        path.unlink()
    return found


def _lines(chosen: Sequence[_Candidate], parts: Sequence[Path], texts: Texts) -> Iterator[bytes]:
    """The lines in the order of doubt. Texts are read in the order of the input."""
    lines: dict[int, bytes] = {}
    by_place = sorted(range(len(chosen)), key=lambda at: (chosen[at].part, chosen[at].row["row_index"]))
    for part, places in groupby(by_place, key=lambda at: chosen[at].part):
        text_of = texts(parts[part])
        for at in places:
            lines[at] = encode_json(_line(chosen[at], text_of(chosen[at].row["row_index"]))) + b"\n"
    yield from (lines[at] for at in range(len(chosen)))


def sureness(row: Mapping[str, Any]) -> float | None:
    """How sure a row's label is: its probability where votes are weighed, else their agreement."""
    sure: float | None = row.get(PROBABILITY)
    return row["agreement"] if sure is None else sure


def _candidates(part: Path, number: int, label: Label, *, people: Judgements, found: Reviewed) -> Iterator[_Candidate]:
    share, conflicts = label.review.audit, people.conflicts
    named = pa.array(sorted(conflicts), pa.string())
    with pq.ParquetFile(part, pre_buffer=False) as file:
        weighed = [name for name in (PROBABILITY,) if name in file.schema_arrow.names]
        for batch in file.iter_batches(BATCH_ROWS, columns=[*COLUMNS, *weighed], use_threads=False):
            if not share:
                # Most rows need nobody: they are left out before they become Python's.
                batch = batch.filter(_may_need_people(batch, label, named))
            for row in batch.to_pylist():
                is_in_doubt, drawn = reason(row, label) is not None, bool(share) and is_drawn(row["row_id"], share)
                if share and row["status"] in ANSWERED:
                    stratum = found.doubtful if is_in_doubt else found.other
                    stratum.meet(drawn=drawn, correct=row["correct"])
                if row["row_id"] in people.labels:
                    continue
                if (kind := _kind(row, label, conflicts, drawn=drawn and row["gold"] is None)) is not None:
                    found.kinds[kind] += 1
                    yield _Candidate(kind, _why(kind, row, label, conflicts=conflicts), number, row)


def _may_need_people(batch: pa.RecordBatch, label: Label, conflicts: pa.Array) -> pa.Array:
    sure = batch["agreement"]
    if PROBABILITY in batch.schema.names:
        sure = pc.coalesce(batch[PROBABILITY], sure)
    unlike = pc.fill_null(pc.less(sure, label.review_below), False)
    wrong = pc.fill_null(pc.invert(batch["correct"]), False)
    needs = pc.or_(pc.not_equal(batch["status"], Status.OK.value), pc.is_null(batch["voted_label"]))
    return pc.or_(pc.or_(needs, unlike), pc.or_(wrong, pc.is_in(batch["row_id"], conflicts)))


def _kind(row: Mapping[str, Any], label: Label, conflicts: Mapping[str, Any], *, drawn: bool) -> str | None:
    if row["row_id"] in conflicts:
        return PEOPLE
    if reason(row, label) is not None:
        return NO_LABEL if row["voted_label"] is None else DOUBT
    if _contradicts_gold(row):
        return GOLD
    return AUDIT if drawn and row["status"] in ANSWERED else None


def _contradicts_gold(row: Mapping[str, Any]) -> bool:
    """Whether several votes all say one thing and gold another: of such rows many have wrong gold."""
    return row["correct"] is False and row["agreement"] == 1.0 and len(row["votes"]) > 1


def _why(kind: str, row: Mapping[str, Any], label: Label, *, conflicts: Mapping[str, Any]) -> str:
    if kind == PEOPLE:
        return f"people disagree: {opinions_text(conflicts[row['row_id']])}"
    if kind == GOLD:
        return f"all {len(row['votes'])} votes contradict gold, which says {_named(row['gold'])}"
    return reason(row, label) or "drawn at random for the audit"


def _named(labels: str | list[str]) -> str:
    return repr(labels) if isinstance(labels, str) else ", ".join(map(repr, labels)) or "none"


def reason(row: Mapping[str, Any], label: Label) -> str | None:
    """Why the votes leave a results row in doubt; None where they do not."""
    if row["status"] in ANSWERED_BY_PEOPLE:
        return f"{row['status']}: {row['error_message']}"
    if row["status"] != Status.OK.value:
        return None
    if row["voted_label"] is None:
        return "the votes tie"
    sure = sureness(row)
    if sure is None or sure >= label.review_below:
        return None
    if row.get(PROBABILITY) is not None:
        return f"the label is right with a probability of {sure:.0%}"
    return f"only {sure:.0%} of the votes agree"


def _line(one: _Candidate, text: str) -> dict[str, Any]:
    """`gold` is for the person to fill in; `suggested` is what the votes chose."""
    row = one.row
    return {
        "row_id": row["row_id"],
        "text": text,
        "suggested": row["voted_label"],
        "agreement": row["agreement"],
        **({"probability": row[PROBABILITY]} if row.get(PROBABILITY) is not None else {}),
        "votes": [{"model": vote["model"], "label": vote["label"]} for vote in row["votes"] or ()],
        "kind": one.kind,
        "why": one.why,
        "gold": None,
    }
