"""The beats of a lease, by the clocks of two machines that do not agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from rowmill.schemas.job import Job
from rowmill.schemas.row import NO_SHARD
from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.tasks.cluster.lease_beats import LeaseBeats
from rowmill.tasks.cluster.mailbox import FolderMailbox, LeaseGrants, Quota
from rowmill.tasks.cluster.messages import ShardWork
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.concurrency import Concurrency
from rowmill.tasks.gateway.admission.deadline import Deadline
from rowmill.tasks.gateway.admission.gate import Gate, Halted
from rowmill.tasks.gateway.admission.limiter import Limiter
from rowmill.tasks.run.progress import Progress
from tests.clocks import FakeClock

RUN, NOON, LEFT_S = "20261126T000000-abcdef", 1_700_000_000.0, 60.0
JOB = Job(model="gemini-3-flash", input="rows.jsonl", output="out", prompt="x", runner="dask")


class Holder:
    """The holder of a lease, whose clock is so many seconds ahead of its coordinator's."""

    def __init__(self, ahead_s: float, folder: Path) -> None:
        self.clock = FakeClock(NOON + ahead_s)
        self.gate = Gate(
            limiter=Limiter(None, None, self.clock.now()), concurrency=Concurrency(4),
            budget=Budget(None, 0, lambda told: None), clock=self.clock, outage_s=60,
        )  # fmt: skip
        deadline = Deadline(NOON + LEFT_S, Termination(TerminationKind.DEADLINE, None, "noon", ""))
        work = ShardWork(RUN, "lease", JOB, False, "", "", {}, "", {}, NO_SHARD, (), deadline)
        self.beats = LeaseBeats(
            work, FolderMailbox(folder), self.gate, runs=cast(Any, None), progress=Progress(), clock=self.clock
        )

    async def hear(self, beat: int, *, age_s: float = 1.0) -> None:
        """Read grants that were written so long ago."""
        at = NOON + self.clock.now() - 1_000.0
        await self.clock.sleep(age_s)
        self.beats.apply(LeaseGrants(RUN, beat, {"lease": Quota(concurrency=4)}, verified=True, at=at))


@pytest.mark.parametrize("ahead_s", [-3_600.0, -0.5, 0.0, 0.5, 3_600.0])
async def test_a_deadline_is_that_of_the_coordinators_clock(ahead_s, tmp_path):
    """A worker an hour ahead of its coordinator ends neither itself nor the run, one an hour behind is not late."""
    holder = Holder(ahead_s, tmp_path)
    for beat in range(5):
        await holder.hear(beat, age_s=2.0 if beat == 0 else 1.0)
        permit = await holder.gate.enter(beat, 1, 1)
        holder.gate.release(permit, used_tokens=1, cost_usd=1, failure=None)
    await holder.clock.sleep(LEFT_S - 6 + 2.0)
    holder.gate.valid_until = holder.clock.now() + 1
    with pytest.raises(Halted):
        await holder.gate.enter(9, 1, 1)
    assert holder.gate.termination is not None
    assert holder.gate.termination.kind is TerminationKind.DEADLINE
