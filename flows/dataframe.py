"""Data frames: rows in memory in, a frame with answers and costs out; called or awaited, in a script or a notebook."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import polars as pl
import pyarrow as pa
from pydantic import BaseModel

from rowmill.flows.api import carry_out_job, options_of
from rowmill.flows.orchestration.blocking import run_blocking
from rowmill.flows.pandas_frame import pandas_of
from rowmill.flows.result import Result, Stopped
from rowmill.flows.text.python_words import ToldInPython
from rowmill.schemas import job as schemas_job
from rowmill.schemas.errors import JobError
from rowmill.schemas.label import Label
from rowmill.tasks.answers.pydantic_model import model_schema, name_of
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.input.frame_file import is_pandas, write_frame
from rowmill.tasks.input.stored import STDIN
from rowmill.tasks.job.job_file import job_of, resolve_job
from rowmill.tasks.output.folder_lock import refuse_in_use
from rowmill.tasks.output.location import in_bucket
from rowmill.tasks.run.run_plan import Options

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Rows", "Stopped", "extract", "extract_async", "extract_frame", "label", "label_async"]

Rows: TypeAlias = "pl.DataFrame | pl.LazyFrame | pa.Table | Iterable[Mapping[str, Any]]"


@overload
def extract(rows: pd.DataFrame, output: str | Path, **asked: Any) -> pd.DataFrame: ...
@overload
def extract(rows: Rows, output: str | Path, **asked: Any) -> pl.DataFrame: ...
def extract(rows: Any, output: str | Path, **asked: Any) -> Any:
    """Ask about every row of a frame and wait for the end; also where an event loop runs, as in a notebook.

    `rows` are a polars DataFrame or LazyFrame, a pandas DataFrame, an Arrow table, or dicts. What comes back has one
    row for each, in their order, with the columns of the results: a pandas frame for a pandas frame, else a polars one.
    The rows are kept in the folder `output` beside the results, which may be one of a bucket (`s3://bucket/folder`):
    called again with the same or a grown frame, only new rows are paid for.

    `asked` are the keys of a job file (model, prompt, id, keep, params, limits, max_cost_usd, ...; `schema` may be a
    pydantic model), and the keywords of `rowmill.run` (limit, sandbox, fresh, retry_failed, progress, report),
    which also tells what is raised. Address and key come from the environment.
    """
    return run_blocking(lambda: extract_async(rows, output, **asked))


@overload
async def extract_async(rows: pd.DataFrame, output: str | Path, **asked: Any) -> pd.DataFrame: ...
@overload
async def extract_async(rows: Rows, output: str | Path, **asked: Any) -> pl.DataFrame: ...
async def extract_async(rows: Any, output: str | Path, **asked: Any) -> Any:
    """The same, awaited."""
    return await _answered(rows, output, asked)


@overload
def label(job: schemas_job.Job, /, *, gold: str | Path | None = None, **asked: Any) -> Result: ...
@overload
def label(rows: pd.DataFrame, output: str | Path, /, **asked: Any) -> pd.DataFrame: ...
@overload
def label(rows: Rows, output: str | Path, /, **asked: Any) -> pl.DataFrame: ...
def label(rows: Any, output: str | Path | None = None, /, **asked: Any) -> Any:
    """Label every row of a job's input, or of a frame, and wait for the end.

    Of a job as `rowmill.run`, with `gold` a file of labels that people gave. Of a frame as `rowmill.extract`; the keys
    of the job's `label` section (labels, votes, multi, guidelines, gold: the column with the right labels, ...) stand
    beside the others.
    """
    return run_blocking(lambda: label_async(rows, output, **asked))  # type: ignore[arg-type]


@overload
async def label_async(job: schemas_job.Job, /, *, gold: str | Path | None = None, **asked: Any) -> Result: ...
@overload
async def label_async(rows: pd.DataFrame, output: str | Path, /, **asked: Any) -> pd.DataFrame: ...
@overload
async def label_async(rows: Rows, output: str | Path, /, **asked: Any) -> pl.DataFrame: ...
async def label_async(rows: Any, output: str | Path | None = None, /, **asked: Any) -> Any:
    """The same, awaited."""
    if not isinstance(rows, schemas_job.Job):
        return await _answered(rows, output, _with_label_section(asked), labels=True)
    with ToldInPython():
        options = options_of(**{key: value for key, value in asked.items() if key not in SHOWN_KEYS})
        return await carry_out_job(resolve_job(rows, Path.cwd()), options, **_shown(asked), labels=True)


async def extract_frame(
    frame: pl.DataFrame, output: str | Path, *, gateway: Gateway | None = None, sandbox: bool = False, **job: Any
) -> pl.DataFrame:
    """`extract_async` for a polars frame, silent, and with an address and key of the caller's own where given."""
    asked = {**job, "sandbox": sandbox, "progress": False}
    found: pl.DataFrame = await _answered(frame, output, asked, gateway=gateway)
    return found


# What a call says of its run, beside the keys of its job.
RUN_KEYS = ("limit", "sandbox", "fresh", "retry_failed")
SHOWN_KEYS = ("progress", "report")


async def _answered(
    rows: Any,
    output: str | Path | None,
    asked: Mapping[str, Any],
    *,
    labels: bool = False,
    gateway: Gateway | None = None,
) -> Any:
    """Keep the rows in the output's folder, run the job over them, and return its results as a frame."""
    with ToldInPython():
        job = {key: value for key, value in asked.items() if key not in (*RUN_KEYS, *SHOWN_KEYS)}
        options = options_of(**{key: asked[key] for key in RUN_KEYS if key in asked})
        result = await _run_over(
            rows, _address(output), job, options=options, **_shown(asked), labels=labels, gateway=gateway
        )
        frame = await asyncio.to_thread(result.frame)
        return await asyncio.to_thread(pandas_of, frame, rows.index) if is_pandas(rows) else frame


def _shown(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {key: asked.get(key, True) for key in SHOWN_KEYS}


async def _run_over(rows: Any, address: str, job: dict[str, Any], *, options: Options, **how: Any) -> Result:
    schema = job.get("schema")
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        job |= {"schema": model_schema(schema, "schema"), "validator": name_of(schema)}
    if "input" in job:
        raise JobError("the rows are the input: there is no other", where="input", hint="drop the key")
    # Wrong keys are told before a row is written.
    resolve_job(job_of({**job, "input": STDIN, "output": address}, "the call"), Path.cwd())
    if in_bucket(address):
        return await _run_into_bucket(rows, address, job, options=options, **how)
    root = Path(address)
    root.mkdir(parents=True, exist_ok=True)
    refuse_in_use(root)
    file = await asyncio.to_thread(write_frame, rows, root)
    resolved = resolve_job(job_of({**job, "input": str(file), "output": str(root)}, "the call"), Path.cwd())
    return await carry_out_job(resolved, options, **how)


async def _run_into_bucket(rows: Any, address: str, job: dict[str, Any], *, options: Options, **how: Any) -> Result:
    """The rows are stored in the output as standard input is, under its lock; workers elsewhere read them there."""
    with tempfile.TemporaryDirectory(prefix="rowmill-") as name:
        file = await asyncio.to_thread(write_frame, rows, Path(name))
        resolved = resolve_job(job_of({**job, "input": STDIN, "output": address}, "the call"), Path.cwd())
        return await carry_out_job(resolved, replace(options, frame=file), **how)


def _address(output: str | Path | None) -> str:
    """Where the results go: a folder, or one of a bucket. Raises JobError, OutputError."""
    if output is None:
        raise JobError("the rows have no output", where="output", hint='name a folder, as in label(rows, "out", ...)')
    return str(output) if in_bucket(str(output)) else str(Path(output).absolute())


def _with_label_section(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of `label` → keys of a job: those of the label section are put there."""
    section = {key: value for key, value in asked.items() if key in Label.model_fields}
    rest = {key: value for key, value in asked.items() if key not in section}
    told = rest.get("label") or {}
    return {**rest, "label": {**(told.model_dump() if isinstance(told, Label) else told), **section}}
