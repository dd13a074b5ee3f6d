"""Run: one execution of a job that is open: its shards are settled, it may be stopped, and its end is written down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from rowmill.schemas.attempt import Spent
from rowmill.schemas.catalogue import Model
from rowmill.schemas.errors import StorageError
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.row import Shard
from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.tasks.forecast.first_guess import first_guess_usd
from rowmill.tasks.gateway.admission.gate import Gate
from rowmill.tasks.gateway.admission.halts import refused_storage
from rowmill.tasks.input.survey import Survey, Surveyor
from rowmill.tasks.labelling.gate import Judged, Verdict
from rowmill.tasks.labelling.label_run import correct, weigh
from rowmill.tasks.output.folder import Output
from rowmill.tasks.output.part_footer import part_digest
from rowmill.tasks.output.reprojection import keep_anew
from rowmill.tasks.run.background import Background
from rowmill.tasks.run.canary import CanaryRun
from rowmill.tasks.run.closing import close_output, conclude_fields, conclude_labelling, conclude_quote
from rowmill.tasks.run.finished_run import FinishedRun
from rowmill.tasks.run.manifest_builder import ManifestBuilder
from rowmill.tasks.run.progress import Progress
from rowmill.tasks.run.quality_watch import QualityWatch
from rowmill.tasks.run.run_plan import Options, RunPlan
from rowmill.tasks.run.run_record import record_run
from rowmill.tasks.run.runner import SettlesShards
from rowmill.tasks.run.shard_context import ShardContext
from rowmill.tasks.run.shard_runner import ShardReport, ShardRun
from rowmill.tasks.run.stop import Stop
from rowmill.tasks.system.clock import Clock
from rowmill.tasks.system.in_thread import in_thread

PILOT_ENDED = Termination(
    TerminationKind.INTERRUPTED, "pilot", "the pilot's rows are settled", "Run the job: it goes on from there"
)
HEAR_S = 1.0


class OpenRun:
    """A run that has rows to settle."""

    nothing_to_do = False

    def __init__(
        self,
        plan: RunPlan,
        clock: Clock,
        manifest_builder: ManifestBuilder,
        *,
        progress: Progress,
        survey: Survey,
        surveyor: Surveyor,
        output: Output,
        context: ShardContext,
        shard_run: ShardRun,
        settling: SettlesShards,
        gate: Gate,
        background: Background,
        watch: QualityWatch,
        canary: CanaryRun | None,
        rng: random.Random,
        standing: set[int],
        open_shards: int,
    ) -> None:
        """`standing` are the numbers of the shards whose parts are written."""
        self.plan, self.clock, self.manifest_builder = plan, clock, manifest_builder
        self.progress, self.gate, self.background = progress, gate, background
        self.open_shards = open_shards
        self.manifest: Manifest | None = None
        self._output, self._survey, self._surveyor = output, survey, surveyor
        self._context, self._shard_run, self._settling = context, shard_run, settling
        self._watch, self._canary, self._rng = watch, canary, rng
        self._standing = standing
        self._only: frozenset[int] | None = None
        self._writing = asyncio.Lock()
        self._sent_before = self.sent
        self.take_only(plan.options.rows)
        self.stop = Stop(
            plan.job,
            gate,
            background=background,
            shard_run=shard_run,
            cache=context.answer_cache,
            watch=watch,
            canary=canary,
        )

    @property
    def job(self) -> Job:
        return self.plan.job

    @property
    def model(self) -> Model:
        return self.plan.model

    @property
    def options(self) -> Options:
        return self.plan.options

    @property
    def begins_anew(self) -> bool:
        """Whether nothing stands in the output of any run before, nor was moved aside for this one."""
        nothing = self.manifest_builder.before == Manifest() and self._sent_before == Spent() and not self._standing
        return nothing and not self.options.fresh

    def first_guess_usd(self) -> float | None:
        """About what all rows of a new output may cost; None where nothing can be said."""
        return first_guess_usd(
            self.job, self.model, self.plan.planner, sample=self._survey.sample, rows=self._survey.rows
        )

    # What is to be settled.

    async def shards(self) -> AsyncIterator[Shard]:
        """The shards that are not settled yet, in order; those beyond the checked rows as they are met."""
        for shard in list(self._survey.shards):
            if self._is_wanted(shard):
                yield shard
        rest = self._surveyor.rest()
        while not self._survey.complete:
            shard_or_none = await asyncio.to_thread(next, rest, None)
            self.progress.total = self._survey.rows
            if shard_or_none is not None:
                # Remembered, so that a shard that is not settled now is met again after a wait.
                self._survey.shards.append(shard_or_none)
                await asyncio.to_thread(self._keep_anew, shard_or_none)
                if self._is_wanted(shard_or_none):
                    yield shard_or_none
        self.progress.total_is_exact = True

    def _keep_anew(self, shard: Shard) -> None:
        context = self._context
        if context.projection is not None:
            self.manifest_builder.digests |= keep_anew([shard], context.output, context.projection)

    def _is_wanted(self, shard: Shard) -> bool:
        if shard.number in self._standing:
            return False
        wanted = self._only
        return wanted is None or any(shard.first_row <= row <= shard.last_row for row in wanted)

    @property
    def gold_looks(self) -> list[frozenset[int]]:
        """Rows to settle and to score before the others, more at each look; none where the job has no such gate."""
        gate = self.plan.gold_gate
        return [] if gate is None or self.options.rows is not None else gate.looks

    def take_only(self, rows: frozenset[int] | None) -> None:
        """Settle these rows alone from here on; None for all."""
        self._only = rows
        self._shard_run.take_only(None if rows is None else rows.__contains__)

    async def judge_gold(self, look: int) -> bool:
        """Score the gold rows of a look; end the run where they are not good enough. Returns whether it is decided."""
        judged, termination = await asyncio.to_thread(self._judged, look)
        if termination is not None:
            self.gate.halt(termination)
        return judged.verdict is not Verdict.UNDECIDED

    def _judged(self, look: int) -> tuple[Judged, Termination | None]:
        """What gold rows show, by the labels that they will have."""
        plan, results = self.plan, self._context.output.results
        assert plan.gold_gate is not None
        if plan.labelling is not None:
            changed = [*correct(plan.labelling, results), *weigh(plan.labelling, results)[0]]
            self.manifest_builder.digests |= {part.name: part_digest(part) for part in changed}
        return plan.gold_gate.judge(results, look)

    async def settle(self, shard: Shard) -> ShardReport:
        """Settle one shard and write its part; the manifest follows."""
        report = await self._settling.settle(shard)
        self.manifest_builder.unsettled[shard.number] = report.unsettled
        self.manifest_builder.digests[shard.part_name] = report.digest
        if report.complete:
            self._standing.add(shard.number)
        await self.write_manifest()
        return report

    # Whether it is worth its money.

    async def ask_canary(self) -> None:
        """Ask settled rows again, where the job says so and something new is to be asked; end the run for a drift."""
        canary, new = self._canary, not self._survey.complete or self.progress.done < self.progress.total
        if canary is None or canary.is_done or not new or self.options.rows is not None or self.stop.halted:
            return
        tallies = self._shard_run.tallies
        standing = {
            shard.number: (shard, tallies[shard.number])
            for shard in self._survey.shards
            if shard.number in self._standing
        }
        termination = await canary.ask(standing)
        self.manifest_builder.canary = canary.report
        if termination is not None:
            self.gate.halt(termination)

    def draw(self) -> frozenset[int]:
        """Rows to ask next, drawn over all that are not settled; none where it is decided."""
        open_shards = [shard for shard in self._survey.shards if shard.number not in self._standing]
        return self._watch.draw(self._rng, open_shards, self._only, is_settled=self._shard_run.is_settled)

    async def hear_workers(self) -> None:
        """Judge what workers elsewhere have settled while they are at it."""
        while not self._shard_run.asks:
            await self.clock.sleep(HEAR_S)
            self._watch.heard(self.progress.away.rows, self.progress.away.not_ok)

    @contextmanager
    def only_drawn(self, rows: frozenset[int]) -> Iterator[None]:
        """These rows alone are settled meanwhile, and calls go again."""
        before = self._only
        self.stop.resume()
        self.take_only(rows)
        try:
            yield
        finally:
            self.take_only(before)

    def judge_drawn(self) -> None:
        """End the run where the rows drawn were no better, else let calls go again."""
        stop = self._watch.judge()
        self.stop.resume()
        if stop is not None:
            self.gate.halt(stop)

    # How it waits.

    async def begin_waiting(self, until: float) -> float:
        """Note in the manifest that the run waits until then. Returns since when it waits, in seconds since 1970."""
        since = self.manifest_builder.begin_waiting(self.clock.wall(), until)
        await self.write_manifest()
        return since

    # How it ends.

    @property
    def sent(self) -> Spent:
        """All that was ever sent for this output, unknown bills at their bound."""
        ledger = self._context.ledger
        assert ledger is not None
        return ledger.spent + self._shard_run.sent

    async def close(self) -> Manifest:
        """The manifest of the ended run, written. Never raises for a full disk: the termination tells it."""
        # Reading all parts, and writing what people look at, is no work for a loop that others may share.
        return await in_thread(self._closed)

    def _closed(self) -> Manifest:
        complete = self._is_complete()
        builder, tallies = self.manifest_builder, self._shard_run.tallies
        try:
            if complete:
                close_output(self._context, tallies, builder, rows=self._survey.rows, sent=self.sent)
            halted = self.gate.termination or (PILOT_ENDED if self.options.rows is not None else None)
            termination = builder.ended(halted, complete=complete)
            in_haste = self.stop.interrupted and not complete
            try:
                self._conclude(in_haste=in_haste)
            except StorageError:
                raise
            except Exception:
                # The books are told, whatever keeps us from judging the answers.
                self._write(self._manifest(termination))
                raise
            self.manifest = self._manifest(termination)
            self._write(self.manifest)
            record_run(
                self._output,
                self.options,
                self.manifest,
                sent=self.sent,
                before=self._sent_before,
                in_haste=in_haste,
            )
        except StorageError as error:
            self.manifest = builder.manifest(tallies, self._survey, refused_storage(error), sent=self.sent)
        return self.manifest

    def _conclude(self, *, in_haste: bool) -> None:
        """How good the answers are, and what people are to look at. Raises StorageError."""
        plan, context, builder = self.plan, self._context, self.manifest_builder
        shards = {shard.number: shard for shard in self._survey.shards}
        if plan.labelling is not None:
            conclude_labelling(plan, context, shards, manifest_builder=builder, in_haste=in_haste)
        conclude_fields(plan, context, shards, manifest_builder=builder, in_haste=in_haste)
        conclude_quote(plan, context, builder)

    def _is_complete(self) -> bool:
        """Whether every row of the input stands in a part."""
        settled = self.manifest_builder.settled_rows(self._shard_run.tallies)
        shards = {shard.number for shard in self._survey.shards}
        return self._survey.complete and settled == self._survey.rows and shards <= self._standing

    async def write_manifest(self) -> None:
        """Write run.json as it is now; the run lives. It tells of nothing that is not durable. Raises StorageError."""
        # Made and written one at a time, so that none is replaced by an older one.
        async with self._writing:
            await in_thread(self._write, self._manifest(None))

    def _manifest(self, termination: Termination | None) -> Manifest:
        return self.manifest_builder.manifest(self._shard_run.tallies, self._survey, termination, sent=self.sent)

    def _write(self, manifest: Manifest) -> None:
        self._output.write_manifest(manifest)


Run = FinishedRun | OpenRun
