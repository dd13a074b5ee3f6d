"""Backends: the kinds of cluster that a job can name. A kind is one file of this folder and one line here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from rowmill.tasks.cluster.backends.backend import Engine


@dataclass(frozen=True, slots=True)
class Backend:
    """A kind of cluster: `open` gives the engine at an address, which `variable` tells where the job does not."""

    open: Callable[[str], Awaitable[Engine]]
    variable: str


async def _dask(address: str) -> Engine:
    # Imported where it is named: what a cluster needs is no part of a plain installation.
    from rowmill.tasks.cluster.backends.dask import open_dask

    return await open_dask(address)


async def _ray(address: str) -> Engine:
    from rowmill.tasks.cluster.backends.ray import open_ray

    return await open_ray(address)


BACKENDS: Mapping[str, Backend] = {
    "dask": Backend(_dask, "DASK_SCHEDULER_ADDRESS"),
    "ray": Backend(_ray, "RAY_ADDRESS"),
}
