"""Worker: what an engine runs in a process elsewhere: the rows of one shard, asked under a lease."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from rowmill.schemas.errors import InputError, RowmillError, StorageError
from rowmill.schemas.outcome import Outcome
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row, Unreadable
from rowmill.tasks.answers.validator import Validator
from rowmill.tasks.cluster.mailbox import BEAT_S, GRANTS, Heartbeat, LeaseGrants, Quota
from rowmill.tasks.cluster.messages import Parcel, Report, ShardWork, unpacked
from rowmill.tasks.cluster.worker_input import input_of
from rowmill.tasks.cluster.worker_output import WorkerOutput, mailbox_of, refused_by, worker_output
from rowmill.tasks.gateway.admission.halts import refused_storage
from rowmill.tasks.gateway.admission.shared_limits import group_of
from rowmill.tasks.gateway.admission.traffic import traffic_at
from rowmill.tasks.gateway.credentials import SANDBOX_KEY, Gateway
from rowmill.tasks.input import reader as read
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.shard_cut import digest_of
from rowmill.tasks.journal.group_commit import Keep, Syncer
from rowmill.tasks.output.answer_cache import AnswerCache
from rowmill.tasks.plan.label_answer import validator_of
from rowmill.tasks.plan.label_prompt import as_asked
from rowmill.tasks.plan.planner import Planner
from rowmill.tasks.plan.vote_planners import planned_votes
from rowmill.tasks.run.callers import Callers
from rowmill.tasks.run.manifest_builder import rowmill_version
from rowmill.tasks.run.progress import Progress
from rowmill.tasks.run.row_requests import RowRequests
from rowmill.tasks.run.shard_context import ShardContext
from rowmill.tasks.run.shard_runner import ShardRun
from rowmill.tasks.system.clock import Clock
from rowmill.tasks.system.event_loop import fastest_loop
from rowmill.tasks.system.process import this_process

GRANT_LOOKS = 3


def settle_parcel(parcel: Parcel) -> Report:
    """Ask the rows of a shard. Never raises for what a user can mend: the report tells it."""
    if (reason := _unlike(parcel, os.environ)) is not None:
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
    if (reason := _unlike(parcel, environment)) is not None:
        return reason
    work = unpacked(parcel)
    if (reason := refused_by(work)) is not None:
        return reason
    grants = mailbox_of(work).read(GRANTS, LeaseGrants)
    return None if grants is not None and grants.run == work.run_id else _elsewhere(work)


def _unlike(parcel: Parcel, environment: Mapping[str, str]) -> str | None:
    """What differs here from the run, of what a process knows without asking anyone; None where nothing does."""
    version = rowmill_version()
    if parcel.version != version:
        return f"rowmill {version} is installed there, and this run is of {parcel.version}: install the same"
    work = unpacked(parcel)
    if _key(work, environment) is None:
        told = "another one" if environment.get("ROWMILL_API_KEY") else "not set"
        return f"ROWMILL_API_KEY is {told} there: give every worker the run's key in its environment"
    return None


def _elsewhere(work: ShardWork) -> str:
    """Why a process that does not find the coordinator's grants cannot work for its run."""
    if work.address is not None:
        return f"{work.address} is another bucket there: give every worker the coordinator's address of its server"
    return f"{work.job.output} is another folder there: name an output on a file system that all machines mount"


def files_of(work: ShardWork) -> list[InputFile] | None:
    """The input's files, where the shard's rows in them are those of the run.

    Raises InputError, OutputError where the rows that the output stores cannot be had.
    """
    if work.stored is not None:
        return _with_its_rows(work, input_of(work))
    try:
        return _with_its_rows(work, input_of(work))
    except (InputError, ValueError, OSError):
        return None


def _with_its_rows(work: ShardWork, files: list[InputFile]) -> list[InputFile] | None:
    return files if digest_of(work.shard, files, work.job.limits.max_line_bytes) == work.shard.digest else None


def _key(work: ShardWork, environment: Mapping[str, str]) -> str | None:
    """The run's key, where this process has it."""
    # A run whose models need no key has an empty one.
    known = (environment.get("ROWMILL_API_KEY", "").strip(), SANDBOX_KEY if work.sandbox else "")
    return next((key for key in known if group_of(work.base_url, key) == work.group), None)


def within(ranges: Sequence[tuple[int, int]]) -> Callable[[int], bool]:
    """Whether a row's position lies in one of these ranges (both ends inclusive), which stand in order."""
    firsts = [first for first, _ in ranges]

    def holds(row: int) -> bool:
        at = bisect_right(firsts, row) - 1
        return at >= 0 and row <= ranges[at][1]

    return holds


class LeasedRequests(RowRequests):
    """Rows that the coordinator has planned already: here each of them can be asked too, or this is the wrong place."""

    def plan(self, rows: Sequence[Row | Unreadable]) -> list[Request | Outcome]:
        """Each row's request. Raises InputError where one cannot be asked."""
        planned = super().plan(rows)
        for told in planned:
            if isinstance(told, Outcome):
                raise InputError(
                    f"the row cannot be asked by this worker: {told.error_message}",
                    where=f"row {told.row_index}",
                    hint="let all machines see the same input and media_root",
                )
        return planned


class _Holder:
    """The holder of a lease: asks the rows while the coordinator is heard, and says how it goes."""

    def __init__(self, work: ShardWork, files: list[InputFile]) -> None:
        self._work, self._files, self._clock = work, files, Clock()
        self._mailbox = mailbox_of(work)
        # Whether what a kill would take with it is bounded: in a folder it takes nothing.
        self._begun = work.address is None
        self._is_verified = False
        self._progress = Progress()
        self._quota = Quota()
        self._beat: int | None = None
        self._said = 0

    async def settle(self) -> Report:
        """Raises StorageError, DamageError."""
        # Together, since either takes a round trip to a bucket. To claim a lease that has ended changes nothing.
        grants, not_ours = await asyncio.gather(asyncio.to_thread(self._granted), asyncio.to_thread(self._claimed))
        if grants is None or grants.run != self._work.run_id:
            return Report(this_process(), refused=_elsewhere(self._work))
        if self._work.token not in grants.leases:
            return Report(this_process(), taken=True)
        if not_ours is not None:
            return not_ours
        with (
            worker_output(self._work) as output,
            tempfile.TemporaryDirectory(prefix="rowmill-") as scratch,
            KeyIndex(Path(scratch)) as keys,
        ):
            return await self._settle(
                grants, output, keys, answer_cache=AnswerCache(Path(scratch), Validator(None), None)
            )

    def _claimed(self) -> Report | None:
        """Take up the lease; what there is to report where that cannot be."""
        try:
            return None if self._mailbox.claim(self._work.token) else Report(this_process(), taken=True)
        except OSError as error:
            where = self._work.address or self._work.job.output
            return Report(this_process(), refused=f"it cannot write to {where}: {error.strerror}")

    def _granted(self) -> LeaseGrants | None:
        """The coordinator's grants, asked for again where the bucket did not give them."""
        for _ in range(GRANT_LOOKS):
            if (grants := self._mailbox.read(GRANTS, LeaseGrants)) is not None:
                return grants
            time.sleep(BEAT_S)
        return None

    async def _settle(
        self, grants: LeaseGrants, output: WorkerOutput, keys: KeyIndex, *, answer_cache: AnswerCache
    ) -> Report:
        syncer, callers, runs = self._put_together(output, keys, answer_cache)
        self._gate, self._runs = callers.gate, runs
        # An answer that is paid for must not be lost with this machine.
        self._gate.holds_until_stored = output.keep is not None
        self._gate.on_halt, self._gate.deadline = runs.cancel_waiting, self._work.deadline
        try:
            self._apply(grants)
            keeping = asyncio.create_task(self._keep())
            try:
                await runs.settle_in_journal(self._work.shard)
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
        finally:
            await callers.aclose()
            syncer.close()
        await asyncio.to_thread(output.close, self._work.shard.number)
        budget = self._gate.budget
        return Report(this_process(), halt=self._gate.termination, spent=budget.spent, verified=self._gate.verified)

    def _put_together(
        self, output: WorkerOutput, keys: KeyIndex, answer_cache: AnswerCache
    ) -> tuple[Syncer, Callers, ShardRun]:
        work, job = self._work, self._work.job
        asked = as_asked(job)
        model = work.models[job.model]
        planner = Planner(asked, model, sandbox=work.sandbox, run_id=work.run_id)
        planner.keep_types = work.keep_types
        validator = validator_of(asked)
        callers = Callers(
            job, model, planned_votes(job, model, work.models, sandbox=work.sandbox),
            gateway=Gateway(work.base_url, _key(work, os.environ) or ""), validator=validator, spent_usd=0,
            clock=self._clock, rng=random.Random(), run_id=work.run_id, is_quota=True,
        )  # fmt: skip
        syncer = Syncer(asyncio.get_running_loop(), keep=self._keep_of(output))
        context = ShardContext(
            output=output.layout,
            job_fingerprint=work.fingerprint,
            planner=planner,
            validator=validator,
            settler=callers.settler,
            keys=keys,
            answer_cache=answer_cache,
            ledger=None,
            syncer=syncer,
            projection=None,
            lines=None,
            moved=None,
            concurrency=job.limits.concurrency,
            rows_per_call=job.pack_size,
            reads_media=bool(job.attachments),
            run_id=work.run_id,
            progress=self._progress,
            duplicates={},
            rows_of=lambda shard: read.shard_rows(shard, self._files, job.id, max_line_bytes=job.limits.max_line_bytes),
        )
        runs = ShardRun(context, requests=LeasedRequests(context))
        runs.take_only(within(work.ranges))
        return syncer, callers, runs

    def _keep_of(self, output: WorkerOutput) -> Keep | None:
        """As the output's own; calls go together once the first piece stands there, which tells what a call may cost:
        by it the coordinator bounds those that nobody hears of any more.
        """
        if (keep := output.keep) is None:
            return None
        loop = asyncio.get_running_loop()

        def keep_and_tell(path: Path, end: int) -> None:
            keep(path, end)
            if not self._begun:
                loop.call_soon_threadsafe(self._begin)

        return keep_and_tell

    def _begin(self) -> None:
        self._begun = True
        if self._is_verified:
            self._gate.verify()

    async def _keep(self) -> None:
        while True:
            told = self._told()
            with suppress(OSError):
                # The journal tells of a disk that refuses; without a word of ours the coordinator takes the shard back.
                await asyncio.to_thread(self._mailbox.post, self._work.token, told)
            await asyncio.sleep(BEAT_S)
            if (grants := await asyncio.to_thread(self._mailbox.read, GRANTS, LeaseGrants)) is not None:
                self._apply(grants)

    def _apply(self, grants: LeaseGrants) -> None:
        """Go by the coordinator's orders; a beat that is new keeps the lease."""
        if grants.run != self._work.run_id or grants.beat == self._beat:
            return
        self._beat = grants.beat
        quota = grants.leases.get(self._work.token)
        if quota is not None:
            self._gate.valid_until = self._clock.now() + self._mailbox.lease_s
            self._gate.take_share(quota.rpm, quota.tpm)
            self._gate.take_quota(quota.concurrency, quota.usd)
            self._quota = quota
        self._is_verified = self._is_verified or grants.verified
        if self._is_verified and self._begun:
            self._gate.verify()
        if grants.halt is not None:
            self._gate.halt(grants.halt)
        if grants.force:
            self._runs.cancel_all()

    def _told(self) -> Heartbeat:
        """How it goes. What is held counts as ours until it is spent or given back."""
        gate, progress = self._gate, self._progress
        budget, held = gate.budget, self._quota
        spent = budget.spent + budget.reserved
        self._said += 1
        return Heartbeat(
            self._said,
            Quota(
                held.rpm,
                held.tpm,
                max(held.concurrency, gate.in_flight),
                None if held.usd is None else max(held.usd, spent),
            ),
            traffic_at(gate, self._clock.now()),
            progress.settled,
            progress.not_ok - progress.not_ok_before,
            progress.usd - progress.usd_before,
            spent,
            budget.short,
            gate.verified,
            gate.termination,
        )
