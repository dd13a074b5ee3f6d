"""Ray engine: the CPUs of a Ray cluster, by Ray's own tasks. Each node is asked whether it can work for the run."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Collection
from typing import Any

from rowmill.schemas.errors import JobError, first_line
from rowmill.tasks.cluster.backends.backend import STARTING, EngineLost, WorkerLost
from rowmill.tasks.cluster.fitness import unfit
from rowmill.tasks.cluster.messages import Parcel, Report
from rowmill.tasks.cluster.worker import settle_parcel

CONNECT_S = 10.0
# A process of a node that is alive may be starting for so long; it is looked at this often meanwhile.
ANSWER_S, LOOK_S = 120.0, 3.0
# A head that so many looks in a row do not find is gone.
MISSES, CLOSE_S = 3, 10.0


class RayEngine:
    """A driver in the cluster. A worker is one CPU of a node, named `node/number`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._at_work: Counter[str] = Counter()
        # Nodes that were asked and have not answered, and since when.
        self._asked: dict[str, tuple[asyncio.Future[str | None], float]] = {}

    async def fitness(self, parcel: Parcel) -> dict[str, str | None]:
        import ray

        await self._find_head()
        try:
            nodes = await asyncio.to_thread(ray.nodes)
        except Exception as error:
            raise EngineLost(first_line(error)) from None
        alive = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]}
        told = await asyncio.gather(*(self._ask(node, parcel) for node in alive))
        return {
            f"{node}/{number}": reason
            for (node, count), reason in zip(alive.items(), told, strict=True)
            for number in range(count)
        }

    async def _ask(self, node: str, parcel: Parcel) -> str | None:
        loop = asyncio.get_running_loop()
        asking, since = self._asked.setdefault(
            node, (asyncio.ensure_future(_on(node, unfit, parcel, cpus=0)), loop.time())
        )
        await asyncio.wait([asking], timeout=LOOK_S)
        if not asking.done() and loop.time() - since < ANSWER_S:
            return STARTING
        del self._asked[node]
        if not asking.done():
            asking.cancel()
            return "it does not answer"
        try:
            told: str | None = asking.result()
        except ModuleNotFoundError:
            return "rowmill is not installed there"
        except Exception as error:
            return f"it cannot be asked: {first_line(error)}"
        return told

    async def settle(self, parcel: Parcel, workers: Collection[str]) -> Report:
        from ray.exceptions import RayError, RayTaskError

        room = Counter(worker.partition("/")[0] for worker in workers)
        node = max(room, key=lambda one: room[one] - self._at_work[one])
        self._at_work[node] += 1
        try:
            report = await self._while_alive(_on(node, settle_parcel, parcel, cpus=1))
        except RayTaskError:
            raise
        except RayError as error:
            raise WorkerLost(first_line(error)) from None
        finally:
            self._at_work[node] -= 1
        assert isinstance(report, Report)
        return report

    async def _while_alive(self, work: asyncio.Future[Any]) -> Any:
        """What the work brings. Raises EngineLost where the head is gone: Ray waits for it for a minute, and then ends
        this process.
        """
        while not (await asyncio.wait([work], timeout=LOOK_S))[0]:
            await self._find_head()
        return work.result()

    async def _find_head(self) -> None:
        """Raises EngineLost where nobody listens at its address, however often it is tried."""
        for left in reversed(range(MISSES)):
            try:
                await _knock(self.address)
                return
            except (OSError, TimeoutError) as error:
                if not left:
                    raise EngineLost(first_line(error) or "it does not answer") from None
            await asyncio.sleep(LOOK_S)

    async def aclose(self) -> None:
        import ray

        # Without its head it waits for answers that nobody gives.
        closing = threading.Thread(target=ray.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSE_S)


def _on(node: str, function: Any, parcel: Parcel, *, cpus: int) -> Any:
    """The function's result from that node; never run a second time by Ray itself."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node, soft=False)
    told = ray.remote(function).options(num_cpus=cpus, max_retries=0, scheduling_strategy=there).remote(parcel)
    return asyncio.wrap_future(told.future())


async def open_ray(address: str) -> RayEngine:
    """Raises JobError where Ray is not installed, or where no cluster answers."""
    try:
        import ray
    except ImportError:
        raise JobError("runner: ray needs the ray package", where="runner", hint="pip install 'rowmill[ray]'") from None
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        await _knock(address)
        await asyncio.to_thread(
            ray.init, address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise JobError(
            f"the Ray cluster does not answer: {first_line(error)}",
            where=address,
            hint="start it (`ray start --head`), or name another under `scheduler` or in RAY_ADDRESS",
        ) from None
    return RayEngine(address)


async def _knock(address: str) -> None:
    """See that somebody listens: Ray itself tries for minutes, and cannot be stopped meanwhile. Raises OSError."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if port.isdigit():
        _, writer = await asyncio.wait_for(asyncio.open_connection(host.strip("[]"), int(port)), CONNECT_S)
        writer.close()
