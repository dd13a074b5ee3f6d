"""The event loop is lent, not owned: others go on while a run opens, writes and closes."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

import rowmill
from rowmill.tasks.input import shard_cut
from rowmill.tasks.journal import replay as of_journals
from rowmill.tasks.output import part_footer
from rowmill.tasks.run import shard_runner
from tests.conftest import KEY

SHARD = 4


@pytest.fixture
def waits(monkeypatch) -> list[tuple[str, int]]:
    """What waits for a disk, and the thread that waits."""
    found: list[tuple[str, int]] = []

    def watch(where: Any, name: str) -> None:
        known: Callable[..., Any] = getattr(where, name)

        def noted(*args: Any, **keywords: Any) -> Any:
            found.append((name, threading.get_ident()))
            return known(*args, **keywords)

        monkeypatch.setattr(where, name, noted)

    for name in ("fsync", "fdatasync", "replace"):
        watch(os, name)
    watch(part_footer.pq, "ParquetFile")
    watch(part_footer.pq, "read_schema")
    watch(of_journals, "replay")
    watch(shard_runner, "write_shard_part")
    return found


async def test_nobody_waits_for_a_disk_on_the_loop(tmp_path, monkeypatch, gateways, waits):
    """A fresh run, one that goes on with more rows, and one with nothing to do sync, rename and read in threads."""
    monkeypatch.setattr(shard_cut, "SMALL_SHARD", SHARD)
    monkeypatch.setenv("ROWMILL_API_KEY", KEY)
    monkeypatch.setenv("ROWMILL_BASE_URL", gateways().url)
    monkeypatch.chdir(tmp_path)
    job = rowmill.Job(
        model="gemini-3-pro", input="rows.jsonl", output="out", id="id", prompt="Say {{ text }}", canary={"rows": 7}
    )
    for count in (3 * SHARD, 5 * SHARD, 5 * SHARD):
        rows = [{"id": f"r{n}", "text": f"text {n}"} for n in range(count)]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        result = await rowmill.run_async(job, progress=False)
        assert len(await asyncio.to_thread(result.frame)) == count
    told = {name for name, _ in waits}
    assert {"fdatasync", "fsync", "replace", "ParquetFile", "write_shard_part"} <= told
    here = threading.get_ident()
    assert [name for name, thread in waits if thread == here] == []
