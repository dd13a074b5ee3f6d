"""Field quality: what `run.json` tells under `fields`, field by field, and under `field_quality`, of whole rows."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from rowmill.schemas.accuracy import Accuracy, Retrieval


class ItemCounts(Retrieval, frozen=True, kw_only=True):
    """Items of lists: pairs that are right, items said, items of gold."""

    right: int = 0
    said: int = 0
    gold: int = 0


class ItemScores(ItemCounts, frozen=True, kw_only=True):
    """The items of a list field, and the fields of these items."""

    fields: dict[str, ItemCounts] = field(default_factory=dict)


class WrongRow(Struct, frozen=True):
    """A row whose field is wrong: what gold has, and what was answered."""

    row_id: str = ""
    gold: Any = None
    answer: Any = None


class FieldScores(Accuracy, frozen=True, kw_only=True):
    """One field, at a JSON pointer: how right ones match, why others are wrong, and how far its votes agree.

    `agreement` and `in_doubt` are None without votes.
    """

    pointer: str = ""
    exact: int = 0
    normalized: int = 0
    numeric: int = 0
    not_ok: int = 0
    missed: int = 0
    invented: int = 0
    items: ItemScores | None = None
    examples: list[WrongRow] = field(default_factory=list)
    agreement: float | None = None
    in_doubt: int | None = None


class MalformedGold(Struct, frozen=True):
    """A row whose gold is no output, and why."""

    row_id: str = ""
    why: str = ""


class GoldRows(Accuracy, frozen=True, kw_only=True):
    """Rows that are right in every judged field; those that are not ok count as wrong."""

    column: str = ""
    not_ok: int = 0
    blank: int = 0
    malformed: int = 0
    malformed_rows: list[MalformedGold] = field(default_factory=list)


class VotedRows(Struct, frozen=True, kw_only=True):
    """Rows that votes answered, and those of them that the stronger model was asked or people should see."""

    rows: int = 0
    votes: int = 0
    votes_a_row: float | None = None
    agreement: float | None = None
    escalated: int = 0
    to_review: int = 0


class RowQuality(Struct, frozen=True, kw_only=True):
    """Whole rows: against gold, and by votes; None where the job has neither."""

    gold: GoldRows | None = None
    votes: VotedRows | None = None
