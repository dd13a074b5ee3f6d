"""Open run: an output is locked, the input surveyed, what stands is taken stock of, and what settles the rest put
together. Everything that can be refused is refused here, before the first call.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path

from rowmill.schemas.attempt import Spent
from rowmill.schemas.display_text import counted
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import WITHOUT_LEDGER, Manifest, SplitStanding
from rowmill.schemas.price import Cost, parse_amount
from rowmill.schemas.row import Row, Shard, Unreadable
from rowmill.schemas.termination import Termination
from rowmill.tasks.forecast.accuracy import read_forecast
from rowmill.tasks.gateway.admission.deadline import deadline_of
from rowmill.tasks.input.formats import input_state
from rowmill.tasks.input.kept_columns import KeptColumns
from rowmill.tasks.input.kept_types import is_typed
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.line_digests import LineDigests
from rowmill.tasks.input.reader import shard_rows
from rowmill.tasks.input.stored import ABOUT, is_stored, source_of, stored_in
from rowmill.tasks.input.survey import Survey, Surveyor
from rowmill.tasks.journal.group_commit import Syncer
from rowmill.tasks.journal.ledger import LEDGER, Ledger
from rowmill.tasks.labelling.label_run import keep
from rowmill.tasks.output.answer_cache import AnswerCache, bound_usd
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.output.columns import columns_of, kept_names
from rowmill.tasks.output.folder import Output, refuse_split
from rowmill.tasks.output.inventory import Inventory, take_inventory
from rowmill.tasks.output.known_rows import StandingRows
from rowmill.tasks.output.moved_rows import MovedRows, may_move
from rowmill.tasks.output.part_footer import Footer, tally_of
from rowmill.tasks.output.part_requests import requests_in
from rowmill.tasks.output.reprojection import Projection, keep_anew
from rowmill.tasks.plan.input_checks import named_columns, refuse_bad_input, refuse_emptied
from rowmill.tasks.run.background import Background
from rowmill.tasks.run.balance_check import preflight
from rowmill.tasks.run.budget_part import forget_part, join_budget, join_cap, part_in
from rowmill.tasks.run.callers import Callers
from rowmill.tasks.run.canary import CanaryRun, close_left, seed_of
from rowmill.tasks.run.expectation import expectation_of
from rowmill.tasks.run.finished_run import FinishedRun
from rowmill.tasks.run.manifest_builder import ManifestBuilder
from rowmill.tasks.run.progress import Progress
from rowmill.tasks.run.quality_watch import QualityWatch
from rowmill.tasks.run.run import OpenRun, Run
from rowmill.tasks.run.run_plan import RunPlan
from rowmill.tasks.run.run_record import record_idle, record_killed
from rowmill.tasks.run.runner import Runner
from rowmill.tasks.run.shard_context import ShardContext
from rowmill.tasks.run.shard_runner import ShardRun
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


def _tell_missing(before: Manifest, output: Output) -> None:
    """Say that rows are about to be paid for again because their part was deleted."""
    gone = [name for name in before.parts if not (output.results / name).exists()] if before.is_complete else []
    if gone:
        more = f" and {counted(len(gone) - 1, 'more part')}" if len(gone) > 1 else ""
        log.warning(
            "%s%s not there any more: the rows are asked, and paid for, again. What they cost stays counted; to pay "
            "nothing twice stop now and put back what is missing", output.results / gone[0], more
        )  # fmt: skip


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
        output, builder = await in_thread(self._taken)
        await self._runner.take_over(output, self._clock)
        ledger, parts, is_done = await in_thread(self._standing, output, builder)
        if is_done:
            return FinishedRun(self._plan, self._clock, builder)
        return await self._opened(output, parts, builder, ledger=ledger)

    def _taken(self) -> tuple[Output, ManifestBuilder]:
        """The output, held from here on, and what it tells of itself."""
        plan, options = self._plan, self._plan.options
        output = self._stack.enter_context(closing(Output(Path(plan.job.output), self._mirror)))
        if not options.merges:
            refuse_split(output)
        record_killed(output)
        if options.fresh and (aside := output.set_aside(plan.run_id)) is not None:
            log.info("the earlier results were moved to %s", aside)
            forget_part(output)
        before = output.manifest() or Manifest()
        builder = ManifestBuilder(plan, self._clock, before)
        builder.json_text_fields = list(plan.validator.shape.json_text_fields)
        builder.split = SplitStanding() if options.merges else None
        builder.refuse_another_job(str(output.root))
        if not options.merges:
            _tell_missing(before, output)
        if plan.labelling is not None:
            keep(plan.labelling, output.root)
        return output, builder

    def _standing(self, output: Output, builder: ManifestBuilder) -> tuple[Ledger, dict[int, Footer], bool]:
        """What was spent, the parts that stand, and whether there is nothing to do."""
        plan, options = self._plan, self._plan.options
        ledger = Ledger(output.root / LEDGER, output.keep)
        close_left(output.journal, ledger)
        if options.fresh_part is not None:
            output.set_part_aside(options.fresh_part, plan.run_id)
        parts = output.parts()
        if builder.before.version == WITHOUT_LEDGER:
            ledger.begin(_spent_before_the_ledger(builder.before, parts))
        standing_rows = sum(footer.shard.rows for footer in parts.values())
        builder.input_files = input_state(plan.files)
        builder.source = source_of(plan.job, output.root)
        # A limit below what stands already takes nothing away: rows that were paid for stay.
        builder.limit = None if options.limit is None else max(options.limit, standing_rows)
        corrected = plan.labelling is not None and plan.labelling.is_new
        is_same = builder.is_shown_alike() and not corrected and options.retry_failed is None
        # The trials that chose how many rows share a call are counted after the one that became this output.
        is_same = is_same and builder.tells_of_calls(ledger.spent.calls)
        is_done = is_same and builder.was_complete(standing_rows) and part_in(output.root) is None
        if is_done:
            record_idle(output, plan, builder)
        return ledger, parts, is_done

    async def _opened(
        self, output: Output, parts: Mapping[int, Footer], builder: ManifestBuilder, *, ledger: Ledger
    ) -> Run:
        plan, job = self._plan, self._plan.job
        await in_thread(_keep_stored, output, job)
        keys = self._stack.enter_context(KeyIndex(output.journal))
        # Where no row may move, nobody looks for a line.
        lines = self._stack.enter_context(closing(LineDigests(output.journal))) if may_move(job) else None
        keep = () if is_typed(plan.files) else kept_names(job)
        standing = StandingRows(
            output, parts, plan.fingerprint, keep=keep, named=job.id is not None, lines=lines is not None
        )
        surveyor = Surveyor(
            plan.files,
            id_column=job.id,
            keep=kept_names(job),
            keys=keys,
            sizes=output.part_sizes(parts),
            limit=builder.limit,
            max_line_bytes=job.limits.max_line_bytes,
            digests=lines,
            standing=standing,
            named=[name for names in named_columns(job).values() for name in names],
        )
        survey = await in_thread(surveyor.run_checked)
        refuse_emptied(survey, job, sum(footer.shard.rows for footer in parts.values()))
        schema, types = columns_of(job, plan.validator.shape, survey, files=plan.files)
        if not is_typed(plan.files):
            plan.planner.keep_types = {name: types[name] for name in job.keep}
        kept = KeptColumns(
            plan.files,
            types,
            file_rows=survey.file_rows,
            states=builder.input_files,
            max_line_bytes=job.limits.max_line_bytes,
        )
        if not plan.options.merges:
            # What is wrong with rows that were asked was told before they were.
            refuse_bad_input(survey, job, plan.planner)
        cache = self._stack.enter_context(
            closing(AnswerCache(output.journal, plan.validator, plan.options.retry_failed))
        )
        inventory = await in_thread(
            take_inventory,
            output,
            parts,
            {shard.number: shard.digest for shard in survey.shards},
            cache=cache,
            ledger=ledger,
            fingerprint=plan.fingerprint,
            reopen=plan.options.retry_failed is not None,
        )
        cache.open()
        projection = Projection(schema, kept, plan.grader, plan.validator)
        moved = None
        if cache.parts and may_move(job):
            moved = await in_thread(MovedRows, cache.parts, schema, plan.validator, named=job.id is not None)
            self._stack.enter_context(closing(moved))
        builder.digests |= await in_thread(keep_anew, survey.shards, output, projection)
        append = self._mirror.append if self._mirror is not None else None
        syncer = self._stack.enter_context(closing(Syncer(asyncio.get_running_loop(), keep=append)))
        callers = Callers(
            job,
            plan.model,
            plan.votes,
            gateway=plan.gateway,
            validator=plan.validator,
            spent_usd=bound_usd(sum(inventory.sent.values(), ledger.spent)),
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
        context = ShardContext(
            output=output,
            job_fingerprint=plan.fingerprint,
            planner=plan.planner,
            validator=plan.validator,
            settler=callers.settler,
            keys=keys,
            answer_cache=cache,
            ledger=ledger,
            syncer=syncer,
            projection=projection,
            lines=lines,
            moved=moved,
            concurrency=job.limits.concurrency,
            rows_per_call=job.pack_size,
            reads_media=bool(job.attachments),
            run_id=plan.run_id,
            progress=progress,
            duplicates=survey.duplicates,
            rows_of=partial(_rows_of, plan),
            watch=watch,
        )
        shard_run = ShardRun(context, asks=self._runner.asks_here)
        await in_thread(_stand, inventory, output, shard_run, keys=keys, progress=progress)
        progress.total, progress.total_is_exact = survey.rows, survey.complete
        if survey.complete and plan.options.rows is None:
            progress.expectation = expectation_of(
                read_forecast(output.root),
                job=plan.fingerprint,
                rows=survey.rows,
                input_tokens=sum(tally.spent.usage.input for tally in shard_run.tallies.values()),
            )
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
            surveyor=surveyor,
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


def _spent_before_the_ledger(before: Manifest, parts: Mapping[int, Footer]) -> Spent:
    """What an output of a version without a ledger has cost, its open segments left out."""
    former = before.beside.former_cost_usd
    rows = sum((tally_of(footer).spent for footer in parts.values()), Spent())
    return rows + Spent(cost=Cost(parse_amount(former if isinstance(former, str) else "0")))
