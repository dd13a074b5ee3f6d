"""Runners: this process, or the workers of a cluster, behind one protocol; a line each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from rowmill.schemas.job import Job
from rowmill.schemas.row import NO_SHARD, Shard
from rowmill.tasks.cluster.backends.registry import BACKENDS
from rowmill.tasks.cluster.coordinator import Coordinator, open_engine, take_over
from rowmill.tasks.cluster.messages import ShardWork, StoredInput
from rowmill.tasks.cluster.shared_output import shared_output
from rowmill.tasks.cluster.worker_pool import WorkerPool
from rowmill.tasks.gateway.admission.deadline import Deadline
from rowmill.tasks.gateway.admission.gate import Gate
from rowmill.tasks.gateway.admission.shared_limits import group_of
from rowmill.tasks.gateway.admission.traffic import Traffic
from rowmill.tasks.input.files import name_of
from rowmill.tasks.input.stored import is_stored, stored_in
from rowmill.tasks.output.folder import Output
from rowmill.tasks.output.location import in_bucket
from rowmill.tasks.run.progress import Progress
from rowmill.tasks.run.run_plan import RunPlan
from rowmill.tasks.run.runner import Runner, SettlesShards
from rowmill.tasks.run.shard_runner import ShardRun
from rowmill.tasks.system.clock import Clock

log = logging.getLogger("rowmill")
# One shard settles its last calls while the next one is read; a third would only wait.
OPEN_HERE = 2
# Shards planned ahead for workers; no more of them than this are at work.
OPEN_ELSEWHERE = 32


class ThisProcess:
    """The rows are asked here."""

    asks_here = True
    open_shards = OPEN_HERE

    async def take_over(self, output: Output, clock: Clock) -> None:
        """A run on a cluster may have gone before."""
        await take_over(output, clock)

    async def begin(self, plan: RunPlan, *, shard_run: ShardRun, **_: Any) -> SettlesShards:
        return shard_run

    async def heartbeat(self) -> None:
        """Nobody else has to be heard."""

    def traffic(self) -> Traffic | None:
        return None

    def take_share(self, rpm: float, tpm: float) -> None:
        """The gate of this process takes its own."""

    def halt(self) -> None:
        """Nobody else has to be told."""

    force_halt = reset = halt

    async def aclose(self) -> None:
        """Nobody to let go of."""


class Cluster:
    """The rows are asked by workers of a cluster that exists; this process plans them and writes the parts."""

    asks_here = False
    open_shards = OPEN_ELSEWHERE

    def __init__(self) -> None:
        self._pool: WorkerPool | None = None

    async def take_over(self, output: Output, clock: Clock) -> None:
        await take_over(output, clock)

    async def begin(
        self,
        plan: RunPlan,
        *,
        keep_types: Mapping[str, pa.DataType],
        shards: Sequence[Shard],
        output: Output,
        shard_run: ShardRun,
        gate: Gate,
        progress: Progress,
        clock: Clock,
    ) -> SettlesShards:
        engine = await open_engine(plan.job)
        work = _work_of(plan, keep_types, gate.deadline)
        self._pool = WorkerPool(
            engine, output, shared_output(output), work=work, gate=gate, progress=progress, clock=clock
        )
        workers = await self._pool.open()
        log.info("%d workers of %s ask the rows; limits and cap are divided among them", workers, engine.address)
        return Coordinator(shard_run, self._pool, shards)

    async def heartbeat(self) -> None:
        if self._pool is not None:
            await self._pool.keep()

    def traffic(self) -> Traffic | None:
        return self._pool.traffic() if self._pool is not None else None

    def take_share(self, rpm: float, tpm: float) -> None:
        if self._pool is not None:
            self._pool.take_share(rpm, tpm)

    def halt(self) -> None:
        if self._pool is not None:
            self._pool.halt()

    def force_halt(self) -> None:
        if self._pool is not None:
            self._pool.force_halt()

    def reset(self) -> None:
        if self._pool is not None:
            self._pool.reset()

    async def aclose(self) -> None:
        if self._pool is not None:
            await self._pool.aclose()


RUNNERS: Mapping[str, Callable[[], Runner]] = {"local": ThisProcess, **dict.fromkeys(BACKENDS, Cluster)}


def runner_for(job: Job) -> Runner:
    """Who asks the rows of this job."""
    return RUNNERS[job.runner]()


def _work_of(plan: RunPlan, keep_types: Mapping[str, pa.DataType], deadline: Deadline | None) -> ShardWork:
    """What all shards have in common for workers elsewhere."""
    gateway = plan.gateway
    return ShardWork(
        run_id=plan.run_id,
        token="",
        job=plan.job,
        sandbox=plan.options.sandbox,
        base_url=gateway.base_url,
        group=group_of(gateway.base_url, gateway.api_key),
        models={plan.model.name: plan.model} | {model.name: model for model in plan.models},
        fingerprint=plan.fingerprint,
        keep_types=keep_types,
        shard=NO_SHARD,
        ranges=(),
        deadline=deadline,
        address=plan.address if in_bucket(plan.address) else None,
        stored=_stored_of(plan) if in_bucket(plan.address) else None,
    )


def _stored_of(plan: RunPlan) -> StoredInput | None:
    """The rows in the output, where the input cannot be read twice."""
    found = stored_in(Path(plan.job.output)) if is_stored(plan.job) else None
    return None if found is None else StoredInput(found.file, found.size, found.digest, name_of(plan.files[0]))
