"""Budget part: how a run takes part in money that it shares with others: a day's, or the cap of all parts of a job."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from rowmill.schemas.errors import StorageError
from rowmill.schemas.price import parse_amount
from rowmill.tasks.gateway.admission.budget_store import open_budget_store
from rowmill.tasks.gateway.admission.daily_budget import DailyBudget, Part
from rowmill.tasks.gateway.admission.gate import Gate
from rowmill.tasks.gateway.admission.shared_cap import DAYS_KEPT, SharedCap
from rowmill.tasks.output.folder import Output
from rowmill.tasks.run.run_plan import RunPlan
from rowmill.tasks.system.clock import Clock
from rowmill.tasks.system.durable import write_file

log = logging.getLogger("rowmill")
FILE = "budget.json"


async def join_budget(plan: RunPlan, output: Output, gate: Gate, *, clock: Clock) -> DailyBudget | None:
    """The run's part of the budget that its job names; None where it names none. What a run of this output that was
    killed has not spent of its part is given back.

    Raises JobError where the store of the budget cannot be used.
    """
    told = plan.job.budget
    if told is None:
        return None
    if plan.options.sandbox:
        # Money that is made up is counted apart.
        told = told.model_copy(update={"name": f"{told.name}.sandbox"})
    of = plan.job.part_of
    whole = output.root.resolve() if of is None else Path(of.output)
    folder = whole.parent if output.mirror is None else None
    daily = DailyBudget(
        open_budget_store(told.name, folder=folder, redis_url=plan.gateway.redis_url),
        told,
        gate.budget,
        run_id=plan.run_id,
        zone=told.time_zone or plan.job.time_zone or "UTC",
        clock=clock,
        publish=lambda part: _publish(output, part),
        wake=gate.look_again,
    )
    await daily.open(part_in(output.root))
    return daily


async def join_cap(plan: RunPlan, output: Output, gate: Gate, *, clock: Clock) -> SharedCap | None:
    """The share of a cap that holds for all parts of a job; None where the job is no part, or has no cap.

    Raises JobError where the store of the cap cannot be used.
    """
    part, cap = plan.job.part_of, plan.job.max_cost_usd
    if part is None or cap is None:
        return None
    name = f"{part.name}.sandbox" if plan.options.sandbox else part.name
    shared = SharedCap(
        open_budget_store(
            name,
            folder=output.root.resolve().parent if output.mirror is None else None,
            redis_url=plan.gateway.redis_url,
            days_kept=DAYS_KEPT,
        ),
        part,
        parse_amount(str(cap)),
        budget=gate.budget,
        name=name,
        clock=clock,
        wake=gate.look_again,
    )
    await shared.open()
    return shared


def part_in(root: Path) -> Part | None:
    """The part that an output's last run had when it was killed; None where it ended by itself."""
    try:
        return msgspec.json.decode((root / FILE).read_bytes(), type=Part)
    except (OSError, msgspec.MsgspecError):
        return None


def forget_part(output: Output) -> None:
    """The results whose bill would tell what a killed run has spent are moved aside: its part counts whole."""
    _publish(output, None)


def _publish(output: Output, part: Part | None) -> None:
    """Without it the part of a run that is killed counts whole until its day ends: no money is spent for that."""
    path = output.root / FILE
    try:
        if part is None:
            output.drop(path)
        else:
            write_file(path, msgspec.json.encode(part))
            output.keep(path)
    except StorageError as error:
        log.warning("%s", error)
