"""Session: one execution of a job in one process, from the locked output to the written manifest."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rowmill.schemas.attempt import Spent
from rowmill.schemas.catalogue import Model, find_model
from rowmill.schemas.errors import StorageError
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Termination, TerminationKind
from rowmill.schemas.row import NO_SHARD, Row, Shard, Unreadable
from rowmill.tasks.answers.validator import Validator
from rowmill.tasks.cluster.coordinator import Coordinator, take_over
from rowmill.tasks.cluster.messages import ShardWork
from rowmill.tasks.forecast.accuracy import read_forecast
from rowmill.tasks.gateway.admission.halts import RUN_AGAIN, refused_storage
from rowmill.tasks.gateway.admission.shared_limits import group_of
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.input import reader as read
from rowmill.tasks.input.files import input_state
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.survey import Survey, Surveyor
from rowmill.tasks.job.fingerprint import job_fingerprint
from rowmill.tasks.job.job_file import catalogue_of
from rowmill.tasks.journal.group_commit import Syncer
from rowmill.tasks.labelling.label_run import (
    LabelRun,
    conclude,
    correct,
    judge_gold,
    keep,
    label_run,
    planned_votes,
    texts_of,
)
from rowmill.tasks.output.answer_cache import AnswerCache, bound_usd
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.output.columns import columns_of
from rowmill.tasks.output.folder import Output, number_of
from rowmill.tasks.output.inventory import Inventory, claims, take_inventory
from rowmill.tasks.output.part_writer import PART_VERSION, Footer, part_digest, tally_value, write_part
from rowmill.tasks.plan.input_checks import notes, refuse_bad_input, refuse_impossible
from rowmill.tasks.plan.label_prompt import as_asked
from rowmill.tasks.plan.planner import Planner
from rowmill.tasks.run.background import Background
from rowmill.tasks.run.balance_check import preflight
from rowmill.tasks.run.callers import Callers
from rowmill.tasks.run.manifest_builder import ManifestBuilder
from rowmill.tasks.run.progress import Progress
from rowmill.tasks.run.shard_runner import ShardContext, ShardReport, ShardRun
from rowmill.tasks.system.clock import Clock

log = logging.getLogger("rowmill")
PILOT_ENDED = Termination(
    TerminationKind.INTERRUPTED, "pilot", "the pilot's rows are settled", "Run the job: it goes on from there"
)


@dataclass(frozen=True, slots=True)
class Options:
    """What a command adds to its job. `limit` is the number of rows to take at most, from the input's beginning.

    `rows` names the only ones to ask now (a pilot's); the others stay for a later run. `gold` is a file of labels that
    people gave.
    """

    limit: int | None = None
    fresh: bool = False
    retry_failed: str | None = None
    sandbox: bool = False
    fresh_part: int | None = None
    rows: frozenset[int] | None = None
    gold: str | None = None


class Run:
    """Open, settle shards, finish. Everything that can be refused is refused before the first call."""

    def __init__(
        self,
        job: Job,
        options: Options,
        gateway: Gateway,
        *,
        clock: Clock | None = None,
        seed: int | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        """Checks what needs no output. `replica` keeps a bucket equal to the output, where it stands there.

        Raises JobError, CatalogueError, SchemaError, InputError.
        """
        self._mirror = mirror
        self.options, self._gateway = options, gateway
        self.clock, self._rng = clock or Clock(), random.Random(seed)
        self.run_id = f"{datetime.fromtimestamp(self.clock.wall(), UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self._catalogue = catalogue_of(job, gateway.catalogue)
        self.model: Model = find_model(job.model, self._catalogue)
        self._files = read.input_files(job.input)
        self._labelling = label_run(
            job, self._files, self.model, options.gold, fresh=options.fresh, limit=options.limit
        )
        self.job = job = self._labelling.job if self._labelling else job
        asked = as_asked(job)
        refuse_impossible(asked, self.model)
        self._votes = planned_votes(job, self.model, self._catalogue, sandbox=options.sandbox)
        for note in notes(asked, self.model):
            log.warning("%s", note)
        self._planner = Planner(asked, self.model, sandbox=options.sandbox, run_id=self.run_id)
        self._validator = Validator(asked.output_schema)
        fingerprint, keys = job_fingerprint(job, sandbox=options.sandbox)
        models = [model for model, _ in self._votes.values()] or [self.model]
        told = job if mirror is None else job.model_copy(update={"output": mirror.url})
        self.manifest_builder = ManifestBuilder(told, models, self.run_id, fingerprint, keys, self.clock)
        self.progress = Progress(started_at=self.clock.now())
        self.survey = Survey(complete=True)
        self.nothing_to_do = False
        self.interrupted = False
        self.manifest: dict[str, Any] | None = None
        self._closers: list[Any] = []
        self._only: frozenset[int] | None = None
        self._settling: ShardRun | Coordinator

    async def __aenter__(self) -> Run:
        self._output = Output(Path(self.job.output), self._mirror)
        self._closers = [self._output]
        try:
            await self._prepare()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _close(self) -> None:
        for closer in reversed(self._closers):
            if isinstance(closer, (Callers, Background)):
                await closer.aclose()
            else:
                closer.close()
        self._closers = []

    async def _prepare(self) -> None:
        output, job = self._output, self.job
        if self.options.fresh and (aside := output.set_aside(self.run_id)) is not None:
            log.info("the earlier results were moved to %s", aside)
        self.manifest_builder.before = output.manifest() or {}
        self.manifest_builder.refuse_another_job(str(output.root))
        if self._labelling is not None:
            keep(self._labelling, output.root)
        await take_over(output, self.clock)
        if self.options.fresh_part is not None:
            output.set_part_aside(self.options.fresh_part, self.run_id)
        parts = output.parts()
        self.manifest_builder.input_files = input_state(self._files)
        self.manifest_builder.limit = self._row_limit(sum(footer.shard.rows for footer in parts.values()))
        if self._is_finished(parts):
            self.nothing_to_do = True
            return
        self._keys = KeyIndex(output.journal / "keys.sqlite")
        self._closers.append(self._keys)
        self._surveyor = Surveyor(
            self._files,
            id_column=job.id,
            keep=job.keep,
            keys=self._keys,
            sizes=output.part_sizes(parts),
            limit=self.manifest_builder.limit,
            max_line_bytes=job.limits.max_line_bytes,
        )
        self.survey = await asyncio.to_thread(self._surveyor.run_checked)
        standing = pq.read_schema(output.part_path(min(parts))) if parts else None
        schema, self._planner.keep_types = columns_of(job, self._validator.shape, self.survey, self._files, standing)
        refuse_bad_input(self.survey, job, self._planner)
        self._open_stage(parts, schema)
        if job.runner != "local":
            self._settling = await self.background.gather_workers(
                self._work(), output, self.progress, self._runs, self.survey
            )
        await self.background.join_fleet(job, self._gateway, self.model, sandbox=self.options.sandbox)
        await self._preflight()
        self._write_manifest(None)
        if self._mirror is not None:
            # What was set aside stands in the bucket before anything is written in its place.
            await asyncio.to_thread(self._mirror.push)

    def _work(self) -> ShardWork:
        """What all shards have in common for workers elsewhere."""
        return ShardWork(
            run_id=self.run_id, token="", job=self.job, sandbox=self.options.sandbox,
            base_url=self._gateway.base_url, group=group_of(self._gateway.base_url, self._gateway.api_key),
            models={self.model.name: self.model} | {model.name: model for model, _ in self._votes.values()},
            fingerprint=self.manifest_builder.fingerprint, keep_types=self._planner.keep_types,
            shard=NO_SHARD, ranges=(),
        )  # fmt: skip

    def _halted(self) -> None:
        self._runs.cancel_waiting()
        self.background.halted()

    async def _preflight(self) -> None:
        """Stop or warn where the key's balance does not cover what is asked."""
        left = self.survey.rows - sum(tally.rows for tally in self._runs.tallies.values())
        if self.model.base_url is not None or not left:
            return
        calls = left * (self.job.label.fewest_votes if self.job.label else 1)
        verdict = await preflight(
            self._callers.clients[self.model.name], self.model, self._planner, self.survey.sample, calls
        )
        if isinstance(verdict, Termination):
            self.gate.halt(verdict)
        elif verdict is not None:
            log.warning("%s", verdict)

    def _row_limit(self, standing: int) -> int | None:
        """A limit below what stands already takes nothing away: rows that were paid for stay."""
        limit = self.options.limit
        return None if limit is None else max(limit, standing)

    def _is_finished(self, parts: dict[int, Footer]) -> bool:
        rows = sum(footer.shard.rows for footer in parts.values())
        corrected = self._labelling is not None and self._labelling.is_new
        return self.options.retry_failed is None and not corrected and self.manifest_builder.was_complete(rows)

    def _open_stage(self, parts: dict[int, Footer], schema: pa.Schema) -> None:
        """Take stock of the output, then put together what settles the rest."""
        answer_cache = AnswerCache(self._output.journal, self._validator, self.options.retry_failed)
        self._closers.append(answer_cache)
        digests = {shard.number: shard.digest for shard in self.survey.shards}
        standing = take_inventory(
            self._output, parts, digests, answer_cache, self.manifest_builder.fingerprint,
            reopen=self.options.retry_failed is not None, survey_complete=self.survey.complete,
        )  # fmt: skip
        answer_cache.open()
        syncer = Syncer(asyncio.get_running_loop(), keep=self._mirror.append if self._mirror is not None else None)
        self._closers.append(syncer)
        self._answer_cache, self._schema, self._standing = answer_cache, schema, set(standing.parts)
        self._callers = Callers(
            self.job, self.model, self._votes, self._gateway, validator=self._validator,
            spent_usd=self._spent_usd(standing, answer_cache), clock=self.clock, rng=self._rng, run_id=self.run_id,
        )  # fmt: skip
        self._closers.append(self._callers)
        self.gate, self.progress.cap_usd = self._callers.gate, self._callers.cap_usd
        self.background = Background(self.gate, self._mirror, self.clock)
        self._closers.append(self.background)
        self._runs = ShardRun(
            ShardContext(
                output=self._output,
                job_fingerprint=self.manifest_builder.fingerprint,
                planner=self._planner,
                validator=self._validator,
                settler=self._callers.settler,
                keys=self._keys,
                answer_cache=answer_cache,
                syncer=syncer,
                results_schema=schema,
                concurrency=self.job.limits.concurrency,
                reads_media=bool(self.job.attachments),
                run_id=self.run_id,
                progress=self.progress,
                duplicates=self.survey.duplicates,
                rows_of=self._rows_of,
            ),
            asks=self.job.runner == "local",
        )
        self._settling = self._runs
        self.take_only(self.options.rows)
        self.gate.on_halt = self._halted
        for number, footer in standing.parts.items():
            self._runs.standing(footer.shard, standing.tallies[number])
            self.progress.begin(standing.tallies[number])
            self._keys.claim_all(claims(self._output.part_path(number)))
        self.progress.total, self.progress.total_is_exact = self.survey.rows, self.survey.complete

    def _rows_of(self, shard: Shard) -> Iterator[Row | Unreadable]:
        return read.shard_rows(shard, self._files, self.job.id, self.job.limits.max_line_bytes)

    def _spent_usd(self, standing: Inventory, answer_cache: AnswerCache) -> int:
        """What the job has cost so far, with the bounds of what is unknown."""
        parts = sum((tally.spent for tally in standing.tallies.values()), Spent())
        return bound_usd(parts) + bound_usd(standing.open_spent) + answer_cache.uncarried_usd()

    async def shards(self) -> AsyncIterator[Shard]:
        """The shards that are not settled yet, in order; those beyond the checked rows as they are met."""
        for shard in list(self.survey.shards):
            if shard.number not in self._standing and self._is_wanted(shard):
                yield shard
        rest = self._surveyor.rest()
        while not self.survey.complete:
            shard_or_none = await asyncio.to_thread(next, rest, None)
            self.progress.total = self.survey.rows
            if shard_or_none is not None:
                # Remembered, so that a shard that is not settled now is met again after a wait.
                self.survey.shards.append(shard_or_none)
                if shard_or_none.number not in self._standing and self._is_wanted(shard_or_none):
                    yield shard_or_none
        self.progress.total_is_exact = True

    def _is_wanted(self, shard: Shard) -> bool:
        wanted = self._only
        return wanted is None or any(shard.first_row <= row <= shard.last_row for row in wanted)

    @property
    def gold_rows(self) -> frozenset[int] | None:
        """Rows to settle and to score before the others; None where the job asks for no such gate."""
        if self._labelling is None or self.options.rows is not None or self.nothing_to_do:
            return None
        return self._labelling.asked_first

    def take_only(self, rows: frozenset[int] | None) -> None:
        """Settle these rows alone from here on; None for all."""
        self._only = rows
        self._runs.only = None if rows is None else rows.__contains__

    async def judge_gold(self) -> None:
        """Score the gold rows, and end the run where too few of them are right."""
        assert self._labelling is not None
        told = await asyncio.to_thread(judge_gold, self._labelling, self._output.results)
        if told is not None:
            self.gate.halt(told)

    async def settle(self, shard: Shard) -> ShardReport:
        """Settle one shard and write its part; the manifest follows."""
        report = await self._settling.settle(shard)
        self.manifest_builder.unsettled[shard.number] = report.unsettled
        self.manifest_builder.digests[shard.part_name] = report.digest
        if report.complete:
            self._standing.add(shard.number)
        self._write_manifest(None)
        return report

    @property
    def halted(self) -> bool:
        return self.gate.termination is not None

    @property
    def awaits_spend_limit(self) -> bool:
        """Whether the run stopped at the key's spend limit, and its job says to wait for it."""
        told = self.gate.termination
        stopped = told is not None and told.kind is TerminationKind.SPEND_LIMIT
        return stopped and self.job.on_spend_limit == "wait" and not self.interrupted

    def begin_waiting(self, until: float) -> float:
        """Note in the manifest that the run waits until then. Returns since when it waits, in seconds since 1970."""
        since = self.manifest_builder.begin_waiting(self.clock.wall(), until)
        self._write_manifest(None)
        return since

    def resume(self) -> None:
        """After a wait: one call goes alone and decides for the fleet."""
        if not self.interrupted:
            self.background.reset()
            self.gate.reopen()

    def interrupt(self, *, force: bool) -> None:
        """End the run: let calls in flight end, or (`at_once`) give them up too."""
        told = Termination(TerminationKind.INTERRUPTED, None, "the run was interrupted", RUN_AGAIN)
        if self.awaits_spend_limit:
            self.gate.termination = told
        self.interrupted = True
        self.gate.halt(told)
        if force:
            self._runs.cancel_all()
            self.background.give_up()

    def finish(self) -> dict[str, Any]:
        """The manifest of the ended session, written. Never raises for a full disk: the termination tells it."""
        self.manifest = self._ended()
        return self.manifest

    def _ended(self) -> dict[str, Any]:
        if self.nothing_to_do:
            return dict(self.manifest_builder.before)
        complete = self.manifest_builder.settled_rows(self._runs.tallies) == self.survey.rows and self.survey.complete
        try:
            if complete:
                if self.survey.rows == 0:
                    self._write_empty_part()
                self._drop_stray_parts()
                self._answer_cache.finish()
                self.manifest_builder.look_back(
                    read_forecast(self._output.root), self._runs.tallies, self._output.results
                )
            halted = self.gate.termination or (PILOT_ENDED if self.options.rows is not None else None)
            if self._labelling is not None and any(self._output.results.glob("part-*.parquet")):
                self._conclude_labelling(self._labelling, in_haste=self.interrupted and not complete)
            return self._write_manifest(self.manifest_builder.ended(halted, complete=complete))
        except StorageError as error:
            return self.manifest_builder.manifest(
                self._runs.tallies, self.survey, refused_storage(error), self._answer_cache
            )

    def _conclude_labelling(self, run: LabelRun, *, in_haste: bool) -> None:
        """People's labels into the parts, and, where nobody waits for our end, review.jsonl and the scores."""
        for part in correct(run, self._output.results):
            self.manifest_builder.digests[part.name] = part_digest(part)
        if in_haste:
            return
        texts = texts_of(self.job, self.model, {shard.number: shard for shard in self.survey.shards}, self._rows_of)
        self.manifest_builder.label = conclude(run, self._output.results, texts)

    def _write_manifest(self, termination: Termination | None) -> dict[str, Any]:
        manifest = self.manifest_builder.manifest(self._runs.tallies, self.survey, termination, self._answer_cache)
        self._output.write_manifest(manifest)
        return manifest

    def _write_empty_part(self) -> None:
        """The part of an input without rows, so that readers find the columns."""
        footer = Footer(
            PART_VERSION,
            self.manifest_builder.fingerprint,
            NO_SHARD,
            False,
            tally_value(self.manifest_builder.nothing()),
        )
        write_part(self._output.part_path(0), self._schema, None, iter(()), footer)

    def _drop_stray_parts(self) -> None:
        """Previews of shards that the input no longer has."""
        last = max(self._runs.tallies, default=0)
        for path in self._output.results.glob("part-*.parquet"):
            if number_of(path) > last:
                path.unlink()
