"""Told: what a run leaves in Prefect for people and automations: artifacts, and an event where it stopped."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.events import emit_event
from prefect.exceptions import PrefectException

from flows.report import REPORT
from flows.summary import summary
from schemas.manifest import TerminationKind
from tasks.progress import Progress

RUN_KEY, FAILURES_KEY = "rowmill-run", "rowmill-failures"
WORDS_SHOWN = 300
log = logging.getLogger("rowmill")


async def tell_prefect(manifest: Mapping[str, Any], output: str, progress: Progress) -> None:
    """Artifacts of a run's end, and `rowmill.run.KIND` as an event where it ended short of its end.

    The run's truth is in its files: where Prefect's API fails here, that is a warning and no more.
    """
    try:
        await acreate_markdown_artifact(
            key=RUN_KEY, markdown=_markdown(manifest, output, progress), description=f"{manifest['name']}: {output}"
        )
        if progress.failures:
            await acreate_table_artifact(
                key=FAILURES_KEY, table=_failures(progress), description="Rows that are not ok"
            )
    except (PrefectException, httpx.HTTPError, OSError) as error:
        log.warning("Prefect took no artifact: %s", error)
    termination = manifest["termination"]
    if termination["kind"] != TerminationKind.COMPLETE:
        emit_event(
            event=f"rowmill.run.{termination['kind']}",
            resource={"prefect.resource.id": f"rowmill.output.{output}", "prefect.resource.name": manifest["name"]},
            payload={"message": termination["message"], "next": termination["next"], "run_id": manifest["run_id"],
                     "ledger": dict(manifest["ledger"])},
        )  # fmt: skip


def _markdown(manifest: Mapping[str, Any], output: str, progress: Progress) -> str:
    report = Path(output) / REPORT
    return f"# {manifest['name']}\n\n```\n{summary(manifest, output, progress)}\n```\n\nThe whole of it: `{report}`\n"


def _failures(progress: Progress) -> list[dict[str, Any]]:
    """Kinds of error, the most frequent first, each with some of its rows."""
    table = []
    for kind, count in sorted(progress.failures.items(), key=lambda one: -one[1]):
        examples = "; ".join(f"{row}: {words}" for row, words in progress.examples[kind])
        table.append({"kind": kind, "rows": count, "for example": examples[:WORDS_SHOWN]})
    return table
