"""Field review: the rows with fields that the votes left in doubt, the most doubtful first, each with what was said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rowmill.schemas.fields import FieldVotes
from rowmill.schemas.json_text import decode_json, encode_json
from rowmill.schemas.outcome import Status
from rowmill.schemas.results import FIELD_AGREEMENT
from rowmill.tasks.answers.validator import Accepted, Validator
from rowmill.tasks.fields.comparison import key_of
from rowmill.tasks.fields.majority import decision
from rowmill.tasks.fields.tree import MISSING, FieldTree, at
from rowmill.tasks.labelling.field_agreement import answered_batches, leaf_of
from rowmill.tasks.labelling.review import Texts
from rowmill.tasks.system.durable import published

COLUMNS = ["row_id", "row_index"]


@dataclass(frozen=True, slots=True)
class _Doubt:
    part: int
    lowest: float
    row_id: str
    row_index: int
    fields: Mapping[str, float]

    @property
    def order(self) -> tuple[float, int, int]:
        return self.lowest, -len(self.fields), self.row_index


def write_field_review(
    path: Path, votes: FieldVotes, parts: Sequence[Path], *, texts: Texts, validator: Validator, tree: FieldTree
) -> int:
    """Write review.jsonl anew: the rows of most doubt, at most `review_most`. Returns how many. Raises StorageError."""
    found: list[_Doubt] = []
    for number, part in enumerate(parts):
        for one in _doubts(number, part, votes.review_below, tree=tree):
            found.append(one)
            if len(found) >= 2 * votes.review_most:
                found = sorted(found, key=lambda doubt: doubt.order)[: votes.review_most]
    found = sorted(found, key=lambda doubt: doubt.order)[: votes.review_most]
    if not found:
        path.unlink(missing_ok=True)
        return 0
    with published(path, "the review") as file:
        for line in _lines(found, parts, texts, validator=validator, tree=tree):
            file.write(line)
    return len(found)


def _doubts(number: int, part: Path, below: float, *, tree: FieldTree) -> Iterator[_Doubt]:
    for batch in answered_batches([part], COLUMNS):
        shares = {leaf.name: leaf_of(batch[FIELD_AGREEMENT], leaf).to_pylist() for leaf in tree.leaves}
        for place in range(batch.num_rows):
            fields = {name: told[place] for name, told in shares.items() if told[place] < below}
            if fields:
                row = batch.slice(place, 1).select(COLUMNS).to_pylist()[0]
                yield _Doubt(number, min(fields.values()), row["row_id"], row["row_index"], fields)


def _lines(
    found: Sequence[_Doubt], parts: Sequence[Path], texts: Texts, *, validator: Validator, tree: FieldTree
) -> Iterator[bytes]:
    """The lines in the order of doubt. Texts are read in the order of the input."""
    lines: dict[int, bytes] = {}
    by_place = sorted(range(len(found)), key=lambda place: (found[place].part, found[place].row_index))
    for part, places in groupby(by_place, key=lambda place: found[place].part):
        text_of, chosen = texts(parts[part]), list(places)
        votes = _votes(parts[part], {found[place].row_index for place in chosen})
        for place in chosen:
            one = found[place]
            line = _line(one, votes[one.row_index], text_of(one.row_index), validator=validator, tree=tree)
            lines[place] = encode_json(line) + b"\n"
    yield from (lines[place] for place in range(len(found)))


def _votes(part: Path, rows: set[int]) -> dict[int, Sequence[Mapping[str, Any]]]:
    """The votes about some rows of a part."""
    wanted = pa.array(sorted(rows), pa.int64())
    found: dict[int, Sequence[Mapping[str, Any]]] = {}
    for batch in answered_batches([part], ["row_index", "votes"]):
        some = batch.filter(pc.is_in(batch["row_index"], wanted))
        found |= zip(some["row_index"].to_pylist(), some["votes"].to_pylist(), strict=True)
    return found


def _line(
    one: _Doubt, votes: Sequence[Mapping[str, Any]], text: str, *, validator: Validator, tree: FieldTree
) -> dict[str, Any]:
    """`fields` names those in doubt with what was said of each and how often, `output` is what stands for the row."""
    said = [_accepted(vote, validator) for vote in votes]
    found = decision([vote["model"] for vote in votes], said, tree, meets=validator.meets)
    output = None if found is None else decode_json(found.text)
    answers = [decode_json(told) for told in said if told is not None]
    paths = {leaf.name: leaf.path for leaf in tree.leaves}
    fields = [
        {"field": name, "agreement": share, "values": _values([at(answer, paths[name]) for answer in answers])}
        for name, share in sorted(one.fields.items(), key=lambda told: told[1])
    ]
    why = ", ".join(f"{told['field']} ({told['agreement']:.0%})" for told in fields)
    return {
        "row_id": one.row_id,
        "text": text,
        "output": output,
        "why": f"the votes agree too little on {why}",
        "fields": fields,
        "votes": len(votes),
    }


def _accepted(vote: Mapping[str, Any], validator: Validator) -> str | None:
    if vote["status"] != Status.OK or vote["response_text"] is None:
        return None
    verdict = validator.judge(vote["response_text"])
    return verdict.text if isinstance(verdict, Accepted) else None


def _values(told: Sequence[Any]) -> list[dict[str, Any]]:
    """Each value that was said, the most frequent first."""
    counts: dict[Any, list[Any]] = {}
    for value in told:
        counts.setdefault(key_of(value), [None if value is MISSING else value, 0])[1] += 1
    return [{"value": value, "votes": count} for value, count in sorted(counts.values(), key=lambda one: -one[1])]
