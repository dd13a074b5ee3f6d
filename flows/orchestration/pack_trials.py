"""Pack trials: `rows_per_call: auto` is decided before a run opens, on gold rows asked 1, 5, 10 and 20 a call."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace

from rowmill.flows.orchestration.pipeline import StoppedEarly, refuse_stopped
from rowmill.schemas.attempt import Spent
from rowmill.schemas.display_text import counted
from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Fingerprint, Manifest
from rowmill.schemas.pack_trial import PackDecision, PackTrial
from rowmill.schemas.price import PICO
from rowmill.schemas.tally import Tally
from rowmill.schemas.termination import Termination
from rowmill.schemas.totals import Beside, RowLedger, Totals
from rowmill.tasks.forecast.files import output_folder
from rowmill.tasks.input.stored import is_stored
from rowmill.tasks.job.fingerprint import job_fingerprint
from rowmill.tasks.journal.ledger import LEDGER, Ledger
from rowmill.tasks.labelling.scored_rows import Scored, scored_rows
from rowmill.tasks.output.answer_cache import bound_usd
from rowmill.tasks.output.layout import MANIFEST
from rowmill.tasks.output.spending import spent_in
from rowmill.tasks.system.durable import sync_folder, write_file
from rowmill.tasks.tuning.gold_rows import gold_rows
from rowmill.tasks.tuning.pack_sizes import (
    ROWS_LEAST,
    ROWS_MOST,
    SIZES,
    begun_with,
    decide,
    read_decision,
    trial_of,
    write_decision,
)

log = logging.getLogger("rowmill")

# What of an output is the run's own, and moves with the trial that is gone on with.
PARTS_OF_A_RUN = ("results", "journal", "ledger.jsonl", "run.json")
Ask = Callable[[Job, frozenset[int]], Awaitable[Manifest]]


async def with_pack_size(
    job: Job, ask: Ask | None, *, limit: int | None, fresh: bool, sandbox: bool, in_bucket: bool = False
) -> Job:
    """The job with `rows_per_call: auto` decided: as its output was begun, or by trials of `ask`.

    Without `ask` nothing is asked: where nothing is decided yet, one row a call stands in. What trials have cost counts
    against the job's cap. Raises JobError, BudgetError where a trial is stopped.
    """
    if job.rows_per_call != "auto":
        return job
    output = Path(job.output)
    basis, _ = job_fingerprint(_sized(job, 1), sandbox=sandbox)
    decision = await asyncio.to_thread(read_decision, output, basis)
    if decision is not None:
        return _sized(job, decision.rows_per_call)
    begun = None if fresh else await asyncio.to_thread(begun_with, output)
    if ask is None:
        return _less_the_trials(_sized(job, begun or 1))
    if begun is not None:
        # A kill may have come between the trial that became the run and its decision.
        await asyncio.to_thread(_count_trials, output)
        return _sized(job, begun)
    if is_stored(job) or job.runner != "local" or in_bucket:
        raise JobError(
            "rows_per_call: auto tries several sizes on files of this machine, in this process",
            where="rows_per_call",
            hint="say how many rows share a call, or let rowmill tune find out",
        )
    decision = await _by_trials(job, ask, basis, limit=limit)
    log.warning("rows_per_call: %d, %s", decision.rows_per_call, decision.reason)
    await asyncio.to_thread(_go_on_with, output, decision)
    return _sized(job, decision.rows_per_call)


def _sized(job: Job, size: int) -> Job:
    return job.model_copy(update={"rows_per_call": size})


def _trial_folder(output: Path, size: int) -> Path:
    return output / "plans" / f"rows_per_call={size}"


async def _by_trials(job: Job, ask: Ask, basis: str, *, limit: int | None) -> PackDecision:
    gold = await asyncio.to_thread(gold_rows, job, limit, 0)
    rows = [*gold.choosing, *gold.judging][:ROWS_MOST]
    trials: list[PackTrial] = []
    alone: dict[int, Scored] = {}
    for size in SIZES:
        scored = await _trial(job, size, frozenset(rows), ask=ask)
        alone = alone or scored
        trials.append(trial_of(size, alone, scored))
        if not trials[-1].is_no_worse or len(rows) < ROWS_LEAST:
            break
    return decide(basis, trials)


async def _trial(job: Job, size: int, rows: frozenset[int], *, ask: Ask) -> dict[int, Scored]:
    """The gold rows as they come out with so many rows a call. Raises StoppedEarly."""
    folder = _trial_folder(Path(job.output), size)
    trial = _less_the_trials(_sized(job, size), besides=size).model_copy(
        update={"output": str(folder), "stop_when": None, "canary": None}
    )
    known = await asyncio.to_thread(scored_rows, folder / "results", rows)
    if rows <= known.keys():
        return known
    manifest = await ask(trial, rows)
    try:
        refuse_stopped(f"the trial of {counted(size, 'row')} a call", manifest)
    except StoppedEarly as error:
        await asyncio.to_thread(_leave_word, job, manifest, error)
        raise
    return await asyncio.to_thread(scored_rows, folder / "results", rows)


def _leave_word(job: Job, trial: Manifest, error: StoppedEarly) -> None:
    """In the output of a run that has not begun: why it has not, and what its trials have cost so far.

    It binds the output to no job, and goes where the run begins.
    """
    output = Path(job.output)
    sent = _spent_on_trials(output)
    end = Termination(trial.end.kind, trial.end.code, error.what, trial.end.next)
    told = replace(
        trial,
        name=job.name,
        job=job.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        fingerprint=Fingerprint(keys=trial.fingerprint.keys),
        ledger=RowLedger(trial.ledger.rows, not_attempted=trial.ledger.rows),
        totals=Totals.of(Tally()),
        beside=Beside.of(sent, Spent(), sent),
        parts={},
        termination=end,
    )
    write_file(output / MANIFEST, json.dumps(told.as_dict(), indent=1, ensure_ascii=False).encode())


def _spent_on_trials(output: Path) -> Spent:
    folders = (_trial_folder(output, size) for size in SIZES)
    return sum((spent_in(folder) for folder in folders if folder.exists()), Spent())


def _less_the_trials(job: Job, besides: int | None = None) -> Job:
    """The job with its cap less what trials have cost, until the output's own ledger counts them."""
    if job.max_cost_usd is None:
        return job
    folders = [_trial_folder(Path(job.output), size) for size in SIZES if size != besides]
    paid = Decimal(sum(bound_usd(spent_in(folder)) for folder in folders if folder.exists())) / PICO
    left = max(job.max_cost_usd - paid, Decimal(1) / PICO)
    return job.model_copy(update={"max_cost_usd": left})


def _go_on_with(output: Path, decision: PackDecision) -> None:
    """The chosen trial becomes the beginning of the run, whose ledger counts the other trials too; the decision is
    written last.
    """
    output_folder(output)
    if begun_with(output) is None:
        # What was left by a trial that was stopped.
        (output / MANIFEST).unlink(missing_ok=True)
    chosen = _trial_folder(output, decision.rows_per_call)
    if chosen.exists() and not any((output / name).exists() for name in PARTS_OF_A_RUN):
        # The manifest goes last: an output without one is taken up as what its journal and results say.
        for name in PARTS_OF_A_RUN:
            if (chosen / name).exists():
                (chosen / name).rename(output / name)
        sync_folder(output)
    _count_trials(output)
    write_decision(output, decision)


def _count_trials(output: Path) -> None:
    """Enter in the output's ledger what its trials have cost: it is money that was spent for this output."""
    ledger = Ledger(output / LEDGER)
    for size in SIZES:
        if (folder := _trial_folder(output, size)).exists():
            ledger.add(folder.name, spent_in(folder))
