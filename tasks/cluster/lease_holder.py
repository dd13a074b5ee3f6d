"""Lease holder: asks the rows of a shard while its coordinator is heard, and reports how that ended."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rowmill.tasks.answers.validator import Validator
from rowmill.tasks.cluster.fitness import elsewhere, files_of, key_of
from rowmill.tasks.cluster.lease_beats import LeaseBeats
from rowmill.tasks.cluster.leased_rows import LeasedRequests, within
from rowmill.tasks.cluster.mailbox import BEAT_S, GRANTS, LeaseGrants
from rowmill.tasks.cluster.messages import Report, ShardWork
from rowmill.tasks.cluster.worker_output import WorkerOutput, mailbox_of, worker_output
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.input import reader as read
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.journal.group_commit import Keep, Syncer
from rowmill.tasks.output.answer_cache import AnswerCache
from rowmill.tasks.plan.label_answer import validator_of
from rowmill.tasks.plan.label_prompt import as_asked
from rowmill.tasks.plan.planner import Planner
from rowmill.tasks.plan.vote_planners import planned_votes
from rowmill.tasks.run.callers import Callers
from rowmill.tasks.run.progress import Progress
from rowmill.tasks.run.shard_context import ShardContext
from rowmill.tasks.run.shard_runner import ShardRun
from rowmill.tasks.system.clock import Clock
from rowmill.tasks.system.process import this_process

GRANT_LOOKS = 3


class LeaseHolder:
    """The holder of one lease, in the worker's process."""

    def __init__(self, work: ShardWork) -> None:
        """Raises OutputError, JobError where the output cannot be reached, SchemaError."""
        self._work, self._clock = work, Clock()
        self._validator = validator_of(as_asked(work.job))
        self._mailbox = mailbox_of(work)
        self._progress = Progress()

    async def settle(self) -> Report:
        """Raises StorageError, DamageError, InputError, OutputError."""
        # Together, since two of them take a round trip to a bucket. To claim a lease that has ended changes nothing.
        grants, not_ours, files = await asyncio.gather(
            asyncio.to_thread(self._granted),
            asyncio.to_thread(self._claimed),
            asyncio.to_thread(files_of, self._work),
        )
        if grants is None or grants.run != self._work.run_id:
            return Report(this_process(), refused=elsewhere(self._work))
        if self._work.token not in grants.leases:
            return Report(this_process(), taken=True)
        if not_ours is not None:
            return not_ours
        if files is None:
            told = "has other rows there, or cannot be read: name an input that all machines see alike"
            return Report(this_process(), refused=f"{self._work.shard.start.file} {told}")
        return await self._settle(grants, files)

    def _granted(self) -> LeaseGrants | None:
        """The coordinator's grants, asked for again where the bucket did not give them."""
        for _ in range(GRANT_LOOKS):
            if (grants := self._mailbox.read(GRANTS, LeaseGrants)) is not None:
                return grants
            time.sleep(BEAT_S)
        return None

    def _claimed(self) -> Report | None:
        """Take up the lease; what there is to report where that cannot be."""
        try:
            return None if self._mailbox.claim(self._work.token) else Report(this_process(), taken=True)
        except OSError as error:
            where = self._work.address or self._work.job.output
            return Report(this_process(), refused=f"it cannot write to {where}: {error.strerror}")

    async def _settle(self, grants: LeaseGrants, files: list[InputFile]) -> Report:
        with ExitStack() as stack:
            output = stack.enter_context(worker_output(self._work))
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rowmill-")))
            keys = stack.enter_context(KeyIndex(scratch))
            callers = self._callers()
            gate = callers.gate
            syncer = Syncer(asyncio.get_running_loop(), keep=_keep_of(output, lambda: beats.first_piece_stored()))
            try:
                context = self._context(output, callers, files=files, keys=keys, scratch=scratch, syncer=syncer)
                runs = ShardRun(context, requests=LeasedRequests(context))
                runs.take_only(within(self._work.ranges))
                # An answer that is paid for must not be lost with this machine.
                gate.holds_until_stored = output.keep is not None
                if self._work.begins_wide:
                    gate.concurrency.begin_at(self._work.window)
                gate.on_halt = runs.cancel_waiting
                beats = LeaseBeats(
                    self._work, self._mailbox, gate, runs=runs, progress=self._progress, clock=self._clock
                )
                beats.apply(grants)
                await self._ask(runs, beats)
            finally:
                await callers.aclose()
                syncer.close()
            await asyncio.to_thread(output.close, self._work.shard.number)
        return Report(
            this_process(), halt=gate.termination, spent=gate.budget.spent, verified=gate.verified,
            window=gate.concurrency.narrowed,
        )  # fmt: skip

    async def _ask(self, runs: ShardRun, beats: LeaseBeats) -> None:
        keeping = asyncio.create_task(beats.keep())
        try:
            await runs.settle_in_journal(self._work.shard)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    def _callers(self) -> Callers:
        work, job = self._work, self._work.job
        model = work.models[job.model]
        return Callers(
            job, model, planned_votes(job, model, work.models, sandbox=work.sandbox),
            gateway=Gateway(work.base_url, key_of(work, os.environ) or ""), validator=self._validator,
            spent_usd=0, clock=self._clock, rng=random.Random(), run_id=work.run_id, is_quota=True,
        )  # fmt: skip

    def _context(
        self,
        output: WorkerOutput,
        callers: Callers,
        *,
        files: list[InputFile],
        keys: KeyIndex,
        scratch: Path,
        syncer: Syncer,
    ) -> ShardContext:
        work, job = self._work, self._work.job
        planner = Planner(as_asked(job), work.models[job.model], sandbox=work.sandbox, run_id=work.run_id)
        planner.keep_types = work.keep_types
        return ShardContext(
            output=output.layout,
            job_fingerprint=work.fingerprint,
            planner=planner,
            validator=self._validator,
            settler=callers.settler,
            keys=keys,
            answer_cache=AnswerCache(scratch, Validator(None), None),
            open_accounts={},
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
            rows_of=lambda shard: read.shard_rows(shard, files, job.id, max_line_bytes=job.limits.max_line_bytes),
        )


def _keep_of(output: WorkerOutput, on_first: Callable[[], None]) -> Keep | None:
    """As the output's own; `on_first` is called in the loop once the first piece stands there."""
    if (keep := output.keep) is None:
        return None
    loop, is_told = asyncio.get_running_loop(), False

    def keep_and_tell(path: Path, end: int) -> None:
        nonlocal is_told
        keep(path, end)
        if not is_told:
            is_told = True
            loop.call_soon_threadsafe(on_first)

    return keep_and_tell
