"""Runner: who asks the rows of a run's shards: this process, or workers elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from rowmill.schemas.row import Shard
from rowmill.tasks.gateway.admission.gate import Gate
from rowmill.tasks.gateway.admission.traffic import Traffic
from rowmill.tasks.output.folder import Output
from rowmill.tasks.run.progress import Progress
from rowmill.tasks.run.run_plan import RunPlan
from rowmill.tasks.run.shard_runner import ShardReport, ShardRun
from rowmill.tasks.system.clock import Clock


class SettlesShards(Protocol):
    """What settles one shard after the other."""

    async def settle(self, shard: Shard) -> ShardReport:
        """Settle every row of a shard and write its part. Raises StorageError, DamageError, InputError."""


class Runner(Protocol):
    """Asks the rows of a run. `asks_here` where this process does; `open_shards` is how many to have open at a time."""

    asks_here: bool
    open_shards: int

    async def take_over(self, output: Output, clock: Clock) -> None:
        """Take up what workers of an earlier run have written. Raises StorageError, DamageError."""

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
        """Be ready for the first shard; `shards` may grow. Raises JobError where nobody can ask."""

    async def heartbeat(self) -> None:
        """What goes on beside the rows until it is cancelled."""

    def traffic(self) -> Traffic | None:
        """What passes to the gateway elsewhere; None where nothing does."""

    def take_share(self, rpm: float, tpm: float) -> None:
        """Go by these shares of the key's limits."""

    def halt(self) -> None:
        """The run has ended for calls that are not in flight."""

    def force_halt(self) -> None:
        """Calls in flight elsewhere are given up too."""

    def reset(self) -> None:
        """After a wait: one call goes alone and decides for all."""

    async def aclose(self) -> None:
        """Let go of whoever asked."""
