"""Estimate file: what an estimate leaves beside the results, for the next one and for looking back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.schemas.errors import OutputError
from rowmill.schemas.forecast import Basis, Forecast
from rowmill.tasks.forecast.accuracy import ESTIMATE
from rowmill.tasks.forecast.counted_rows import Asked
from rowmill.tasks.forecast.counting_pass import DryRun
from rowmill.tasks.system.durable import private_folder, published, write_file

ROWS = "estimate.parquet"
LEARNED = "learned.json"
BATCH_ROWS = 10_000
COLUMNS = pa.schema(
    [
        ("row_id", pa.string()),
        ("row_index", pa.int64()),
        ("input_tokens", pa.float64()),
        ("expected_cost_usd", pa.float64()),
    ]
)


def output_folder(output: Path) -> None:
    """Make the folder of an output that was never run. Raises OutputError."""
    try:
        private_folder(output)
    except OSError as error:
        raise OutputError(
            f"cannot be written: {error.strerror}", where=str(output), hint="free space, or name another output"
        ) from None


def write_forecast(output: Path, told: Forecast) -> None:
    """Write `estimate.json`. Raises OutputError, StorageError."""
    output_folder(output)
    write_file(output / ESTIMATE, json.dumps(msgspec.to_builtins(told), indent=1, ensure_ascii=False).encode())


def keep_learned(output: Path, told: Forecast) -> None:
    """Keep the input-token ratio that a sample showed, by model: --fresh leaves it, the next estimate uses it."""
    if told.sample is None or told.basis is Basis.PRIOR:
        return
    kept = _learned(output)
    kept[told.model] = {"input_ratio": told.sample.input_ratio, "rows": told.sample.rows, "at": told.made_at}
    write_file(output / LEARNED, json.dumps(kept, indent=1).encode())


def kept_ratio(output: Path, model: str) -> float | None:
    told = _learned(output).get(model)
    ratio = told.get("input_ratio") if isinstance(told, dict) else None
    return float(ratio) if isinstance(ratio, (int, float)) and ratio > 0 else None


def _learned(output: Path) -> dict[str, object]:
    try:
        told = json.loads((output / LEARNED).read_bytes())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def write_rows(output: Path, dry_run: DryRun, ratio: float, *, intercept: float, per_token: float) -> None:
    """Write `estimate.parquet`: each row that would be asked, with its tokens and expected cost."""
    held: list[Asked] = []
    with published(output / ROWS, "the rows of the estimate") as file, pq.ParquetWriter(file, COLUMNS) as writer:

        def see(asked: Asked) -> None:
            held.append(asked)
            if len(held) == BATCH_ROWS:
                writer.write_batch(_batch(held, ratio, intercept, per_token=per_token))
                held.clear()

        dry_run.walk(see)
        if held:
            writer.write_batch(_batch(held, ratio, intercept, per_token=per_token))


def _batch(held: list[Asked], ratio: float, intercept: float, *, per_token: float) -> pa.RecordBatch:
    def values() -> Iterator[tuple[str, int, float, float]]:
        for one in held:
            yield one.row.row_id, one.row.index, one.tokens * ratio, intercept + per_token * one.tokens

    return pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(zip(*values(), strict=True), COLUMNS, strict=True)],
        schema=COLUMNS,
    )
