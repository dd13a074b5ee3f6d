"""Opening: the one sentence by which the command, the flows, the frame function and a pilot open a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rowmill.flows.orchestration.pack_trials import with_pack_size
from rowmill.flows.orchestration.pipeline import carry_out
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Manifest
from rowmill.tasks.cluster.runners import runner_for
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.run.open_run import open_run
from rowmill.tasks.run.run import Run
from rowmill.tasks.run.run_plan import Options, plan_run, take_rows
from rowmill.tasks.system.clock import Clock


@asynccontextmanager
async def opened(
    job: Job,
    options: Options,
    gateway: Gateway,
    *,
    mirror: Mirror | None = None,
    clock: Clock | None = None,
    seed: int | None = None,
) -> AsyncIterator[Run]:
    """A run of a job whose output is at hand (`mirror` keeps its bucket equal to it). Raises as its parts do."""
    clock = clock or Clock()

    async def ask(trial: Job, rows: frozenset[int]) -> Manifest:
        only = Options(options.limit, sandbox=options.sandbox, rows=rows)
        async with opened(trial, only, gateway, clock=clock, seed=seed) as run:
            return await carry_out(run)

    job = await with_pack_size(
        job,
        ask,
        limit=options.limit,
        fresh=options.fresh,
        sandbox=options.sandbox,
        in_bucket=mirror is not None,
    )
    keeps = options.as_taken or options.resumes or options.rows is not None
    await asyncio.to_thread(take_rows, job, anew=options.fresh, keeps=keeps, frame=options.frame)
    plan = plan_run(job, options, gateway, clock=clock, address=mirror.url if mirror is not None else None)
    async with open_run(plan, runner_for(plan.job), mirror=mirror, clock=clock, seed=seed) as run:
        yield run
