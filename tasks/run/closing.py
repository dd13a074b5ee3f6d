"""Closing: what a run leaves in order when its last call has ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from rowmill.schemas.attempt import Spent
from rowmill.schemas.row import NO_SHARD, Shard
from rowmill.schemas.tally import Tally
from rowmill.tasks.fields.tree import field_tree
from rowmill.tasks.forecast.accuracy import read_forecast
from rowmill.tasks.labelling.field_quality import field_quality
from rowmill.tasks.labelling.field_review import write_field_review
from rowmill.tasks.labelling.judgements import REVIEW
from rowmill.tasks.labelling.label_run import conclude, correct, texts_of, weigh
from rowmill.tasks.labelling.quote import held_against
from rowmill.tasks.output.layout import number_of
from rowmill.tasks.output.part_columns import PartColumns
from rowmill.tasks.output.part_footer import PART_VERSION, Footer, part_digest, tally_value
from rowmill.tasks.output.part_writer import write_part
from rowmill.tasks.output.results_frame import result_parts
from rowmill.tasks.run.manifest_builder import ManifestBuilder
from rowmill.tasks.run.run_plan import RunPlan
from rowmill.tasks.run.shard_context import ShardContext

log = logging.getLogger("rowmill")


def close_output(
    context: ShardContext, tallies: Mapping[int, Tally], manifest_builder: ManifestBuilder, *, rows: int, sent: Spent
) -> None:
    """Tidy a complete output: nothing that its rows do not need stays. `sent` is what it has cost in all.

    Raises StorageError.
    """
    output = context.output
    if rows == 0:
        # The part of an input without rows, so that readers find the columns.
        footer = Footer(PART_VERSION, context.job_fingerprint, NO_SHARD, False, tally_value(Tally()))
        assert context.projection is not None
        write_part(output.part_path(0), PartColumns(context.projection.schema), iter(()), footer=footer)
    last = max(tallies, default=0)
    for path in result_parts(output.results):
        if number_of(path) > last:
            # Shown by a stopped run for a shard that the input no longer has.
            path.unlink()
    context.answer_cache.finish(context.keys.asks)
    if context.ledger is not None:
        context.ledger.compact()
    manifest_builder.look_back(read_forecast(output.root), sent, output.results)


def conclude_fields(
    plan: RunPlan,
    context: ShardContext,
    shards: Mapping[int, Shard],
    *,
    manifest_builder: ManifestBuilder,
    in_haste: bool,
) -> None:
    """How good the fields are; and, where nobody waits for our end, review.jsonl. Raises StorageError."""
    job = plan.job
    if job.gold is None and not job.has_votes:
        return
    parts, tree = result_parts(context.output.results), field_tree(plan.validator.shape)
    quality = manifest_builder.quality = field_quality(parts, job, tree)
    if job.has_votes and job.votes is not None and not in_haste:
        # What the schema and the quotes add to each prompt is nothing to read.
        plain = job.model_copy(update={"output_schema": None, "evidence": False})
        texts = texts_of(plain, plan.model, shards, rows_of=context.rows_of)
        path = context.output.results.parent / REVIEW
        write_field_review(path, job.votes, parts, texts=texts, validator=plan.validator, tree=tree)
    if (gold := quality.rows.gold) is not None and gold.malformed:
        first = gold.malformed_rows[0]
        log.warning(
            "the gold column %r holds no output in %d rows, which are not scored; the first is row %s: %s",
            gold.column, gold.malformed, first.row_id, first.why,
        )  # fmt: skip


def conclude_labelling(
    plan: RunPlan,
    context: ShardContext,
    shards: Mapping[int, Shard],
    *,
    manifest_builder: ManifestBuilder,
    in_haste: bool,
) -> None:
    """People's labels into the parts, and, where nobody waits for our end, review.jsonl and the scores."""
    results, labelling = context.output.results, plan.labelling
    if labelling is None or not result_parts(results):
        return
    for part in correct(labelling, results):
        manifest_builder.digests[part.name] = part_digest(part)
    if not in_haste:
        changed, weights = weigh(labelling, results)
        manifest_builder.digests |= {part.name: part_digest(part) for part in changed}
        texts = texts_of(plan.job, plan.model, shards, rows_of=context.rows_of)
        manifest_builder.label = conclude(labelling, results, texts, weights=weights)


def conclude_quote(plan: RunPlan, context: ShardContext, manifest_builder: ManifestBuilder) -> None:
    """What the run came to, beside what was quoted for it."""
    if plan.job.quote is None:
        return
    gold = None if manifest_builder.quality is None else manifest_builder.quality.rows.gold
    not_ok = 0 if gold is None else gold.not_ok
    manifest_builder.quote = held_against(plan.job.quote, context.output.results, not_ok)
