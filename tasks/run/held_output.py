"""Held output: an output is locked for a run, and what it tells of itself is read: what was spent, which parts stand,
and whether that is all of it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from rowmill.schemas.attempt import Spent
from rowmill.schemas.display_text import counted
from rowmill.schemas.manifest import WITHOUT_LEDGER, Manifest, SplitStanding
from rowmill.schemas.price import Cost, parse_amount
from rowmill.tasks.input.formats import input_state
from rowmill.tasks.input.stored import source_of
from rowmill.tasks.journal.ledger import LEDGER, Ledger
from rowmill.tasks.labelling.label_run import keep
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.output.folder import Output, refuse_split
from rowmill.tasks.output.part_footer import Footer, tally_of
from rowmill.tasks.run.budget_part import forget_part, part_in
from rowmill.tasks.run.canary import close_left
from rowmill.tasks.run.manifest_builder import ManifestBuilder
from rowmill.tasks.run.run_plan import RunPlan
from rowmill.tasks.run.run_record import record_idle, record_killed
from rowmill.tasks.system.clock import Clock

log = logging.getLogger("rowmill")


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands in an output: what it has cost, its parts by number, and whether nothing is left to do."""

    ledger: Ledger
    parts: dict[int, Footer]
    is_all: bool


def hold_output(
    plan: RunPlan, mirror: Mirror | None, *, clock: Clock, stack: AsyncExitStack
) -> tuple[Output, ManifestBuilder]:
    """The output, held until `stack` closes it, and what it tells of itself. Raises OutputError for another job's."""
    options = plan.options
    output = stack.enter_context(closing(Output(Path(plan.job.output), mirror)))
    if not options.merges:
        refuse_split(output)
    record_killed(output)
    if options.fresh and (aside := output.set_aside(plan.run_id)) is not None:
        log.info("the earlier results were moved to %s", aside)
        forget_part(output)
    before = output.manifest() or Manifest()
    builder = ManifestBuilder(plan, clock, before)
    builder.json_text_fields = list(plan.validator.shape.json_text_fields)
    builder.split = SplitStanding() if options.merges else None
    builder.refuse_another_job(str(output.root))
    if not options.merges:
        _tell_missing(before, output)
    if plan.labelling is not None:
        keep(plan.labelling, output.root)
    return output, builder


def read_standing(plan: RunPlan, output: Output, builder: ManifestBuilder) -> Standing:
    """What stands in a held output. Raises DamageError, StorageError."""
    options = plan.options
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
    return Standing(ledger, parts, is_done)


def _tell_missing(before: Manifest, output: Output) -> None:
    """Say that rows are about to be paid for again because their part was deleted."""
    gone = [name for name in before.parts if not (output.results / name).exists()] if before.is_complete else []
    if gone:
        more = f" and {counted(len(gone) - 1, 'more part')}" if len(gone) > 1 else ""
        log.warning(
            "%s%s not there any more: the rows are asked, and paid for, again. What they cost stays counted; to pay "
            "nothing twice stop now and put back what is missing", output.results / gone[0], more
        )  # fmt: skip


def _spent_before_the_ledger(before: Manifest, parts: Mapping[int, Footer]) -> Spent:
    """What an output of a version without a ledger has cost, its open segments left out."""
    former = before.beside.former_cost_usd
    rows = sum((tally_of(footer).spent for footer in parts.values()), Spent())
    return rows + Spent(cost=Cost(parse_amount(former if isinstance(former, str) else "0")))
