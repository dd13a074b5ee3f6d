"""Engines: what runs a function in a process elsewhere and brings back what it returns."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from rowmill.tasks.cluster.messages import Parcel, Report


class WorkerLost(Exception):
    """The process that had the work is gone, or is not heard of any more."""


class EngineLost(Exception):
    """Nothing can be given to the engine any more."""


# Why a worker cannot work yet: it is alive, and imports what it needs.
STARTING = "it is still importing rowmill"


class Engine(Protocol):
    """One scheduler and its workers."""

    address: str

    async def fitness(self, parcel: Parcel) -> dict[str, str | None]:
        """Why each worker cannot work for the run, by the worker's name; None where it can, STARTING where that is not
        known yet. Raises EngineLost.
        """

    async def settle(self, parcel: Parcel, workers: Collection[str]) -> Report:
        """Have one of these workers settle a shard. Raises WorkerLost, EngineLost."""

    async def aclose(self) -> None:
        """Let go of the engine; its workers live on."""
