"""Python's door: jobs, runs and their results, without Prefect's server. `import rowmill` offers what stands here.

The same pipeline as `rowmill run JOB --direct`. Inside a Prefect flow call `rowmill.flows.extract.extract(job)`, which
is a flow of its own and shows its shards as task runs.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ValidationError, field_validator, model_validator

from rowmill.flows.orchestration.approval import Answer, Bill, answering, approved
from rowmill.flows.orchestration.blocking import run_blocking
from rowmill.flows.orchestration.estimate_job import estimate_job
from rowmill.flows.orchestration.estimation import EstimateOptions
from rowmill.flows.orchestration.gateway_access import open_gateway
from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pilot import pilot_with
from rowmill.flows.orchestration.pipeline import carry_out
from rowmill.flows.orchestration.run_report import REPORT, leave_report
from rowmill.flows.result import Result, Stopped
from rowmill.flows.text.display import watch_bar
from rowmill.flows.text.notebook import NotebookDisplay, in_notebook
from rowmill.flows.text.python_words import ToldInPython
from rowmill.schemas import job as schemas_job
from rowmill.schemas.errors import JobError
from rowmill.schemas.forecast import Forecast
from rowmill.schemas.price import asked_usd
from rowmill.tasks.answers.pydantic_model import model_schema, name_of
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.job.checks import refuse_unknown_kind, refuse_without_labels
from rowmill.tasks.job.job_file import job_of, load_job, resolve_job
from rowmill.tasks.output.location import output_to_write
from rowmill.tasks.run.run_plan import Options
from rowmill.tasks.system.collector import older_objects_left_out

Approve = Callable[[Bill], Answer | Awaitable[Answer]]


class Job(schemas_job.Job):
    """What to ask about which rows, of which model, and where the results go: the keys of a job file.

    Paths are relative to the working directory; `schema` may be a pydantic model too. It never changes:
    `job.model_copy(update={...})` makes another one. Raises JobError with every wrong key at once.
    """

    if not TYPE_CHECKING:  # so that the keys stay typed

        def __init__(self, **keys: Any) -> None:
            try:
                super().__init__(**keys)
            except ValidationError:
                job_of(keys, "rowmill.Job")
                raise

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The job of a file (.yaml, .toml, .json); its paths are relative to the file. Raises JobError, SchemaError."""
        with ToldInPython():
            return cls.model_validate(load_job(Path(path)).model_dump(by_alias=True))

    @model_validator(mode="before")
    @classmethod
    def _of_model(cls, keys: Any) -> Any:
        schema = keys.get("schema") if isinstance(keys, dict) else None
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            return {**keys, "schema": model_schema(schema, "schema"), "validator": name_of(schema)}
        return keys

    @field_validator("input", "output", "media_root", "catalogue", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, Path) else value


def run(
    job: schemas_job.Job,
    *,
    limit: int | None = None,
    sandbox: bool = False,
    fresh: bool = False,
    retry_failed: str | bool | None = None,
    approve_over: float | Decimal | None = None,
    approve: Approve | None = None,
    progress: bool = True,
    report: bool = True,
) -> Result:
    """Ask about every row of the job's input and wait for the end; also where an event loop runs, as in a notebook.

    Called again it goes on where it stopped, and pays for nothing twice. `limit`: only the first rows of the input.
    `sandbox`: start a sandbox and ask that; nothing is paid. `fresh`: move earlier results aside. `retry_failed`: ask
    rows again that are not ok: True for all, or a status or an error kind. `approve_over`: forecast first; where the
    run may cost more USD, `approve` is handed the bill (`rowmill.Bill`) and returns True, or the sum that may be spent;
    the run goes on under it. `progress`: show how far it is, on a terminal or in a notebook. `report`: write
    report.html.

    Raises Stopped where the run ended early, JobError, InputError and their like for what is refused before a call.
    """
    return run_blocking(
        lambda: run_async(
            job,
            limit=limit,
            sandbox=sandbox,
            fresh=fresh,
            retry_failed=retry_failed,
            approve_over=approve_over,
            approve=approve,
            progress=progress,
            report=report,
        )
    )


async def run_async(
    job: schemas_job.Job,
    *,
    limit: int | None = None,
    sandbox: bool = False,
    fresh: bool = False,
    retry_failed: str | bool | None = None,
    approve_over: float | Decimal | None = None,
    approve: Approve | None = None,
    progress: bool = True,
    report: bool = True,
) -> Result:
    """The same, awaited; `approve` may be a coroutine function."""
    with ToldInPython():
        options = options_of(limit=limit, sandbox=sandbox, fresh=fresh, retry_failed=retry_failed)
        resolved = resolve_job(_a_job(job), Path.cwd())
        if approve_over is not None or approve is not None:
            over = asked_usd(approve_over, "approve_over")
            ask = answering(approve, over)
            resolved = await approved(resolved, over, limit=options.limit, sandbox=options.sandbox, approve=ask)
        return await carry_out_job(resolved, options, progress=progress, report=report)


def estimate(
    job: schemas_job.Job,
    *,
    limit: int | None = None,
    pilot: int | Literal["auto"] | None = None,
    sandbox: bool = False,
    compare: bool = False,
) -> Forecast:
    """Forecast what a job costs and how long it takes. Sends nothing, unless a pilot is asked for.

    `pilot`: pay for so many random rows first ("auto": until the forecast is within 5 %); they are kept as results.
    `sandbox`: start a sandbox for the pilot. `compare`: what other models would cost, too. Raises as `run`.
    """
    return run_blocking(lambda: estimate_async(job, limit=limit, pilot=pilot, sandbox=sandbox, compare=compare))


async def estimate_async(
    job: schemas_job.Job,
    *,
    limit: int | None = None,
    pilot: int | Literal["auto"] | None = None,
    sandbox: bool = False,
    compare: bool = False,
) -> Forecast:
    """The same, awaited."""
    with ToldInPython():
        resolved = resolve_job(_a_job(job), Path.cwd())
        ask = EstimateOptions(pilot=pilot, compare=compare, limit=_positive(limit, "limit"), sandbox=sandbox)
        if pilot is None:
            return await estimate_job(resolved, ask)
        if pilot != "auto":
            _positive(pilot, "pilot")
        async with open_gateway(resolved, sandbox=sandbox) as gateway:
            return await estimate_job(resolved, ask, pilot_with(gateway, limit=ask.limit, sandbox=ask.sandbox))


def options_of(
    *,
    limit: int | None = None,
    sandbox: bool = False,
    fresh: bool = False,
    retry_failed: str | bool | None = None,
    gold: str | Path | None = None,
) -> Options:
    """Keywords of a run → its options. Raises JobError for a limit that is no number of rows, an unknown kind."""
    kind = ("any" if retry_failed else None) if isinstance(retry_failed, bool) else retry_failed
    refuse_unknown_kind(kind)
    return Options(
        limit=_positive(limit, "limit"),
        sandbox=sandbox,
        fresh=fresh,
        retry_failed=kind,
        gold=None if gold is None else str(gold),
    )


def _a_job(job: schemas_job.Job) -> schemas_job.Job:
    """Raises JobError for what is none, such as the name of its file."""
    if isinstance(job, schemas_job.Job):
        return job
    given = (
        f"rowmill.Job.load({str(job)!r})" if isinstance(job, str | Path) else "rowmill.Job(model=..., input=..., ...)"
    )
    raise JobError(f"{type(job).__name__} is no job", where="job", hint=f"hand over {given}")


def _positive(number: int | None, name: str) -> int | None:
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
        raise JobError(f"{number!r} is no number of rows", where=name, hint="give a whole number from 1, or None")
    return number


async def carry_out_job(
    job: schemas_job.Job,
    options: Options,
    *,
    progress: bool,
    report: bool,
    labels: bool = False,
    gateway: Gateway | None = None,
) -> Result:
    """Run a resolved job in this process, write its report, and return its results. Raises as `run`."""
    if labels:
        refuse_without_labels(job)
    display = NotebookDisplay() if progress and in_notebook() else None
    watch = display.watch if display is not None else watch_bar if progress and _on_terminal() else None
    async with open_gateway(job, sandbox=options.sandbox, known=gateway) as access:
        with older_objects_left_out(), output_to_write(job) as (local, mirror):
            async with opened(local, options, access, mirror=mirror) as this_run:
                manifest = await carry_out(this_run, watch=watch)
            folder = Path(local.output)
            if report and not (this_run.nothing_to_do and (folder / REPORT).exists()):
                await asyncio.to_thread(leave_report, folder)
    if display is not None:
        display.end(this_run, manifest)
    if not manifest.is_complete:
        raise Stopped(manifest)
    return Result(manifest.as_dict(), folder)


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
