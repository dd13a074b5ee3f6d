"""Dask engine: workers of a Dask scheduler, by its own client.

Not through prefect-dask: there each worker needs Prefect's server, and the future of a killed worker never ends. The
shard is a Prefect task run in the flow's own process all the same, which waits for the worker's report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import CancelledError
from typing import Any

from rowmill.schemas.errors import JobError, first_line
from rowmill.tasks.cluster.backends.backend import STARTING, EngineLost, WorkerLost
from rowmill.tasks.cluster.fitness import unfit
from rowmill.tasks.cluster.messages import Parcel, Report
from rowmill.tasks.cluster.worker import settle_parcel

CONNECT_S = 5.0
ANSWER_S = 5.0
# Whether a worker is importing what works there; the first look begins with it, in a thread of its own: imported by the
# loop that answers us, it would let no other word through for seconds. In words of the standard library alone.
_IMPORTS = f"""(lambda sys, threading, find: not (
    sys.__dict__.setdefault("_rowmill_import", [None])[0] and not sys._rowmill_import[0].is_alive()
) and find("rowmill") is not None and (
    sys._rowmill_import[0] is not None
    or sys._rowmill_import.__setitem__(0, threading.Thread(target=__import__, args=("{settle_parcel.__module__}",)))
    or sys._rowmill_import[0].start() or True
))(__import__("sys"), __import__("threading"), __import__("importlib.util").util.find_spec)"""


class DaskEngine:
    """A connected client."""

    def __init__(self, address: str, client: Any) -> None:
        self.address, self._client = address, client

    async def fitness(self, parcel: Parcel) -> dict[str, str | None]:
        try:
            known = await asyncio.wait_for(self._client.scheduler.identity(), ANSWER_S)
        except (OSError, TimeoutError, CancelledError) as error:
            raise EngineLost(first_line(error)) from None
        workers = list(known["workers"])
        return dict(zip(workers, await asyncio.gather(*(self._ask(one, parcel) for one in workers)), strict=True))

    async def _ask(self, worker: str, parcel: Parcel) -> str | None:
        """One by one: a worker that hangs says nothing about the others."""
        try:
            if await self._run(worker, eval, _IMPORTS) is True:
                return STARTING
            return _reason(await self._run(worker, unfit, parcel))
        except (OSError, TimeoutError, CancelledError):
            return "it does not answer"

    async def _run(self, worker: str, function: Callable[..., Any], argument: Any) -> Any:
        """What a worker's process returns, or the error it raises. Raises OSError, TimeoutError, CancelledError."""
        asking = self._client.run(function, argument, workers=[worker], on_error="return")
        return (await asyncio.wait_for(asking, ANSWER_S)).get(worker)

    async def settle(self, parcel: Parcel, workers: Collection[str]) -> Report:
        from distributed import KilledWorker

        try:
            future = self._client.submit(settle_parcel, parcel, workers=list(workers), pure=False, retries=0)
            report = await future
        except KilledWorker as error:
            raise WorkerLost(first_line(error)) from None
        except (OSError, CancelledError) as error:
            if self._client.status != "running":
                raise EngineLost(first_line(error)) from None
            raise WorkerLost(first_line(error)) from None
        assert isinstance(report, Report)
        return report

    async def aclose(self) -> None:
        await self._client.close()


async def open_dask(address: str) -> DaskEngine:
    """Raises JobError where Dask is not installed, or where no scheduler answers."""
    try:
        from distributed import Client
    except ImportError:
        raise JobError(
            "runner: dask needs the distributed package", where="runner", hint="pip install 'rowmill[dask]'"
        ) from None
    try:
        connecting: Any = Client(address, asynchronous=True, timeout=CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]
        client = await asyncio.wait_for(connecting, CONNECT_S + 5)
    except (OSError, ValueError, TimeoutError) as error:
        raise JobError(
            f"the Dask scheduler does not answer: {first_line(error)}",
            where=address,
            hint="start it (`dask scheduler`), or name another under `scheduler` or in DASK_SCHEDULER_ADDRESS",
        ) from None
    return DaskEngine(address, client)


def _reason(answer: object) -> str | None:
    if isinstance(answer, ModuleNotFoundError):
        return "rowmill is not installed there"
    return f"it cannot be asked: {first_line(answer)}" if isinstance(answer, BaseException) else answer  # type: ignore[return-value]
