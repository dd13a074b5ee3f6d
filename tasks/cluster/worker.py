"""Worker: what an engine runs in a process elsewhere: the rows of one shard, asked under a lease."""

from __future__ import annotations

import asyncio
import os

from rowmill.schemas.errors import RowmillError, StorageError
from rowmill.tasks.cluster.fitness import unlike
from rowmill.tasks.cluster.lease_holder import LeaseHolder
from rowmill.tasks.cluster.messages import Parcel, Report, unpacked
from rowmill.tasks.gateway.admission.halts import refused_storage
from rowmill.tasks.system.event_loop import fastest_loop
from rowmill.tasks.system.process import this_process


def settle_parcel(parcel: Parcel) -> Report:
    """Ask the rows of a shard. Never raises for what a user can mend: the report tells it."""
    if (reason := unlike(parcel, os.environ)) is not None:
        return Report(this_process(), refused=reason)
    try:
        holder = LeaseHolder(unpacked(parcel))
        with asyncio.Runner(loop_factory=fastest_loop()) as runner:
            return runner.run(holder.settle())
    except StorageError as error:
        return Report(this_process(), halt=refused_storage(error), whole=False)
    except RowmillError as error:
        return Report(this_process(), refused=str(error))
