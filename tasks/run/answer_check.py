"""Answer check: whether each results row holds the answer that was given to its own request."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rowmill.schemas.catalogue import find_model
from rowmill.schemas.display_text import counted
from rowmill.schemas.errors import RowmillError
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.outcome import answer_digest
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row, Shard
from rowmill.tasks.input.reader import job_files, shard_rows
from rowmill.tasks.input.shard_cut import digest_of
from rowmill.tasks.job.job_file import catalogue_of
from rowmill.tasks.output.part_footer import read_footer
from rowmill.tasks.output.part_notes import digests_in
from rowmill.tasks.plan.begun_labels import in_begun_order
from rowmill.tasks.plan.label_prompt import as_asked
from rowmill.tasks.plan.planner import Planner

# Rows named of each part; the others are counted.
NAMED = 5
COLUMNS = ["row_index", "row_id", "request_key", "response_text"]


def wrong_answers(part: Path, manifest: Manifest) -> Iterator[str]:
    """What is wrong with the answers of a part, a sentence each; nothing where each belongs to its row.

    An answer carries a digest of itself and its request's key, taken when it came. The key is that of the row as the
    input tells it now; where the part's rows have changed since, only the digests are held against the keys.
    """
    wrong: list[str] = []
    expected = _expected_keys(part, manifest)
    with pq.ParquetFile(part, pre_buffer=False) as file:
        digests = iter(digests_in(file.metadata.metadata or {}, file.metadata.num_rows))
        for batch in file.iter_batches(1_024, columns=COLUMNS, use_threads=False):
            for row, digest in zip(batch.to_pylist(), digests, strict=False):
                if (reason := _reason(row, digest, expected)) is not None:
                    wrong.append(f"row {row['row_id']!r}: {reason}")
    yield from (f"{part}: {one}" for one in islice(wrong, NAMED))
    if len(wrong) > NAMED:
        yield f"{part}: {counted(len(wrong) - NAMED, 'more row')} like these"


def _reason(row: Mapping[str, Any], digest: str | None, expected: Mapping[int, str]) -> str | None:
    key, text = row["request_key"], row["response_text"]
    if key is None:
        return None
    if digest is not None and (text is None or answer_digest(key, text) != digest):
        return "its answer was not given to its request"
    if expected.get(row["row_index"], key) != key:
        return "it holds the answer of another request"
    return None


def _expected_keys(part: Path, manifest: Manifest) -> dict[int, str]:
    """Request keys by row, of a part whose rows stand in the input as they did; empty where they have changed."""
    try:
        job = in_begun_order(Job.model_validate(manifest.job), manifest)
        model = find_model(job.model, catalogue_of(job, os.environ.get("ROWMILL_CATALOGUE")))
        files = job_files(job, part.parent.parent)
        shard: Shard = read_footer(part).shard
        if digest_of(shard, files, job.limits.max_line_bytes) != shard.digest:
            return {}
        planner = Planner(as_asked(job), model, sandbox=manifest.is_sandbox)
        rows = shard_rows(shard, files, job.id, max_line_bytes=job.limits.max_line_bytes)
        planned = (planner.plan(row) for row in rows if isinstance(row, Row))
        return {told.row.index: told.key.hex() for told in planned if isinstance(told, Request)}
    except (RowmillError, OSError, ValueError):
        # The input, the job or its catalogue is not there any more: what the part tells of itself is left.
        return {}
