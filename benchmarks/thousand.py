"""A thousand workers on paper: a coordinator's real worker pool, under virtual time, against workers that only count.

`python -m benchmarks thousand`. What the pool divides, posts, hears and takes back is its own code; leases and beats
pass through a mailbox that counts requests as a bucket would bill them. CPU is that of the pool: what the counted
workers take of the process is measured and left out. Beside it: what a row costs the coordinator, with its real parts.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.parts import compact_rows
from benchmarks.virtual import VirtualClock, run_virtually
from rowmill.schemas.catalogue import builtin_catalogue
from rowmill.schemas.job import Job
from rowmill.schemas.price import PICO
from rowmill.schemas.request import Request
from rowmill.schemas.row import Cursor, Shard
from rowmill.tasks.cluster.backends.backend import WorkerLost
from rowmill.tasks.cluster.bucket_mailbox import ENDED_S, LEASE_S
from rowmill.tasks.cluster.mailbox import BEAT_S, GRANTS, Heartbeat, LeaseGrants
from rowmill.tasks.cluster.messages import Parcel, Report, ShardWork, unpacked
from rowmill.tasks.cluster.worker_pool import WorkerPool
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.concurrency import Concurrency
from rowmill.tasks.gateway.admission.gate import Gate
from rowmill.tasks.gateway.admission.limiter import Limiter
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.listing import input_files
from rowmill.tasks.input.reader import shard_rows
from rowmill.tasks.input.survey import Surveyor
from rowmill.tasks.journal.group_commit import GATHER_AWAY_S
from rowmill.tasks.output.layout import Layout
from rowmill.tasks.plan.planner import Planner
from rowmill.tasks.run.open_shard import Remaining
from rowmill.tasks.run.progress import Progress

ROWS, SHARDS = 10**9, 1_000
# Calls a minute, so twenty thousand rows a second.
RPM = 1_200_000.0
CAP_USD, ROW_USD = 900_000, 500 * PICO // 10**6
LOST_AT, BACK_AT, END_AT = 40.0, 70.0, 100.0
# An engine sees a process end; of a machine that is cut off nobody hears.
SEEN_S = 2.0
# How long a bucket takes to answer.
REQUEST_S = 0.03
# Amazon S3, standard class in its first region, as its price list has it: USD for a thousand requests.
PUT_USD, GET_USD = 0.005, 0.0004


class CountingBox:
    """A mailbox in memory that counts requests, and bytes as they are encoded."""

    lease_s, ended_s = LEASE_S, ENDED_S

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self._decoded: tuple[bytes, Any] = (b"", None)

    def open(self) -> None:
        """Nothing is there yet."""

    close, is_open = open, False

    def claim(self, token: str) -> bool:
        return True

    def post(self, name: str, notice: LeaseGrants | Heartbeat) -> None:
        self.held[name] = msgspec.json.encode(notice)
        self.requests["PUT"] += 1
        self.bytes["grants" if name == GRANTS else "beats"] += len(self.held[name])

    def read(self, name: str, kind: Any) -> Any:
        self.requests["GET"] += 1
        held = self.held.get(name)
        return None if held is None else msgspec.json.decode(held, type=kind)

    def grants(self) -> LeaseGrants:
        """As a worker reads them, decoded once for all: each worker's own machine does it."""
        self.requests["GET"] += 1
        held = self.held[GRANTS]
        if self._decoded[0] is not held:
            self._decoded = (held, msgspec.json.decode(held, type=LeaseGrants))
        return self._decoded[1]  # type: ignore[no-any-return]


class NoJournals:
    """Where workers write: nothing is written here."""

    def __init__(self, box: CountingBox) -> None:
        self.mailbox = box
        # When what a lost worker wrote was taken over.
        self.fetched_at: list[float] = []

    def lend(self, work: ShardWork) -> ShardWork:
        return work

    def fetch(self, work: ShardWork) -> Path | None:
        self.fetched_at.append(asyncio.get_running_loop().time())
        return None

    def adopt(self, away: Path, *, closed: bool) -> None:
        """Nothing is there."""

    def sweep(self) -> None:
        """Nothing is there."""


@dataclass
class Workers:
    """An engine whose workers settle as many rows as they are granted."""

    box: CountingBox
    address: str = "on paper"
    free: list[str] = field(default_factory=list)
    alive: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    holds: dict[str, str] = field(default_factory=dict)
    settled: Counter[int] = field(default_factory=Counter)
    began: dict[int, list[float]] = field(default_factory=dict)
    asked: int = 0
    own_cpu: float = 0.0

    def join(self, names: Collection[str]) -> None:
        self.alive |= set(names)
        self.free += names

    @contextmanager
    def counted(self) -> Iterator[None]:
        start = time.process_time()
        yield
        self.own_cpu += time.process_time() - start

    async def fitness(self, parcel: Parcel) -> dict[str, str | None]:
        self.asked += 1
        return dict.fromkeys(self.alive)

    async def settle(self, parcel: Parcel, workers: Collection[str]) -> Report:
        with self.counted():
            work = unpacked(parcel)
            while not self.free or self.free[0] not in self.alive:
                if self.free:
                    self.free.pop(0)
                    continue
                raise WorkerLost("no worker is free")
            name = self.free.pop(0)
        loop = asyncio.get_running_loop()
        self.began.setdefault(work.shard.number, []).append(loop.time())
        rows, spent, beat = 0.0, 0, 0
        while rows < work.shard.rows:
            await asyncio.sleep(BEAT_S)
            with self.counted():
                if name in self.lost:
                    # Every other one is cut off with its machine, and its engine hears nothing either.
                    await asyncio.sleep(SEEN_S if int(name[1:]) % 2 else 10**6)
                    raise WorkerLost("its process ended")
                quota = self.box.grants().leases.get(work.token)
                if quota is None:
                    continue
                step, beat = quota.rpm / 60 * BEAT_S, beat + 1
                rows, spent = rows + step, spent + int(step * ROW_USD)
                self.settled[int(loop.time())] += int(step)
                told = Heartbeat(beat, quota, settled=int(rows), usd=spent, spent=spent, verified=True)
                self.box.post(work.token, told)
        return Report(name, spent=spent, verified=True)

    async def aclose(self) -> None:
        """They live on."""


def shard(number: int) -> Shard:
    rows = ROWS // SHARDS
    return Shard(number, number * rows, rows, Cursor("f", 0, 0), f"{number:032x}")


def work_of(job: Job) -> ShardWork:
    return ShardWork("20261126T000000-abcdef", "", job, False, "http://127.0.0.1:9", "group", builtin_catalogue(),
                     "fingerprint", {}, shard(0), ())  # fmt: skip


@dataclass
class Seen:
    """What one number of workers came to."""

    workers: int
    all_leased_s: float
    put: float
    get: float
    grants_kb: float
    pool_ms: float
    start_cpu: float
    beat_s: float
    adopted_s: list[float]
    lowest: float
    recovered_s: float | None
    again_s: list[float]
    asked: int
    over: float


async def inline(function: Callable[..., Any], *arguments: Any) -> Any:
    """In place of a thread, which virtual time cannot wait for; what goes to the bucket takes its time."""
    if isinstance(getattr(function, "__self__", None), CountingBox):
        await asyncio.sleep(REQUEST_S)
    return function(*arguments)


async def simulate(workers: int, *, loses: bool) -> Seen:
    job = Job(model="gemini-3-flash", input="rows.jsonl", output="out", prompt="{{ text }}", runner="dask",
              limits={"concurrency": 10_000, "rpm": RPM}, max_cost_usd=CAP_USD)  # type: ignore[call-arg, arg-type]  # fmt: skip
    clock, box = VirtualClock(), CountingBox()
    gate = Gate(
        limiter=Limiter(RPM, None, clock.now()), concurrency=Concurrency(10_000),
        budget=Budget(CAP_USD * PICO, 0, lambda words: None), clock=clock, outage_s=60,
    )  # fmt: skip
    engine = Workers(box)
    names = [f"w{number}" for number in range(workers)]
    engine.join(names)
    progress = Progress(started_at=0.0)
    with tempfile.TemporaryDirectory() as folder:
        journals = NoJournals(box)
        pool = WorkerPool(
            engine, Layout(Path(folder)), journals, work=work_of(job), gate=gate, progress=progress, clock=clock
        )
        await pool.open()
        pool.expected = workers
        start = time.process_time()
        keeping = asyncio.create_task(pool.keep())
        left = Remaining([(0, ROWS // SHARDS - 1)], set())
        asking = [asyncio.create_task(pool.ask(shard(number), left)) for number in range(workers)]
        while len(engine.began) < workers:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        all_leased, start_cpu = clock.now(), time.process_time() - start - engine.own_cpu
        await asyncio.sleep(max(0.0, LOST_AT - 10 - clock.now()))
        before, put, get = Counter(box.requests), time.process_time(), engine.own_cpu
        grants, beats = box.bytes["grants"], pool._beat
        await asyncio.sleep(10.0)
        took = time.process_time() - put - (engine.own_cpu - get)
        a_second = {kind: (box.requests[kind] - before[kind]) / 10 for kind in ("PUT", "GET")}
        grants_kb = (box.bytes["grants"] - grants) / max(1, pool._beat - beats) / 1_000
        beat_s, adopted, lowest = 10 / max(1, pool._beat - beats), [], 1.0
        recovered, again, asked = None, [], engine.asked
        if loses:
            lost = set(names[: workers // 3])
            engine.alive -= lost
            engine.lost |= lost
            await asyncio.sleep(BACK_AT - clock.now())
            engine.join([f"n{number}" for number in range(len(lost))])
            await asyncio.sleep(END_AT - clock.now())
            full = 0.97 * RPM / 60
            recovered = next(
                (second - LOST_AT for second in range(int(LOST_AT) + 1, int(END_AT) - 1)
                 if all(engine.settled[at] >= full for at in (second, second + 1))), None,
            )  # fmt: skip
            adopted = [at - LOST_AT for at in journals.fetched_at if at > LOST_AT]
            lowest = min(engine.settled[at] for at in range(int(LOST_AT) + 1, int(BACK_AT))) / (RPM / 60)
            again = [times[1] - BACK_AT for times in engine.began.values() if len(times) > 1]
        over = max(engine.settled[second] for second in range(5, int(clock.now()) - 1)) / (RPM / 60)
        for task in [*asking, keeping]:
            task.cancel()
        await asyncio.gather(*asking, keeping, return_exceptions=True)
    return Seen(
        workers, all_leased, a_second["PUT"], a_second["GET"], grants_kb, took * 100, start_cpu, beat_s, adopted,
        lowest, recovered, again, engine.asked - asked, over,
    )  # fmt: skip


async def hop_us() -> float:
    """What one request in a thread costs the coordinator's process, in µs of CPU, the request itself left out."""
    await asyncio.gather(*(asyncio.to_thread(int) for _ in range(100)))
    start = time.process_time()
    for _ in range(20):
        await asyncio.gather(*(asyncio.to_thread(int) for _ in range(100)))
    return (time.process_time() - start) / 2_000 * 1e6


def a_row(folder: Path, rows: int = 100_000) -> dict[str, float]:
    """µs of CPU that a row costs the coordinator, by what is done with it."""
    path = folder / "rows.jsonl"
    path.write_text("".join(f'{{"id": "r{n}", "text": "what the parcel cost, number {n}"}}\n' for n in range(rows)))
    job = Job(model="gemini-3-flash", input=str(path), output=str(folder / "out"), prompt="Say {{ text }}", id="id")  # type: ignore[call-arg]
    files, found = input_files(str(path)), {}
    start = time.process_time()
    with KeyIndex(folder) as keys:
        surveyor = Surveyor(files, id_column="id", keep=(), keys=keys, sizes={}, limit=None, max_line_bytes=1 << 20)
        survey = surveyor.run_checked()
        found["survey"] = time.process_time() - start
        planner = Planner(job, builtin_catalogue()["gemini-3-flash"], sandbox=False)
        start = time.process_time()
        for one in survey.shards:
            planned = [planner.plan(row) for row in shard_rows(one, files, "id", max_line_bytes=1 << 20)]  # type: ignore[arg-type]
            asked = [(p.key, n) for n, p in enumerate(planned) if isinstance(p, Request)]
            keys.owners(asked)
        found["plan"] = time.process_time() - start
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}}
    start = time.process_time()
    asyncio.run(compact_rows(folder / "compact", schema, rows))
    found["journal and part"] = time.process_time() - start
    return {name: seconds / rows * 1e6 for name, seconds in found.items()}


def thousand() -> None:
    logging.getLogger("rowmill").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        told = a_row(Path(folder))
    total = sum(told.values())
    print("a row on the coordinator: " + ", ".join(f"{name} {us:.1f} µs" for name, us in told.items())
          + f"; {1e6 / total:,.0f} rows a second of one core")  # fmt: skip
    hop = asyncio.run(hop_us())
    threads, asyncio.to_thread = asyncio.to_thread, inline  # type: ignore[assignment]
    try:
        seen = [run_virtually(simulate(count, loses=count == 1_000)) for count in (10, 100, 1_000)]
    finally:
        asyncio.to_thread = threads
    pieces = min(1 / GATHER_AWAY_S, RPM / 60 / seen[-1].workers)
    for one in seen:
        hours = (one.put * PUT_USD + one.get * GET_USD) * 3.6
        print(f"{one.workers:5,} workers: all leased after {one.all_leased_s:.1f} s ({one.start_cpu:.1f} s of CPU); "
              f"{one.put:,.0f} PUT and {one.get:,.0f} GET a second for beats, {hours:.2f} USD an hour; a beat every "
              f"{one.beat_s:.1f} s, its grants {one.grants_kb:,.1f} kB; the pool {one.pool_ms:.1f} ms of CPU a second, "
              f"and {one.workers + 1:,} requests a beat of {hop:.0f} µs in threads; "
              f"at most {one.over:.1%} of the rate")  # fmt: skip
    last = seen[-1]
    journal = pieces * last.workers
    hours = ROWS / (RPM / 60) / 3_600
    print(f"journal: {journal:,.0f} PUT a second, {journal * PUT_USD * 3.6:,.0f} USD an hour, "
          f"{journal * PUT_USD * 3.6 * hours:,.0f} USD for {ROWS:,} rows in {hours:.1f} h")  # fmt: skip
    print(f"a third lost: {last.lowest:.0%} of the rate at the least, 97 % again after {last.recovered_s} s; their "
          f"shards taken over after {min(last.adopted_s, default=0):.0f} to {max(last.adopted_s, default=0):.0f} s; "
          f"{last.asked} looks at the workers; "
          f"{len(last.again_s)} shards gone on with, {min(last.again_s, default=0):.1f} to "
          f"{max(last.again_s, default=0):.1f} s after other workers came")  # fmt: skip
    print(f"memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024:.0f} MB at the most")


if __name__ == "__main__":
    thousand()
