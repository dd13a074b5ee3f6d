"""Field quality: how good the fields of an output are, by gold and by votes, from its parts alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rowmill.schemas.fields import FieldGold
from rowmill.schemas.job import Job
from rowmill.tasks.fields.sums import FieldSums, GoldSums, ItemSums
from rowmill.tasks.fields.tree import FieldTree
from rowmill.tasks.labelling.field_agreement import agreement_sums
from rowmill.tasks.labelling.scores import label_scores, wilson
from rowmill.tasks.output.part_grades import summed_gold


@dataclass(frozen=True, slots=True)
class FieldQuality:
    """What run.json tells: `fields` by name, the worst first, and `rows` as wholes."""

    fields: Mapping[str, Mapping[str, Any]]
    rows: Mapping[str, Any]


def field_quality(parts: Sequence[Path], job: Job, tree: FieldTree) -> FieldQuality:
    """The quality of an output's fields. Of gold it reads the parts' footers, of votes their columns."""
    gold, votes = job.gold, job.votes if job.has_votes else None
    sums = summed_gold(parts) if gold is not None else GoldSums()
    agreement = agreement_sums(parts, votes, job.model, tree) if votes is not None else None
    fields = {}
    for leaf in tree.leaves:
        of_field = sums.fields.get(leaf.name) or FieldSums(leaf.pointer)
        if of_field.rows or agreement is not None:
            mean = None if agreement is None else agreement.mean(leaf.name)
            doubtful = None if agreement is None else agreement.doubtful.get(leaf.name, 0)
            fields[leaf.name] = {**_field(of_field), "agreement": mean, "in_doubt": doubtful}
    rows = {
        "gold": None if gold is None else _gold(gold, sums),
        "votes": None if agreement is None else agreement.told(),
    }
    return FieldQuality(_worst_first(fields), rows)


def _worst_first(fields: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    def order(one: tuple[str, dict[str, Any]]) -> tuple[float, ...]:
        told = (one[1][key] for key in ("accuracy", "low", "agreement"))
        return tuple(2.0 if value is None else value for value in told)

    return dict(sorted(fields.items(), key=order))


def _gold(gold: FieldGold, sums: GoldSums) -> dict[str, Any]:
    """Rows against gold; those that are not ok count as wrong."""
    return {
        "column": gold.column,
        **_accuracy(sums.right, sums.rows),
        "not_ok": sums.not_ok,
        "blank": sums.blank,
        "malformed": sums.malformed,
        "malformed_rows": [{"row_id": row_id, "why": why} for row_id, why in sums.malformed_rows],
    }


def _accuracy(right: int, rows: int) -> dict[str, Any]:
    low, high = wilson(right, rows) if rows else (None, None)
    return {"rows": rows, "right": right, "accuracy": right / rows if rows else None, "low": low, "high": high}


def _field(sums: FieldSums) -> dict[str, Any]:
    return {
        "pointer": sums.pointer,
        **_accuracy(sums.right, sums.rows),
        **{how: sums.matched.get(how, 0) for how in ("exact", "normalized", "numeric")},
        "not_ok": sums.not_ok,
        "missed": sums.missed,
        "invented": sums.invented,
        "items": None if sums.items is None else _items(sums.items),
        "examples": [{"row_id": row_id, "gold": gold, "answer": said} for row_id, gold, said in sums.examples],
    }


def _items(sums: ItemSums) -> dict[str, Any]:
    return {
        **_scores((sums.right, sums.said, sums.gold)),
        "fields": {name: _scores(counts) for name, counts in sums.fields.items()},
    }


def _scores(counts: tuple[int, int, int]) -> dict[str, Any]:
    right, said, gold = counts
    return {"right": right, "said": said, "gold": gold, **label_scores(right, said, gold)}
