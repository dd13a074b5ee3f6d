"""Field quality: how good the fields of an output are, by gold and by votes, from its parts alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import asdict

from rowmill.schemas.field_quality import (
    FieldScores,
    GoldRows,
    ItemCounts,
    ItemScores,
    MalformedGold,
    RowQuality,
    WrongRow,
)
from rowmill.schemas.fields import FieldGold
from rowmill.schemas.job import Job
from rowmill.tasks.fields.sums import FieldSums, GoldSums, ItemSums
from rowmill.tasks.fields.tree import FieldTree
from rowmill.tasks.labelling.field_agreement import agreement_sums
from rowmill.tasks.labelling.scores import accuracy, retrieval
from rowmill.tasks.output.part_grades import summed_gold


@dataclass(frozen=True, slots=True)
class FieldQuality:
    """What run.json tells: `fields` by name, the worst first, and `rows` as wholes."""

    fields: Mapping[str, FieldScores]
    rows: RowQuality


def field_quality(parts: Sequence[Path], job: Job, tree: FieldTree) -> FieldQuality:
    """The quality of an output's fields. Of gold it reads the parts' footers, of votes their columns."""
    gold, votes = job.gold, job.votes if job.has_votes else None
    sums = summed_gold(parts) if gold is not None else GoldSums()
    agreement = agreement_sums(parts, votes, job.model, tree=tree) if votes is not None else None
    fields: dict[str, FieldScores] = {}
    for leaf in tree.leaves:
        of_field = sums.fields.get(leaf.name) or FieldSums(leaf.pointer)
        if of_field.rows or agreement is not None:
            mean = None if agreement is None else agreement.mean(leaf.name)
            doubtful = None if agreement is None else agreement.doubtful.get(leaf.name, 0)
            fields[leaf.name] = _field(of_field, mean, doubtful)
    rows = RowQuality(
        gold=None if gold is None else _gold(gold, sums),
        votes=None if agreement is None else agreement.voted_rows(),
    )
    return FieldQuality(_worst_first(fields), rows)


def _worst_first(fields: Mapping[str, FieldScores]) -> dict[str, FieldScores]:
    def order(one: tuple[str, FieldScores]) -> tuple[float, ...]:
        scores = one[1]
        return tuple(2.0 if value is None else value for value in (scores.accuracy, scores.low, scores.agreement))

    return dict(sorted(fields.items(), key=order))


def _gold(gold: FieldGold, sums: GoldSums) -> GoldRows:
    return GoldRows(
        **asdict(accuracy(sums.right, sums.rows)),
        column=gold.column,
        not_ok=sums.not_ok,
        blank=sums.blank,
        malformed=sums.malformed,
        malformed_rows=[MalformedGold(row_id, why) for row_id, why in sums.malformed_rows],
    )


def _field(sums: FieldSums, agreement: float | None, in_doubt: int | None) -> FieldScores:
    return FieldScores(
        **asdict(accuracy(sums.right, sums.rows)),
        pointer=sums.pointer,
        exact=sums.matched.get("exact", 0),
        normalized=sums.matched.get("normalized", 0),
        numeric=sums.matched.get("numeric", 0),
        not_ok=sums.not_ok,
        missed=sums.missed,
        invented=sums.invented,
        items=None if sums.items is None else _items(sums.items),
        examples=[WrongRow(row_id, gold, said) for row_id, gold, said in sums.examples],
        agreement=agreement,
        in_doubt=in_doubt,
    )


def _items(sums: ItemSums) -> ItemScores:
    whole = _counts(sums.right, sums.said, sums.gold)
    return ItemScores(**asdict(whole), fields={name: _counts(*counts) for name, counts in sums.fields.items()})


def _counts(right: int, said: int, gold: int) -> ItemCounts:
    return ItemCounts(**asdict(retrieval(right, said, gold)), right=right, said=said, gold=gold)
