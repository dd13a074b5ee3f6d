"""Tune job: plans of a job are compared on its gold rows; what was found is written beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from rowmill.flows.orchestration.pipeline import StoppedEarly
from rowmill.flows.orchestration.tuning import Race, asked_with
from rowmill.flows.text.tuning import by_cost, cost_text, hours_text, right_text, verdict
from rowmill.schemas.catalogue import find_model
from rowmill.schemas.display_text import counted
from rowmill.schemas.errors import DamageError, JobError, OutputError
from rowmill.schemas.job import Job
from rowmill.schemas.price import PICO, asked_usd
from rowmill.schemas.quote import Quote
from rowmill.schemas.tuning import ComparedPlan, PlanState, Tuning
from rowmill.tasks.forecast.files import output_folder
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.input.reader import job_files
from rowmill.tasks.job.job_file import STANDARD_INPUT, catalogue_of
from rowmill.tasks.job.yaml_scalars import yaml_of
from rowmill.tasks.labelling.label_run import label_run
from rowmill.tasks.output.location import in_bucket
from rowmill.tasks.report.tuning_page import tuning_page
from rowmill.tasks.system.durable import write_file
from rowmill.tasks.tuning.gold_rows import gold_rows
from rowmill.tasks.tuning.plans import Plan, plans_of
from rowmill.tasks.tuning.race import Terms, rounds

TUNE, TUNED, PAGE = "tune.json", "tuned.yaml", "tune.html"


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """What a comparison is to find, and what it may cost in USD. `seed` draws the rows that choose and that judge."""

    target: float
    budget_usd: Decimal
    margin: float = 0.02
    limit: int | None = None
    seed: int = 0
    sandbox: bool = False


async def tune_job(job: Job, options: TuneOptions, gateway: Gateway) -> Tuning:
    """Compare the plans of a job, and write `tune.json`, `tuned.yaml` and `tune.html` to its output.

    Raises JobError, InputError, OutputError for what cannot be compared, StoppedEarly where the gateway stops
    everything; what was found until then is written.
    """
    refuse_uncomparable(job, options)
    catalogue = catalogue_of(job, os.environ.get("ROWMILL_CATALOGUE"))
    if job.label is not None and job.label.column is not None:
        # The labels are known once the column is read, and are the same for every plan.
        known = label_run(job, job_files(job), find_model(job.model, catalogue), gold_file=None, fresh=False)
        job = known.job if known is not None else job
    gold = gold_rows(job, options.limit, options.seed)
    plans = plans_of(job, catalogue)
    terms = Terms(options.target, options.margin, len(plans), len(rounds(len(gold.choosing))))
    race = Race(plans, gold, terms, int(options.budget_usd * PICO), asked_with(gateway, sandbox=options.sandbox))
    try:
        await race.decide()
    except StoppedEarly as error:
        race.reason = f"the gateway stopped it: {error.cause}"
        _write(job, _named(race.result(), job, options), plans)
        raise
    tuning = _named(race.result(), job, options)
    _write(job, tuning, plans)
    return tuning


def _named(tuning: Tuning, job: Job, options: TuneOptions) -> Tuning:
    return msgspec.structs.replace(tuning, name=job.name, sandbox=options.sandbox)


def refuse_uncomparable(job: Job, options: TuneOptions) -> None:
    """Raises JobError, OutputError for terms that say nothing, and for what can be read once or stands elsewhere."""
    asked_usd(options.budget_usd, "--budget")
    for where, share in (("--target", options.target), ("--margin", options.margin)):
        if not 0 < share <= 1:
            raise JobError(
                f"{share!r} is no share", where=where, hint="name a number above 0 and up to 1, such as 0.95"
            )
    if options.margin >= options.target:
        raise JobError(
            f"the margin {options.margin:g} leaves nothing of the target {options.target:g}",
            where="--margin",
            hint="name a smaller one",
        )
    if job.input == STANDARD_INPUT:
        raise JobError(
            "standard input can be read once, and every plan reads the rows",
            where="input",
            hint="write the rows to a file, and name it",
        )
    if in_bucket(job.output):
        raise OutputError(
            "plans are compared in a folder on this machine",
            where=job.output,
            hint="tune with -o FOLDER, and give tuned.yaml the bucket as its output",
        )


def read_tuning(output: Path) -> Tuning | None:
    """The comparison that stands in a folder; None where there is none. Raises DamageError."""
    try:
        return msgspec.json.decode((output / TUNE).read_bytes(), type=Tuning)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise DamageError(
            f"it cannot be read: {error}", where=str(output / TUNE), hint="tune again: no row is paid for twice"
        ) from None


def write_tuning_page(output: Path, tuning: Tuning) -> Path:
    """Draw the comparison as `tune.html`. Raises OutputError, StorageError."""
    plans = by_cost(tuning)
    rows = [
        {"name": plan.name, "cost": cost_text(plan), "right": right_text(plan), "rows": f"{plan.rows:,}",
         "hours": hours_text(plan), "outcome": f"{plan.state.value}: {plan.reason}",
         "class": "good" if plan.state is PlanState.CHOSEN else "soft"}
        for plan in plans
    ]  # fmt: skip
    values: dict[str, Any] = {
        "name": tuning.name,
        "outcome": "no plan is marked" if tuning.chosen is None else f"{tuning.chosen} is marked",
        "good": tuning.chosen is not None,
        "sandbox": tuning.sandbox,
        "verdict": verdict(tuning),
        "facts": [
            ("target", f"{tuning.target:.1%}"),
            ("interval may reach below it", f"{tuning.margin:.1%}"),
            ("gold rows", f"{tuning.gold_rows:,}"),
            ("plans", f"{len(plans):,}"),
        ],
        "plans": rows,
        "timed": any(plan.hours_per_million_rows is not None for plan in plans),
    }
    write_file(output / PAGE, tuning_page(tuning, plans, values).encode())
    return output / PAGE


def _write(job: Job, tuning: Tuning, plans: Sequence[Plan]) -> None:
    """Write what was found; `tuned.yaml` where a plan was marked. Raises OutputError, StorageError."""
    output = Path(job.output)
    output_folder(output)
    write_file(output / TUNE, json.dumps(msgspec.to_builtins(tuning), indent=1, ensure_ascii=False).encode())
    write_tuning_page(output, tuning)
    chosen = next((plan for plan in plans if plan.name == tuning.chosen), None)
    found = tuning.plan(tuning.chosen)
    if chosen is None or found is None:
        (output / TUNED).unlink(missing_ok=True)
        return
    head = (
        f"# Chosen by rowmill tune: {found.accuracy:.1%} right of {counted(found.rows, 'gold row')} that did "
        f"not choose it\n"
        f"# (95 % interval {found.low:.1%} to {found.high:.1%}; the target was {tuning.target:.1%}).\n"
        "# Its output holds the gold rows that were paid for: a run goes on from there.\n"
    )
    write_file(output / TUNED, (head + yaml_of(_keys(chosen.job, tuning, found))).encode())


def _keys(job: Job, tuning: Tuning, plan: ComparedPlan) -> dict[str, Any]:
    """The job as a file: what is not a default. It is held to the quote by the gold rows that come first."""
    keys: dict[str, Any] = job.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    floor = round(tuning.target - tuning.margin, 6)
    if job.label is not None and not job.label.has_gate:
        keys["label"]["min_accuracy"] = floor
    if job.gold is not None and job.gold.min_accuracy is None:
        keys["gold"]["min_accuracy"] = floor
    keys["quote"] = {"target": tuning.target, "margin": tuning.margin} | {
        name: getattr(plan, name) for name in Quote.model_fields if hasattr(plan, name)
    }
    return keys
