"""Show a run's first rows and its bill: what `make demo` prints, and how results are read with polars."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl


def main(out: Path) -> None:
    rows = pl.read_parquet(out / "results" / "*.parquet")
    shown = rows.select("row_id", "term", "status", pl.col("output").struct.unnest(), "input_tokens", "cost_usd")
    with pl.Config(tbl_rows=8, tbl_cols=-1, tbl_width_chars=160, fmt_str_lengths=28, tbl_hide_dataframe_shape=True):
        print(shown.head(8))
    totals = json.loads((out / "run.json").read_text())["totals"]
    print(f"{rows.height} rows, {totals['calls']} calls, {totals['input_tokens']:,} input tokens")
    print(f"bill: {totals['cost_usd']} USD = {totals['cost_credits']} credits")
    print(f"sum of the rows: {rows['cost_usd'].sum()} USD")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
