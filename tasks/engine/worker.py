"""Worker: what an engine runs in a process elsewhere: the rows of one shard, asked under a lease."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from schemas.errors import InputError, RowmillError, StorageError
from schemas.outcome import Outcome
from schemas.request import Request
from schemas.row import Row, Unreadable
from tasks import read
from tasks.clock import Clock
from tasks.crew import Crew
from tasks.engine.away import AwayLayout, begin
from tasks.engine.board import BEAT_S, LEASE_S, ORDERS, Board, Orders, Portion, Told
from tasks.engine.work import Parcel, Report, ShardWork, unpacked
from tasks.former import FormerAnswers
from tasks.gateway.access import SANDBOX_KEY, Gateway
from tasks.gateway.admission import refused_storage
from tasks.gateway.fleet import group_of
from tasks.keys import KeyIndex
from tasks.label_run import planned_votes
from tasks.labels import as_asked
from tasks.ledger import rowmill_version
from tasks.loop import fastest_loop
from tasks.owner import this_process
from tasks.plan import Planner
from tasks.progress import Progress
from tasks.shard import ShardRun, Stage
from tasks.source import InputFile
from tasks.survey import digest_of
from tasks.syncer import Syncer
from tasks.traffic import traffic_at
from tasks.validate import Validator


def settle_parcel(parcel: Parcel) -> Report:
    """Ask the rows of a shard. Never raises for what a user can mend: the report tells it."""
    if (reason := unfit(parcel)) is not None:
        return Report(this_process(), refused=reason)
    work = unpacked(parcel)
    try:
        if (files := files_of(work)) is None:
            told = "has other rows there, or cannot be read: name an input that all machines see alike"
            return Report(this_process(), refused=f"{work.shard.start.file} {told}")
        with asyncio.Runner(loop_factory=fastest_loop()) as runner:
            return runner.run(_Holder(work, files).settle())
    except StorageError as error:
        return Report(this_process(), halt=refused_storage(error))
    except RowmillError as error:
        return Report(this_process(), refused=str(error))


def unfit(parcel: Parcel, environment: Mapping[str, str] = os.environ) -> str | None:
    """Why this process cannot work for that run; None where it can."""
    version = rowmill_version()
    if parcel.version != version:
        return f"rowmill {version} is installed there, and this run is of {parcel.version}: install the same"
    work = unpacked(parcel)
    if not _key(work, environment):
        told = "another one" if environment.get("ROWMILL_API_KEY") else "not set"
        return f"ROWMILL_API_KEY is {told} there: give every worker the run's key in its environment"
    orders = Board(Path(work.job.output)).read(ORDERS, Orders)
    if orders is None or orders.run != work.run_id:
        return f"{work.job.output} is another folder there: name an output on a file system that all machines mount"
    return None


def files_of(work: ShardWork) -> list[InputFile] | None:
    """The input's files, where the shard's rows in them are those of the run."""
    try:
        files = read.input_files(work.job.input)
        return files if digest_of(work.shard, files, work.job.limits.max_line_bytes) == work.shard.digest else None
    except (InputError, ValueError, OSError):
        return None


def _key(work: ShardWork, environment: Mapping[str, str]) -> str | None:
    """The run's key, where this process has it."""
    known = (environment.get("ROWMILL_API_KEY", "").strip(), SANDBOX_KEY if work.sandbox else "")
    return next((key for key in known if key and group_of(work.base_url, key) == work.group), None)


def within(ranges: Sequence[tuple[int, int]]) -> Callable[[int], bool]:
    """Whether a row's position lies in one of these ranges (both ends inclusive), which stand in order."""
    firsts = [first for first, _ in ranges]

    def holds(row: int) -> bool:
        at = bisect_right(firsts, row) - 1
        return at >= 0 and row <= ranges[at][1]

    return holds


class LeasedRun(ShardRun):
    """Rows that the coordinator has planned already: here each of them can be asked too, or this is the wrong place."""

    def _planned(self, row: Row | Unreadable) -> Request | Outcome:
        told = super()._planned(row)
        if isinstance(told, Outcome):
            raise InputError(
                f"the row cannot be asked by this worker: {told.error_message}",
                where=f"row {told.row_index}",
                mend="let all machines see the same input and media_root",
            )
        return told


class _Holder:
    """The holder of a lease: asks the rows while the coordinator is heard, and says how it goes."""

    def __init__(self, work: ShardWork, files: list[InputFile]) -> None:
        self._work, self._files, self._clock = work, files, Clock()
        self._layout = AwayLayout(Path(work.job.output), work.token)
        self._board = Board(self._layout.root)
        self._progress = Progress()
        self._portion = Portion()
        self._beat: int | None = None
        self._said = 0

    async def settle(self) -> Report:
        """Raises StorageError, DamageError."""
        orders = self._board.read(ORDERS, Orders)
        if orders is None or self._work.token not in orders.leases or not self._board.claim(self._work.token):
            return Report(this_process(), taken=True)
        begin(self._layout, self._work.shard)
        with tempfile.TemporaryDirectory(prefix="rowmill-") as scratch, KeyIndex(Path(scratch) / "keys.sqlite") as keys:
            return await self._settle(orders, keys, FormerAnswers(Path(scratch), Validator(None), None))

    async def _settle(self, orders: Orders, keys: KeyIndex, former: FormerAnswers) -> Report:
        syncer, crew, runs = self._put_together(keys, former)
        self._admission, self._runs = crew.admission, runs
        self._admission.on_halt = runs.cancel_waiting
        try:
            self._heed(orders)
            keeping = asyncio.create_task(self._keep())
            try:
                await runs.settle_in_journal(self._work.shard)
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
        finally:
            await crew.aclose()
            syncer.close()
        budget = self._admission.budget
        return Report(
            this_process(), halt=self._admission.termination, spent=budget.spent, proved=self._admission.proved
        )

    def _put_together(self, keys: KeyIndex, former: FormerAnswers) -> tuple[Syncer, Crew, ShardRun]:
        work, job = self._work, self._work.job
        asked = as_asked(job)
        model = work.models[job.model]
        planner = Planner(asked, model, sandbox=work.sandbox, run_id=work.run_id)
        planner.keep_types = work.keep_types
        validator = Validator(asked.output_schema)
        crew = Crew(
            job, model, planned_votes(job, model, work.models, sandbox=work.sandbox),
            Gateway(work.base_url, _key(work, os.environ) or ""), validator=validator, spent_usd=0, clock=self._clock,
            rng=random.Random(), run_id=work.run_id, is_portion=True,
        )  # fmt: skip
        syncer = Syncer(asyncio.get_running_loop())
        runs = LeasedRun(
            Stage(
                output=self._layout,
                job_fingerprint=work.fingerprint,
                planner=planner,
                validator=validator,
                settler=crew.settler,
                keys=keys,
                former=former,
                syncer=syncer,
                results_schema=None,
                concurrency=job.limits.concurrency,
                reads_media=bool(job.attachments),
                run_id=work.run_id,
                progress=self._progress,
                duplicates={},
                rows_of=lambda shard: read.shard_rows(shard, self._files, job.id, job.limits.max_line_bytes),
            )
        )
        runs.only = within(work.ranges)
        return syncer, crew, runs

    async def _keep(self) -> None:
        while True:
            told = self._told()
            with suppress(OSError):
                # The journal tells of a disk that refuses; without a word of ours the coordinator takes the shard back.
                await asyncio.to_thread(self._board.post, self._work.token, told)
            await asyncio.sleep(BEAT_S)
            if (orders := await asyncio.to_thread(self._board.read, ORDERS, Orders)) is not None:
                self._heed(orders)

    def _heed(self, orders: Orders) -> None:
        """Go by the coordinator's orders; a beat that is new keeps the lease."""
        if orders.run != self._work.run_id or orders.beat == self._beat:
            return
        self._beat = orders.beat
        portion = orders.leases.get(self._work.token)
        if portion is not None:
            self._admission.valid_until = self._clock.now() + LEASE_S
            self._admission.take_share(portion.rpm, portion.tpm)
            self._admission.take_portion(portion.concurrency, portion.usd)
            self._portion = portion
        if orders.proved:
            self._admission.prove()
        if orders.halt is not None:
            self._admission.halt(orders.halt)
        if orders.at_once:
            self._runs.cancel_all()

    def _told(self) -> Told:
        """How it goes. What is held counts as ours until it is spent or given back."""
        admission, progress = self._admission, self._progress
        budget, held = admission.budget, self._portion
        spent = budget.spent + budget.reserved
        self._said += 1
        return Told(
            self._said,
            Portion(
                held.rpm,
                held.tpm,
                max(held.concurrency, admission.in_flight),
                None if held.usd is None else max(held.usd, spent),
            ),
            traffic_at(admission, self._clock.now()),
            progress.settled,
            progress.not_ok - progress.not_ok_before,
            progress.usd - progress.usd_before,
            spent,
            budget.short,
            admission.proved,
            admission.termination,
        )
