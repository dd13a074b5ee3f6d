"""Shows what the receipts found: how the quotes of each field stand, and what became of each planted fault.

python found.py OUT_OF_NEWS OUT_OF_NOTICES
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

PLANTED = Path(__file__).with_name("planted.jsonl")
FACES = ("exact", "normalized", "none")


def checked(out: Path) -> pl.DataFrame:
    """Each quoted value of an output: row, field (a JSON pointer and its name), match, value_in_quote, quote, text."""
    rows = pl.read_parquet(out / "results" / "*.parquet", columns=["row_id", "text", "evidence", "value_in_quote"])
    # A row without any value has no entry.
    entries = rows.filter(pl.col("evidence").list.len() > 0).explode("evidence", "value_in_quote").unnest("evidence")
    return entries.with_columns(name=pl.col("field").str.extract("^/([^/]+)"))


def fields(values: pl.DataFrame) -> Iterable[Sequence[object]]:
    """A line for each field: values, how their quotes stand, how many quotes say something else than the value."""
    for (name,), some in values.group_by(["name"], maintain_order=True):
        counts = Counter(some["match"])
        other = some.filter(pl.col("value_in_quote") == False).height  # noqa: E712
        yield name, some.height, *(counts[face] for face in FACES), other


def faults(values: pl.DataFrame) -> Iterable[Sequence[object]]:
    """A line for each kind of planted fault: how many, and what the receipts tell of them. The last is all the rest."""
    told = {(row["row_id"], row["field"]): row for row in values.iter_rows(named=True)}
    kinds: dict[str, list[dict[str, Any] | None]] = {}
    for line in PLANTED.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        kinds.setdefault(one["kind"], []).append(told.pop((one["id"], one["field"]), None))
    for kind, seen in [*sorted(kinds.items()), ("nothing", list(told.values()))]:
        counts = Counter(row["match"] if row is not None else "no value" for row in seen)
        other = sum(row is not None and row["value_in_quote"] is False for row in seen)
        yield kind, len(seen), *(counts[face] for face in (*FACES, "no value")), other


def table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """Columns as wide as they need to be, numbers to the right."""
    cells = [list(head), *([str(one) for one in line] for line in lines)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(head))]
    return "\n".join("  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in cells)


def main(outs: Sequence[Path]) -> None:
    """Print both tables."""
    values = pl.concat([checked(out) for out in outs])
    assert all(
        row["text"][row["start"] : row["end"]] == row["quote"]
        for row in values.filter(pl.col("match") != "none").iter_rows(named=True)
    )
    print(table(["field", "values", *FACES, "says another"], fields(values)))
    print()
    print(table(["planted", "values", *FACES, "no value", "says another"], faults(values)))


if __name__ == "__main__":
    main([Path(one) for one in sys.argv[1:]])
