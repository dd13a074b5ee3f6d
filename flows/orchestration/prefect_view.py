"""Told: what a run tells Prefect: log lines and progress while it lives, artifacts and an event at its end."""

from __future__ import annotations

import asyncio
import logging
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import httpx
from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.events import emit_event
from prefect.exceptions import PrefectException
from prefect.logging.handlers import APILogHandler

from rowmill.flows.orchestration.run_report import REPORT
from rowmill.flows.text.log_lines import LogFormatter
from rowmill.flows.text.summary import summary
from rowmill.schemas.display_text import markdown, markdown_block, one_line
from rowmill.schemas.manifest import Manifest
from rowmill.tasks.run.progress import Progress

RUN_KEY, FAILURES_KEY, PROGRESS_KEY = "rowmill-run", "rowmill-failures", "rowmill-progress"
WORDS_SHOWN = 300
NAME_MOST = 100
# An update is a request to Prefect's server: seldom enough for a run of days.
PROGRESS_S = 10.0
log = logging.getLogger("rowmill")


@contextmanager
def logs_to_prefect() -> Iterator[None]:
    """The library's log lines, information too, in the flow run's logs for as long as this lasts."""
    handler, level = APILogHandler(), log.level
    handler.setFormatter(LogFormatter("%(message)s", keeps_lines=True))
    log.addHandler(handler)
    log.setLevel(logging.INFO if log.getEffectiveLevel() <= logging.WARNING else log.getEffectiveLevel())
    # What goes to a terminal stays as quiet as it was.
    levels = [(one, one.level) for one in logging.getLogger().handlers if one.level < logging.WARNING]
    for one, _ in levels:
        one.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        for one, before in levels:
            one.setLevel(before)


def artifact_key(kind: str, job: str) -> str:
    """The key of a job's artifacts of one kind: each job has its own history. Prefect takes a-z, 0-9 and dashes."""
    plain = unicodedata.normalize("NFKD", job).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:NAME_MOST]
    return f"{kind}-{name or blake2b(job.encode(), digest_size=4).hexdigest()}"


async def follow_progress(progress: Progress, job: str) -> None:
    """A progress artifact that follows the run until this is cancelled, from its first share to its last."""
    try:
        artifact = await acreate_progress_artifact(
            progress=_percent(progress), key=artifact_key(PROGRESS_KEY, job), description="Rows done"
        )
        try:
            while True:
                await asyncio.sleep(PROGRESS_S)
                await aupdate_progress_artifact(artifact, progress=_percent(progress))
        finally:
            await asyncio.shield(aupdate_progress_artifact(artifact, progress=_percent(progress)))
    except (PrefectException, httpx.HTTPError, OSError) as error:
        log.warning("Prefect took no progress: %s", error)


def _percent(progress: Progress) -> float:
    return round(100 * progress.done / progress.total, 1) if progress.total else 100.0


async def tell_prefect(manifest: Manifest, output: str, progress: Progress) -> None:
    """Artifacts of a run's end, and the event `rowmill.run.KIND` with its counts and its cost.

    The run's truth is in its files: where Prefect's API fails here, that is a warning and no more.
    """
    try:
        await acreate_markdown_artifact(
            key=artifact_key(RUN_KEY, manifest.name),
            markdown=_markdown(manifest, output, progress),
            description=markdown(f"{manifest.name}: {output}"),
        )
        if progress.failures:
            await acreate_table_artifact(
                key=artifact_key(FAILURES_KEY, manifest.name),
                table=_failures(progress),
                description="Rows that are not ok",
            )
    except (PrefectException, httpx.HTTPError, OSError) as error:
        log.warning("Prefect took no artifact: %s", error)
    end, totals = manifest.end, manifest.totals
    emit_event(
        event=f"rowmill.run.{end.kind}",
        resource={"prefect.resource.id": f"rowmill.output.{output}",
                  "prefect.resource.name": one_line(manifest.name)},
        payload={"kind": end.kind.replace("_", " "), "message": one_line(end.message), "next": end.next,
                 "run_id": manifest.run_id, "ledger": manifest.ledger.by_name(),
                 "cost_usd": totals.cost_usd, "calls": totals.calls},
    )  # fmt: skip


def _markdown(manifest: Manifest, output: str, progress: Progress) -> str:
    block, report = markdown_block(summary(manifest, output, progress)), markdown(f"{output}/{REPORT}")
    return f"# {markdown(manifest.name)}\n\n{block}\n\nThe whole of it: {report}\n"


def _failures(progress: Progress) -> list[dict[str, Any]]:
    """Kinds of error, the most frequent first, each with some of its rows."""
    table = []
    for kind, count in sorted(progress.failures.items(), key=lambda one: -one[1]):
        examples = "; ".join(f"{row}: {words}" for row, words in progress.examples[kind])
        table.append({"kind": kind, "rows": count, "for example": one_line(examples[:WORDS_SHOWN])})
    return table
