"""Frame: a polars DataFrame in, a DataFrame with answers and costs out, awaitable in a notebook."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel

from rowmill.flows.commands.report import leave_report
from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pipeline import carry_out
from rowmill.schemas.errors import JobError, RowmillError
from rowmill.schemas.manifest import TerminationKind
from rowmill.tasks.answers.pydantic_model import model_schema, name_of
from rowmill.tasks.gateway.credentials import Gateway, gateway_from
from rowmill.tasks.job.job_file import job_of, resolve_job
from rowmill.tasks.run.run_plan import Options
from rowmill.tasks.system.durable import published

INPUT = "input.parquet"


class Stopped(RowmillError):
    """A run that ended before its last row. `manifest` is its run.json; what was settled stands in its output."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self.manifest = manifest
        told = manifest["termination"]
        super().__init__(told["message"], where=told["kind"], hint=told["next"])


async def extract_frame(
    frame: pl.DataFrame, output: str | Path, *, gateway: Gateway | None = None, sandbox: bool = False, **job: Any
) -> pl.DataFrame:
    """Ask about every row of a frame; one results row each, in the frame's order, with the columns of the results.

    `job` holds the keys of a job file (model, prompt, ...); `schema` may be a pydantic model too. The frame is kept as
    `output/input.parquet`: called again with the same or a grown frame, only new rows are paid for. Address and key
    come from the environment unless a `gateway` is given.

    Raises JobError and its like for what is refused before a call, Stopped where the run ended early.
    """
    if str(output).startswith("s3:"):
        raise JobError("a frame's results go to a folder", where=str(output), hint="name one of this machine")
    root = Path(output).absolute()
    root.mkdir(parents=True, exist_ok=True)
    schema = job.get("schema")
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        job |= {"schema": model_schema(schema, "schema"), "validator": name_of(schema)}
    whole = {**job, "input": str(root / INPUT), "output": str(root)}
    told = resolve_job(job_of(whole, "extract_frame"), Path.cwd())
    with published(root / INPUT, "the frame") as file:
        frame.write_parquet(file)
    async with opened(told, Options(sandbox=sandbox), gateway or gateway_from(os.environ)) as run:
        manifest = await carry_out(run)
    leave_report(root)
    if manifest["termination"]["kind"] != TerminationKind.COMPLETE:
        raise Stopped(manifest)
    return pl.read_parquet(root / "results" / "part-*.parquet")
