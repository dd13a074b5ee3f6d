"""Grading: an answer held against the row's gold, field by field, and the sums of it. Pure.

Gold is partial where it likes: a field that it does not name is not judged, one that it says is null is right when the
answer has none. A row that is not ok has every judged field wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from rowmill.schemas.fields import FieldGold, slack
from rowmill.schemas.json_text import JsonTextError, decode_json, encode_json
from rowmill.schemas.output_schema import Shape
from rowmill.tasks.fields.assignment import Likeness, best_pairs
from rowmill.tasks.fields.comparison import Match, Rule, alike_pairs, is_nothing, key_of, matched, refuse_incomparable
from rowmill.tasks.fields.sums import FieldSums, GoldSums, ItemSums
from rowmill.tasks.fields.tree import MISSING, FieldTree, Leaf, at, field_tree, tree_of

# Lists longer than these are matched without their equal items, and beyond that in their order: bounded time.
ITEMS_MATCHED, ITEMS_MOST = 64, 200
BLANKS = frozenset({"", "null", "none", "nan", "n/a", "na"})


class MalformedGoldError(ValueError):
    """A gold value that is no output: the message says why."""


@dataclass(frozen=True, slots=True)
class _Items:
    """Items of a list that were matched: pairs in gold's order that are right in all, and by field of the items."""

    right: int
    said: int
    gold: int
    how: Match
    of_field: Mapping[str, tuple[int, int, int]]

    @property
    def is_right(self) -> bool:
        return self.right == self.said == self.gold


class Grader:
    """Grades the answers of one job."""

    def __init__(self, gold: FieldGold, shape: Shape) -> None:
        """Raises ValueError where `gold` names a field that the output does not have, or a tolerance for no number."""
        self.gold = gold
        self.tree: FieldTree = field_tree(shape)
        self._json = frozenset(field.pointer for field in shape.json_text_fields)
        self._trees: dict[str, FieldTree] = {}
        self._rules: dict[str, Rule] = {}
        for leaf in self.tree.leaves:
            self._learn(leaf, f"/{'/'.join(leaf.path)}" if leaf.path else "")
        self._refuse_unknown()

    def _learn(self, leaf: Leaf, pointer: str) -> None:
        """The rule of a leaf, and of the leaves of a list's items."""
        self._rules[leaf.name] = self._rule(leaf)
        if leaf.is_list and not leaf.is_json:
            tree = tree_of(leaf.type.value_type, self._json, leaf.name, pointer=f"{pointer}/*")
            self._trees[leaf.name] = tree
            for inner in tree.leaves:
                if inner.path:
                    self._learn(inner, f"{pointer}/*{inner.pointer}")
                else:
                    self._rules[f"{leaf.name}[]"] = self._rule(inner, leaf.name)

    def _rule(self, leaf: Leaf, name: str | None = None) -> Rule:
        name = name or leaf.name
        told, exact = self.gold.tolerance, self.gold.exact
        own = None
        if isinstance(told, dict):
            for key in told:
                is_named = named(key) == name
                if is_named and not leaf.is_number and not pa.types.is_string(leaf.type) and not leaf.is_list:
                    raise ValueError(f"tolerance names {key!r}, which is no number")
                if is_named or (leaf.is_number and name.startswith(f"{named(key)}.")):
                    own = told[key]
        elif leaf.is_number:
            own = told
        absolute, share = slack(0.0 if own is None else own)
        listed = [] if isinstance(exact, bool) else [named(key) for key in exact]
        return Rule(
            exact=exact is True or any(name == key or name.startswith(f"{key}.") for key in listed),
            as_number=leaf.is_number or own is not None,
            absolute=Decimal(str(absolute)),
            share=Decimal(str(share)),
        )

    def _refuse_unknown(self) -> None:
        known = {name for name in self._rules if not name.endswith("[]")}
        known |= {name[:place] for name in known for place, sign in enumerate(name) if sign == "."}
        told, exact = self.gold.tolerance, self.gold.exact
        for key, names in (("tolerance", told if isinstance(told, dict) else ()), ("exact", exact)):
            for name in names if not isinstance(names, bool) else ():
                if named(name) not in known:
                    has = ", ".join(sorted(known)[:20])
                    raise ValueError(f"{key} names {name!r}, which the output does not have: {has}")

    def read(self, value: Any) -> Any:
        """A gold cell as an output; MISSING where it says nothing. Raises MalformedGoldError."""
        if value is None or value != value:
            return MISSING
        if isinstance(value, str):
            text = value.strip()
            if text.lower() in BLANKS:
                return MISSING
            try:
                value = decode_json(text)
            except JsonTextError as error:
                if pa.types.is_struct(self.tree.type) or self.tree.leaves[0].is_list:
                    raise MalformedGoldError(f"it is no JSON: {error}") from None
                return value
        elif not isinstance(value, bool | int | float):
            value = decode_json(encode_json(value))
        if value is None:
            return MISSING
        try:
            refuse_incomparable(value)
        except (ValueError, RecursionError, ArithmeticError):
            raise MalformedGoldError("it is nested too deeply, or holds a number too long, to be compared") from None
        if pa.types.is_struct(self.tree.type) and not isinstance(value, dict):
            raise MalformedGoldError(f"it is no object: {_shown(value)}")
        if self.tree.leaves[0].path == () and self.tree.leaves[0].is_list and not isinstance(value, list):
            raise MalformedGoldError(f"it is no list: {_shown(value)}")
        return value

    def grade(self, row_id: str, output_text: str | None, gold: Any, *, sums: GoldSums) -> list[bool | None] | None:
        """Whether each leaf of an answer is right, None for those that gold does not judge; noted in the sums.

        `output_text` is None for a row that has no answer. None where gold judges nothing.
        """
        wanted = self.tree.values(gold)
        if all(value is MISSING for value in wanted):
            return None
        said = None if output_text is None else self.tree.values(decode_json(output_text))
        found: list[bool | None] = []
        for place, (leaf, right) in enumerate(zip(self.tree.leaves, wanted, strict=True)):
            if right is MISSING:
                found.append(None)
                continue
            of_field = sums.of(leaf.name, leaf.pointer)
            found.append(self._judge(row_id, leaf, None if said is None else (said[place],), gold=right, sums=of_field))
        sums.rows += 1
        sums.not_ok += said is None
        sums.right += all(verdict is not False for verdict in found)
        return found

    def _judge(self, row_id: str, leaf: Leaf, said: tuple[Any] | None, *, gold: Any, sums: FieldSums) -> bool:
        """One judged leaf; `said` is None where the row has no answer."""
        how = None if said is None else self._match(leaf, said[0], gold)
        if leaf.name in self._trees:
            items = self._items(leaf.name, said[0] if said is not None else None, gold)
            how = (items.how if items.is_right else None) if said is not None else None
            sums.items = sums.items or ItemSums()
            sums.items.add(items.right, items.said, items.gold, fields=items.of_field)
        sums.rows += 1
        if how is not None:
            sums.matched[how.value] = sums.matched.get(how.value, 0) + 1
            return True
        if said is None:
            sums.not_ok += 1
        elif is_nothing(said[0]):
            sums.missed += 1
        else:
            sums.invented += is_nothing(gold)
        if said is not None:
            sums.show(row_id, _shown(gold), _shown(said[0]))
        return False

    def _match(self, leaf: Leaf, said: Any, gold: Any) -> Match | None:
        return None if leaf.name in self._trees else matched(said, _as_told(leaf, gold), self._rules[leaf.name])

    def _items(self, name: str, said: Any, gold: Any) -> _Items:
        """Items of two lists, matched one to one so that most of what they say is right."""
        ours = said if isinstance(said, list) else []
        theirs = gold if isinstance(gold, list) else [] if is_nothing(gold) else [gold]
        hows: set[Match] = set()
        right = 0
        counts = self._filled(name, ours, theirs)
        pairs = self._pairs(name, ours, theirs)
        for mine, other in pairs:
            verdicts = self._leaf_matches(name, ours[mine], theirs[other])
            right += all(verdict is not False for _, verdict, _ in verdicts)
            for leaf, verdict, value in verdicts:
                if isinstance(verdict, Match):
                    hows.add(verdict)
                if leaf.name in counts and not is_nothing(value):
                    counts[leaf.name][0] += isinstance(verdict, Match)
                    # What gold does not name of an item is not judged.
                    counts[leaf.name][1] -= verdict is None
        in_order = all(mine == other for mine, other in pairs)
        how = Match.EXACT
        if hows - {Match.EXACT} or not in_order:
            how = Match.NUMERIC if Match.NUMERIC in hows else Match.NORMALIZED
        if how is Match.EXACT and (said is None or said is MISSING) != (gold is None or gold is MISSING):
            how = Match.NORMALIZED
        told = {key: (one[0], one[1], one[2]) for key, one in counts.items()}
        return _Items(right, len(ours), len(theirs), how, told)

    def _filled(self, name: str, ours: Sequence[Any], theirs: Sequence[Any]) -> dict[str, list[int]]:
        """By field of the items: 0 for those that are right, how many answers, and how many gold items have one. Fields
        that none of gold's items names are not judged.
        """
        leaves = [leaf for leaf in self._trees[name].leaves if leaf.path]
        return {
            leaf.name: [0, *(sum(not is_nothing(at(item, leaf.path)) for item in items) for items in (ours, theirs))]
            for leaf in leaves
            if not theirs or any(at(item, leaf.path) is not MISSING for item in theirs)
        }

    def _pairs(self, name: str, ours: Sequence[Any], theirs: Sequence[Any]) -> list[tuple[int, int]]:
        count = min(len(ours), len(theirs))
        straight = [(at, at) for at in range(count)]
        if len(ours) == len(theirs) and all(self._is_alike(name, ours[at], theirs[at]) for at in range(count)):
            return straight
        mine, others, fixed = list(range(len(ours))), list(range(len(theirs))), []
        if max(len(mine), len(others)) > ITEMS_MATCHED:
            fixed = _equal_pairs(ours, theirs)
            taken, given = {one for one, _ in fixed}, {other for _, other in fixed}
            mine = [at for at in mine if at not in taken]
            others = [at for at in others if at not in given]
        if max(len(mine), len(others)) > ITEMS_MOST:
            return sorted([*fixed, *zip(mine, others, strict=False)])
        likeness = self._likeness(name, [ours[place] for place in mine], [theirs[place] for place in others])
        return sorted([*fixed, *((mine[row], others[column]) for row, column in best_pairs(likeness))])

    def _is_alike(self, name: str, said: Any, gold: Any) -> bool:
        return all(verdict is not False for _, verdict, _ in self._leaf_matches(name, said, gold))

    def _likeness(self, name: str, ours: Sequence[Any], theirs: Sequence[Any]) -> Likeness:
        """For each pair of items the share of judged leaves that are right (what both leave out says little), and one
        more where all are: a pair that is right goes before two that are half right.
        """
        right = np.zeros((len(ours), len(theirs)))
        wrong, judged = np.zeros_like(right), np.zeros_like(right)
        for leaf in self._trees[name].leaves:
            rule = self._rules[leaf.name if leaf.path else f"{name}[]"]
            said, gold = [at(item, leaf.path) for item in ours], [at(item, leaf.path) for item in theirs]
            alike = alike_pairs(said, [_as_told(leaf, value) for value in gold], rule)
            named_in_gold = np.array([value is not MISSING for value in gold], dtype=np.bool_)
            filled = np.array([1e-3 if is_nothing(value) else 1.0 for value in said])
            judged += named_in_gold
            right += alike * filled[:, None] * named_in_gold
            wrong += ~alike & named_in_gold
        share: Likeness = np.where(judged > 0, right / np.maximum(judged, 1), 1e-3) + (wrong == 0)
        return share

    def _leaf_matches(self, name: str, said: Any, gold: Any) -> list[tuple[Leaf, Match | bool | None, Any]]:
        """Each leaf of an item: how it is right, False where it is wrong, None where gold does not judge it."""
        tree = self._trees[name]
        found: list[tuple[Leaf, Match | bool | None, Any]] = []
        for leaf, ours, theirs in zip(tree.leaves, tree.values(said), tree.values(gold), strict=True):
            if theirs is MISSING:
                found.append((leaf, None, ours))
                continue
            if leaf.path and leaf.name in self._trees:
                inner = self._items(leaf.name, ours, theirs)
                verdict: Match | bool = inner.how if inner.is_right else False
            else:
                rule = self._rules[leaf.name if leaf.path else f"{name}[]"]
                verdict = matched(ours, _as_told(leaf, theirs), rule) or False
            found.append((leaf, verdict, ours))
        return found


def named(key: str) -> str:
    """A field's name, as a user writes it: `amount`, `lines.amount`, or a JSON pointer such as /lines/*/amount."""
    if not key.startswith("/"):
        return key.replace("[]", "").replace(".*", "")
    steps = [step.replace("~1", "/").replace("~0", "~") for step in key[1:].split("/")]
    return ".".join(step for step in steps if step != "*")


def _as_told(leaf: Leaf, gold: Any) -> Any:
    """Gold of a field that is JSON text may stand there as JSON text too."""
    if leaf.is_json and isinstance(gold, str) and gold[:1] in ("{", "["):
        try:
            return decode_json(gold)
        except JsonTextError:
            return gold
    return gold


def _equal_pairs(ours: Sequence[Any], theirs: Sequence[Any]) -> list[tuple[int, int]]:
    """Items that are equal, each with the first one of its kind that is left."""
    places: dict[Any, list[int]] = {}
    for place, item in enumerate(theirs):
        places.setdefault(key_of(item), []).append(place)
    found = []
    for place, item in enumerate(ours):
        if left := places.get(key_of(item)):
            found.append((place, left.pop(0)))
    return found


def _shown(value: Any) -> Any:
    """A value as an example shows it."""
    if value is MISSING:
        return None
    text = value if isinstance(value, str) else encode_json(value).decode("utf-8", "replace")
    return value if len(text) <= 300 else text[:300] + "…"
