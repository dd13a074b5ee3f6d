"""Field sums: what grading found, added up over the rows of a part; parts add up to an output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

EXAMPLES = 3
MALFORMED_NAMED = 20


class ItemSums(msgspec.Struct):
    """Items of a list field: pairs that are right, items said, items of gold; the same by field of the items."""

    right: int = 0
    said: int = 0
    gold: int = 0
    fields: dict[str, tuple[int, int, int]] = msgspec.field(default_factory=dict)

    def add(self, right: int, said: int, gold: int, *, fields: Mapping[str, tuple[int, int, int]]) -> None:
        self.right, self.said, self.gold = self.right + right, self.said + said, self.gold + gold
        for name, told in fields.items():
            had = self.fields.get(name, (0, 0, 0))
            self.fields[name] = (had[0] + told[0], had[1] + told[1], had[2] + told[2])


class FieldSums(msgspec.Struct):
    """One field: rows judged, right ones by how they match, and of the wrong ones those without an answer, with a value
    left out, and with one where gold has none. `examples` are (row_id, gold, answer) of wrong rows.
    """

    pointer: str = ""
    rows: int = 0
    matched: dict[str, int] = msgspec.field(default_factory=dict)
    not_ok: int = 0
    missed: int = 0
    invented: int = 0
    items: ItemSums | None = None
    examples: list[tuple[str, Any, Any]] = msgspec.field(default_factory=list)

    @property
    def right(self) -> int:
        return sum(self.matched.values())

    def show(self, row_id: str, gold: Any, said: Any) -> None:
        if len(self.examples) < EXAMPLES:
            self.examples.append((row_id, gold, said))

    def merge(self, other: FieldSums) -> None:
        self.pointer = other.pointer
        self.rows += other.rows
        for how, count in other.matched.items():
            self.matched[how] = self.matched.get(how, 0) + count
        self.not_ok += other.not_ok
        self.missed += other.missed
        self.invented += other.invented
        if other.items is not None:
            self.items = self.items or ItemSums()
            self.items.add(other.items.right, other.items.said, other.items.gold, fields=other.items.fields)
        self.examples = [*self.examples, *other.examples][:EXAMPLES]


class GoldSums(msgspec.Struct):
    """All rows: judged, right in every judged field, without an answer; cells without gold, and those that are none."""

    rows: int = 0
    right: int = 0
    not_ok: int = 0
    blank: int = 0
    malformed: int = 0
    malformed_rows: list[tuple[str, str]] = msgspec.field(default_factory=list)
    fields: dict[str, FieldSums] = msgspec.field(default_factory=dict)

    def of(self, name: str, pointer: str) -> FieldSums:
        if name not in self.fields:
            self.fields[name] = FieldSums(pointer)
        return self.fields[name]

    def note_malformed(self, row_id: str, why: str) -> None:
        self.malformed += 1
        if len(self.malformed_rows) < MALFORMED_NAMED:
            self.malformed_rows.append((row_id, why))

    def merge(self, other: GoldSums) -> None:
        self.rows += other.rows
        self.right += other.right
        self.not_ok += other.not_ok
        self.blank += other.blank
        self.malformed += other.malformed
        self.malformed_rows = [*self.malformed_rows, *other.malformed_rows][:MALFORMED_NAMED]
        for name, sums in other.fields.items():
            self.of(name, sums.pointer).merge(sums)
