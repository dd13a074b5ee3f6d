"""Open run: an output is locked, the input surveyed, what stands is taken stock of, and what settles the rest put
together. Everything that can be refused is refused here, before the first call.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial

from rowmill.schemas.account import Account
from rowmill.schemas.job import Job
from rowmill.schemas.row import Row, Shard, Unreadable
from rowmill.schemas.termination import Termination
from rowmill.tasks.forecast.accuracy import read_forecast
from rowmill.tasks.gateway.admission.deadline import deadline_of
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.reader import shard_rows
from rowmill.tasks.input.stored import ABOUT, is_stored, stored_in
from rowmill.tasks.input.survey import Survey
from rowmill.tasks.journal.group_commit import Syncer
from rowmill.tasks.journal.ledger import Ledger
from rowmill.tasks.output.answer_cache import bound_usd
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.output.folder import Output
from rowmill.tasks.output.inventory import Inventory
from rowmill.tasks.output.part_footer import Footer
from rowmill.tasks.output.part_requests import requests_in
from rowmill.tasks.output.reprojection import keep_anew
from rowmill.tasks.run.background import Background
from rowmill.tasks.run.balance_check import preflight
from rowmill.tasks.run.budget_part import join_budget, join_cap
from rowmill.tasks.run.callers import Callers
from rowmill.tasks.run.canary import CanaryRun, seed_of
from rowmill.tasks.run.expectation import expectation_of
from rowmill.tasks.run.finished_run import FinishedRun
from rowmill.tasks.run.held_output import hold_output, read_standing
from rowmill.tasks.run.manifest_builder import ManifestBuilder
from rowmill.tasks.run.progress import Progress
from rowmill.tasks.run.quality_watch import QualityWatch
from rowmill.tasks.run.run import OpenRun, Run
from rowmill.tasks.run.run_plan import RunPlan
from rowmill.tasks.run.runner import Runner
from rowmill.tasks.run.shard_context import ShardContext
from rowmill.tasks.run.shard_runner import ShardRun
from rowmill.tasks.run.standing_answers import StandingAnswers, SurveyedInput, find_standing, survey_input
from rowmill.tasks.system.clock import Clock
from rowmill.tasks.system.in_thread import in_thread

log = logging.getLogger("rowmill")


@asynccontextmanager
async def open_run(
    plan: RunPlan, runner: Runner, *, mirror: Mirror | None = None, clock: Clock | None = None, seed: int | None = None
) -> AsyncIterator[Run]:
    """A run over its output, which is held until the end. `mirror` keeps a bucket equal to it, where it stands there.

    Raises OutputError, InputError, JobError, DamageError, StorageError for what is refused.
    """
    async with AsyncExitStack() as stack:
        opening = _Opening(plan, runner, mirror, clock=clock or Clock(), rng=random.Random(seed), stack=stack)
        yield await opening.run()


class _Opening:
    """The steps from a plan to an open run; what they open is closed by the stack, the last first."""

    def __init__(
        self,
        plan: RunPlan,
        runner: Runner,
        mirror: Mirror | None,
        *,
        clock: Clock,
        rng: random.Random,
        stack: AsyncExitStack,
    ) -> None:
        self._plan, self._runner, self._mirror = plan, runner, mirror
        self._clock, self._rng, self._stack = clock, rng, stack

    async def run(self) -> Run:
        # Files are looked at, locked and synced in threads: others may share the loop.
        held = partial(hold_output, self._plan, self._mirror, clock=self._clock, stack=self._stack)
        output, builder = await in_thread(held)
        await self._runner.take_over(output, self._clock)
        standing = await in_thread(read_standing, self._plan, output, builder)
        if standing.is_all:
            return FinishedRun(self._plan, self._clock, builder)
        return await self._opened(output, standing.parts, builder, ledger=standing.ledger)

    async def _opened(
        self, output: Output, parts: Mapping[int, Footer], builder: ManifestBuilder, *, ledger: Ledger
    ) -> Run:
        plan, job = self._plan, self._plan.job
        await in_thread(_keep_stored, output, job)
        read = await survey_input(plan, output, parts, builder=builder, stack=self._stack)
        found = await find_standing(plan, output, parts, read=read, ledger=ledger, stack=self._stack)
        survey, inventory = read.survey, found.inventory
        builder.digests |= await in_thread(keep_anew, survey.shards, output, found.projection)
        append = self._mirror.append if self._mirror is not None else None
        syncer = self._stack.enter_context(closing(Syncer(asyncio.get_running_loop(), keep=append)))
        callers = await self._callers(output, builder, bound_usd(sum(inventory.sent.values(), ledger.spent)))
        progress = Progress(started_at=self._clock.now(), cap_usd=callers.cap_usd)
        watch = QualityWatch(
            job.stop_when,
            plan.run_id,
            callers.gate.halt,
            rows_left=lambda: progress.total - progress.done if progress.total_is_exact else None,
            suspicious=builder.stopped_for_quality,
        )
        background = Background(callers.gate, self._runner, self._mirror, clock=self._clock)
        self._stack.push_async_callback(background.aclose)
        context = self._context(
            output, read, found, callers=callers, ledger=ledger, syncer=syncer, progress=progress, watch=watch
        )
        shard_run = ShardRun(context, asks=self._runner.asks_here)
        await in_thread(_stand, inventory, output, shard_run, keys=read.keys, progress=progress)
        self._expect(output, survey, shard_run, progress=progress)
        settling = await self._runner.begin(
            plan,
            keep_types=plan.planner.keep_types,
            shards=survey.shards,
            output=output,
            shard_run=shard_run,
            gate=callers.gate,
            progress=progress,
            clock=self._clock,
        )
        await background.share_limits(plan)
        await self._check_balance(survey, callers, shard_run)
        run = OpenRun(
            plan,
            self._clock,
            builder,
            progress=progress,
            survey=survey,
            surveyor=read.surveyor,
            output=output,
            context=context,
            shard_run=shard_run,
            settling=settling,
            gate=callers.gate,
            background=background,
            watch=watch,
            canary=CanaryRun(job.canary, context, seed_of(plan.run_id)) if job.canary is not None else None,
            rng=self._rng,
            standing=set(inventory.parts),
            open_shards=self._runner.open_shards,
        )
        await run.write_manifest()
        if self._mirror is not None:
            # What was set aside stands in the bucket before anything is written in its place.
            await in_thread(self._mirror.push)
        return run

    async def _callers(self, output: Output, builder: ManifestBuilder, spent_usd: int) -> Callers:
        """Who calls the gateway, with its limits, its money and its deadline. `spent_usd`: 10⁻¹² USD until now."""
        plan, job = self._plan, self._plan.job
        callers = Callers(
            job,
            plan.model,
            plan.votes,
            gateway=plan.gateway,
            validator=plan.validator,
            spent_usd=spent_usd,
            clock=self._clock,
            rng=self._rng,
            run_id=plan.run_id,
        )
        self._stack.push_async_callback(callers.aclose)
        daily = callers.gate.daily = await join_budget(plan, output, callers.gate, clock=self._clock)
        if daily is not None:
            builder.budget = daily.spending
            self._stack.push_async_callback(daily.aclose)
        shared_cap = callers.gate.shared_cap = await join_cap(plan, output, callers.gate, clock=self._clock)
        if shared_cap is not None:
            self._stack.push_async_callback(shared_cap.aclose)
        told = builder.deadline_before if plan.options.resumes else None
        callers.gate.deadline = deadline_of(job, self._clock.wall(), told)
        builder.deadline = callers.gate.deadline.at if callers.gate.deadline is not None else None
        return callers

    def _context(
        self,
        output: Output,
        read: SurveyedInput,
        found: StandingAnswers,
        *,
        callers: Callers,
        ledger: Ledger,
        syncer: Syncer,
        progress: Progress,
        watch: QualityWatch,
    ) -> ShardContext:
        plan, job = self._plan, self._plan.job
        return ShardContext(
            output=output,
            job_fingerprint=plan.fingerprint,
            planner=plan.planner,
            validator=plan.validator,
            settler=callers.settler,
            keys=read.keys,
            answer_cache=found.cache,
            open_accounts=_by_request(found.inventory.accounts),
            ledger=ledger,
            syncer=syncer,
            projection=found.projection,
            lines=read.lines,
            moved=found.moved,
            concurrency=job.limits.concurrency,
            rows_per_call=job.pack_size,
            reads_media=bool(job.attachments),
            run_id=plan.run_id,
            progress=progress,
            duplicates=read.survey.duplicates,
            rows_of=partial(_rows_of, plan),
            watch=watch,
        )

    def _expect(self, output: Output, survey: Survey, shard_run: ShardRun, *, progress: Progress) -> None:
        """How many rows there are, and what a forecast made of them."""
        plan = self._plan
        progress.total, progress.total_is_exact = survey.rows, survey.complete
        if survey.complete and plan.options.rows is None:
            progress.expectation = expectation_of(
                read_forecast(output.root),
                job=plan.fingerprint,
                rows=survey.rows,
                input_tokens=sum(tally.spent.usage.input for tally in shard_run.tallies.values()),
            )

    async def _check_balance(self, survey: Survey, callers: Callers, shard_run: ShardRun) -> None:
        """Stop or warn where the key's balance does not cover what is asked."""
        plan = self._plan
        left = survey.rows - sum(tally.rows for tally in shard_run.tallies.values())
        if plan.model.base_url is not None or not left:
            return
        calls = left * plan.job.fewest_votes
        client = callers.clients[plan.model.name]
        found = await preflight(
            client, plan.model, plan.planner, sample=survey.sample, calls=calls, rows_per_call=plan.job.pack_size
        )
        if isinstance(found, Termination):
            callers.gate.halt(found)
        elif found is not None:
            log.warning("%s", found)


def _by_request(accounts: Sequence[Account]) -> dict[bytes, Account]:
    """Each request's account that has come furthest."""
    return {bytes.fromhex(one.key): one for one in sorted(accounts, key=lambda account: account.reached)}


def _stand(inventory: Inventory, output: Output, shard_run: ShardRun, *, keys: KeyIndex, progress: Progress) -> None:
    """What of the output holds: its parts need no call, and what they asked is not asked again."""
    shard_run.sent_before(inventory.sent)
    shard_run.tallies.update(inventory.tallies)
    for number, footer in inventory.parts.items():
        shard_run.standing(footer.shard, inventory.tallies[number])
        progress.begin(inventory.tallies[number])
        for asked in requests_in(output.part_path(number)):
            keys.own(asked.keys, asked.rows, asked.is_shared)


def _rows_of(plan: RunPlan, shard: Shard) -> Iterator[Row | Unreadable]:
    return shard_rows(shard, list(plan.files), plan.job.id, max_line_bytes=plan.job.limits.max_line_bytes)


def _keep_stored(output: Output, job: Job) -> None:
    """Rows that cannot be read twice are in the bucket before the first call: whoever goes on from elsewhere, and the
    workers of a cluster, read the same. Raises StorageError.
    """
    found = stored_in(output.root) if is_stored(job) else None
    if found is None or (mirror := output.mirror) is None:
        return
    rows, about = output.root / found.file, output.root / ABOUT
    if not mirror.holds(rows):
        # What tells of other rows must not stand beside these.
        mirror.drop(about)
        mirror.keep(rows)
    mirror.keep(about)
