"""Part runs: the parts of a split job as flow runs of a deployment, each on a worker of its own.

Runs are found again by their tags: whoever starts over waits for those that live and starts those that are missing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job
from rowmill.schemas.part_of import PartOf

log = logging.getLogger("rowmill")
POLL_S = 5.0
# A part whose process is lost is started again so often; it goes on from its own files.
RESTARTS = 2
# A worker that is gone confirms no cancellation; one that lives does within half a minute.
CANCELLED_S = 120.0
PAGE = 200
LIVE = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING]
# How a part ends that meets what all of them meet: the others are cancelled, which lets their calls in flight end.
STOPS_ALL = frozenset({"SpendLimit", "InsufficientCredits", "Auth", "ModelNotFound"})
# The others may still spend what they have reserved; no further part is started.
STOPS_STARTS = frozenset({"Budget"})


@dataclass(slots=True)
class Ended:
    """How the runs of the parts ended, by number: the name of their last state, and its message."""

    states: dict[int, str] = field(default_factory=dict)
    messages: dict[int, str] = field(default_factory=dict)


def tag_of(part: PartOf) -> tuple[str, str]:
    """What a part's flow runs are found by: the whole's tag, and the part's own."""
    whole = f"rowmill-split:{part.name}"
    return whole, f"{whole}/{part.part}"


class PartRuns:
    """Runs part jobs through a deployment, `at_once` at a time."""

    def __init__(
        self,
        jobs: Mapping[int, Job],
        deployment: str,
        *,
        at_once: int,
        sandbox: bool,
        retry_failed: str | None,
        poll_s: float = POLL_S,
    ) -> None:
        """`jobs` are those of the parts to run, by number."""
        self._jobs, self._deployment, self._at_once = jobs, deployment, at_once
        self._parameters = {"sandbox": sandbox, "retry_failed": retry_failed}
        self._poll_s = poll_s
        self._waiting = list(jobs)
        self._runs: dict[int, UUID] = {}
        self._restarts: dict[int, int] = {}
        self._stopped = False
        self._cancelled_at = float("inf")
        self.ended = Ended()

    async def run(self) -> Ended:
        """Until all have ended. A cancellation cancels those that run. Raises JobError where there is no deployment."""
        async with get_client() as client:
            try:
                await self._take_up(client)
                while True:
                    while self._waiting and not self._stopped and len(self._runs) < self._at_once:
                        await self._start(client, self._waiting.pop(0))
                    if not self._runs:
                        return self.ended
                    await asyncio.sleep(self._poll_s)
                    for run in await _read(client, list(self._runs.values())):
                        await self._look(client, run)
            except asyncio.CancelledError:
                await asyncio.shield(self._cancel(client))
                raise

    async def _take_up(self, client: PrefectClient) -> None:
        """Wait for the runs that live already: their outputs are theirs."""
        if not self._jobs:
            return
        tags = {number: tag_of(_part(job))[1] for number, job in self._jobs.items()}
        whole = tag_of(_part(next(iter(self._jobs.values()))))[0]
        alive = FlowRunFilter(
            tags=FlowRunFilterTags(all_=[whole]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=LIVE)),
        )
        found = await client.read_flow_runs(flow_run_filter=alive, limit=PAGE)
        for number, tag in tags.items():
            for run in found:
                if tag in run.tags:
                    log.info("%s runs already (%s): it is waited for", tag, run.name)
                    self._waiting.remove(number)
                    self._runs[number] = run.id
                    break

    async def _start(self, client: PrefectClient, number: int) -> None:
        job = self._jobs[number]
        try:
            run = await arun_deployment(
                self._deployment,
                client=client,
                parameters={"job": job.model_dump_json(by_alias=True, exclude_defaults=True), **self._parameters},
                flow_run_name=job.name,
                tags=["rowmill", *tag_of(_part(job))],
                timeout=0,
            )
        except ObjectNotFound:
            raise JobError(
                "there is no such deployment",
                where=self._deployment,
                hint="prefect deploy --all makes those of prefect.yaml, or name yours as deployment",
            ) from None
        self._runs[number] = run.id

    async def _look(self, client: PrefectClient, run: FlowRun) -> None:
        """What has become of a run: one whose process was lost is started again, one that stops all does so."""
        state = run.state
        given_up = asyncio.get_running_loop().time() - self._cancelled_at > CANCELLED_S
        if state is None or not (state.is_final() or given_up):
            return
        number = next(number for number, one in self._runs.items() if one == run.id)
        del self._runs[number]
        name, message = state.name or state.type.value, state.message or ""
        log.info("part %d of %d: %s. %s", number, _part(self._jobs[number]).parts, name, message)
        if state.is_crashed() and not self._stopped and self._restarts.get(number, 0) < RESTARTS:
            self._restarts[number] = self._restarts.get(number, 0) + 1
            self._waiting.insert(0, number)
            return
        self.ended.states[number], self.ended.messages[number] = name, message
        if name in STOPS_ALL and not self._stopped:
            await self._cancel(client)
        self._stopped = self._stopped or name in STOPS_ALL or name in STOPS_STARTS

    async def _cancel(self, client: PrefectClient) -> None:
        self._cancelled_at = asyncio.get_running_loop().time()
        for run in self._runs.values():
            await client.set_flow_run_state(run, Cancelling(message="the whole job stops"))


def _part(job: Job) -> PartOf:
    assert job.part_of is not None
    return job.part_of


async def _read(client: PrefectClient, runs: Sequence[UUID]) -> Iterable[FlowRun]:
    found: list[FlowRun] = []
    for start in range(0, len(runs), PAGE):
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=list(runs[start : start + PAGE])))
        found += await client.read_flow_runs(flow_run_filter=wanted, limit=PAGE)
    return found
