"""The pool of workers: who gets a shard when, and what is kept for the next run where a journal was not taken over."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from pathlib import Path

import pytest

from rowmill.schemas.errors import StorageError
from rowmill.schemas.job import Job
from rowmill.schemas.row import Cursor, Shard
from rowmill.tasks.cluster.mailbox import FolderMailbox
from rowmill.tasks.cluster.messages import Parcel, Report, ShardWork, unpacked
from rowmill.tasks.cluster.worker_pool import WorkerPool
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.concurrency import Concurrency
from rowmill.tasks.gateway.admission.gate import Gate
from rowmill.tasks.gateway.admission.limiter import Limiter
from rowmill.tasks.output.layout import Layout
from rowmill.tasks.run.open_shard import Remaining
from rowmill.tasks.run.progress import Progress
from tests.clocks import FakeClock

ROWS = 5_000


class OneWorker:
    """An engine with one worker, which settles a shard at once."""

    address = "one"

    def __init__(self) -> None:
        self.given: list[int] = []
        self.windows: list[tuple[bool, int | None]] = []
        self.twice = asyncio.Event()

    async def fitness(self, parcel: Parcel) -> dict[str, str | None]:
        return {"one": None}

    async def settle(self, parcel: Parcel, workers: Collection[str]) -> Report:
        work = unpacked(parcel)
        self.given.append(work.shard.number)
        self.windows.append((work.begins_wide, work.window))
        if len(self.given) == 2:
            self.twice.set()
        return Report("one", spent=7, verified=True, window=3)

    async def aclose(self) -> None:
        """It lives on."""


class Journals:
    """Where the worker writes. What it wrote is taken over once `may_adopt` is set, or never (`refuses`)."""

    def __init__(self, folder: Path, *, refuses: bool = False) -> None:
        self.mailbox = FolderMailbox(folder)
        self.may_adopt, self.refuses = threading.Event(), refuses
        self.adopted: list[str] = []
        self.is_swept = False

    def lend(self, work: ShardWork) -> ShardWork:
        return work

    def fetch(self, work: ShardWork) -> Path:
        return Path(f"away-{work.shard.number}")

    def adopt(self, away: Path, *, closed: bool) -> None:
        if self.refuses:
            raise StorageError("it cannot be put", where="there", hint="mend it")
        self.may_adopt.wait(30)
        self.adopted.append(away.name)

    def sweep(self) -> None:
        self.is_swept = True


def pool_of(engine: OneWorker, journals: Journals, folder: Path) -> WorkerPool:
    clock, job = FakeClock(), Job(model="gemini-3-flash", input="rows.jsonl", output="out", prompt="x", runner="dask")
    gate = Gate(
        limiter=Limiter(None, None, clock.now()), concurrency=Concurrency(4), budget=Budget(None, 0, lambda told: None),
        clock=clock, outage_s=60,
    )  # fmt: skip
    work = ShardWork("20261126T000000-abcdef", "", job, False, "", "", {}, "", {}, shard(0), ())
    return WorkerPool(
        engine, Layout(folder), journals, work=work, gate=gate, progress=Progress(started_at=0.0), clock=clock
    )


def shard(number: int) -> Shard:
    return Shard(number, number * ROWS, ROWS, Cursor("rows.jsonl", 0, 0), "")


async def ask(pool: WorkerPool, number: int) -> None:
    pool.expected += 1
    try:
        await pool.ask(shard(number), Remaining([(number * ROWS, (number + 1) * ROWS - 1)]))
    finally:
        pool.expected -= 1


async def test_a_worker_has_its_next_shard_while_the_journal_of_its_last_is_taken_over(tmp_path):
    """It is not idle while some hundred objects are read; what it cost is known, and nothing is left behind."""
    engine, journals = OneWorker(), Journals(tmp_path)
    pool = pool_of(engine, journals, tmp_path)
    await pool.open()
    asking = [asyncio.create_task(ask(pool, number)) for number in range(2)]
    try:
        await asyncio.wait_for(engine.twice.wait(), 20)
        assert engine.given == [0, 1]
        # Nor does it feel out anew how many calls the gateway bears.
        assert engine.windows == [(False, None), (True, 3)]
        assert journals.adopted == []
    finally:
        journals.may_adopt.set()
    await asyncio.gather(*asking)
    assert sorted(journals.adopted) == ["away-0", "away-1"]
    await pool.aclose()
    assert journals.is_swept
    assert not journals.mailbox.is_open


async def test_a_journal_that_was_not_taken_over_is_left_for_the_next_run(tmp_path):
    """A bucket that fails then costs no answer: nothing of the workers' is deleted, and the next start looks for it."""
    engine, journals = OneWorker(), Journals(tmp_path, refuses=True)
    pool = pool_of(engine, journals, tmp_path)
    await pool.open()
    with pytest.raises(StorageError):
        await ask(pool, 0)
    await pool.aclose()
    assert not journals.is_swept
    assert journals.mailbox.is_open
