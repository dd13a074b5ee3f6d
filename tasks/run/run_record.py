"""Run record: the line that a run leaves in its output's history when it ends."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec
import pyarrow as pa

from rowmill.schemas.attempt import Spent
from rowmill.schemas.errors import DamageError, RowmillError, StorageError
from rowmill.schemas.history import KILLED, RunRecord
from rowmill.schemas.manifest import Manifest, asks_sandbox
from rowmill.schemas.termination import TerminationKind
from rowmill.tasks.output.folder import Output
from rowmill.tasks.output.history import HISTORY, append_history, read_history
from rowmill.tasks.output.results_frame import result_parts
from rowmill.tasks.report.run_history import own_costs, sent_of, unended_record
from rowmill.tasks.report.run_shares import run_counts
from rowmill.tasks.run.manifest_builder import ManifestBuilder
from rowmill.tasks.run.run_plan import Options, RunPlan

log = logging.getLogger("rowmill")


def record_run(
    output: Output, options: Options, manifest: Manifest, *, sent: Spent, before: Spent, in_haste: bool
) -> None:
    """Enter a run that has ended; `sent` and `before` are what was sent for its output until now and until it began.

    Where nobody waits (`in_haste`) its rows are counted by the next run, as those of a killed run are. A history that
    cannot be written is a warning and no more.
    """
    end, job = manifest.end, manifest.fingerprint
    record = RunRecord(
        run_id=manifest.run_id,
        name=manifest.name,
        model=manifest.model,
        started_at=manifest.started_at,
        ended_at=manifest.updated_at,
        kind=end.kind.value,
        code=end.code,
        fingerprint=job.hash,
        keys=dict(job.keys),
        sandbox=manifest.is_sandbox,
        drawn=_drawn(options),
        ledger=manifest.ledger.by_name(),
        sent=sent_of(sent),
        **own_costs(sent, before),
    )
    history = _history(output)
    counted = [record]
    if not in_haste:
        counted = _counted(output, [*(one for one in history if one.shares is None), record])
    if not (_is_idle(counted[-1]) and _was_idle_that_day(history, record)):
        _append(output, counted)


def _drawn(options: Options) -> str | None:
    if options.rows is not None:
        return "pilot"
    return "retry" if options.retry_failed is not None else None


def _counted(output: Output, records: Sequence[RunRecord]) -> list[RunRecord]:
    """These runs with the shares of their rows, as far as the results tell them now."""
    try:
        found = run_counts(result_parts(output.results), [record.run_id for record in records])
    except (OSError, pa.ArrowException) as error:
        log.warning("the rows of this run could not be counted for the history: %s", error)
        return list(records)[-1:]
    return [msgspec.structs.replace(record, shares=found[record.run_id].shares) for record in records]


def record_idle(output: Output, plan: RunPlan, builder: ManifestBuilder) -> None:
    """Enter a run that found nothing to do, once a day."""
    at, history = builder.now(), _history(output)
    record = RunRecord(
        run_id=plan.run_id,
        name=plan.job.name,
        model=plan.model.name,
        started_at=at,
        ended_at=at,
        kind=TerminationKind.COMPLETE.value,
        fingerprint=plan.fingerprint,
        keys=dict(plan.fingerprint_keys),
        sandbox=asks_sandbox(plan.fingerprint_keys),
        drawn=_drawn(plan.options),
        ledger=builder.before.ledger.by_name(),
        sent=history[-1].sent if history else None,
        shares={},
    )
    if not _was_idle_that_day(history, record):
        _append(output, [record])


def _is_idle(record: RunRecord) -> bool:
    """Whether a run found nothing to do."""
    return not record.calls and not record.rows and record.kind == TerminationKind.COMPLETE


def _was_idle_that_day(history: Sequence[RunRecord], record: RunRecord) -> bool:
    """Whether the run before found nothing to do on the same day: one line a day says so."""
    return bool(history) and _is_idle(history[-1]) and history[-1].started_at[:10] == record.started_at[:10]


def record_killed(output: Output) -> None:
    """Enter the run before this one, where it was killed before it could do so itself."""
    try:
        manifest, history = output.manifest(), read_history(output.root / HISTORY)
        if manifest is None or manifest.state != "running" or manifest.run_id in {one.run_id for one in history}:
            return
        record = unended_record(output.root, manifest, history, kind=KILLED)
    except (RowmillError, ValueError) as error:
        log.warning("the run before this one could not be entered in the history: %s", error)
        return
    _append(output, [record])


def _history(output: Output) -> list[RunRecord]:
    try:
        return read_history(output.root / HISTORY)
    except DamageError as error:
        log.warning("%s", error)
        return []


def _append(output: Output, records: Sequence[RunRecord]) -> None:
    path = output.root / HISTORY
    try:
        append_history(path, records)
        output.keep(path)
    except StorageError as error:
        log.warning("%s", error)
