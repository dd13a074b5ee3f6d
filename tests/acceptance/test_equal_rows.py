"""Rows that ask the same: one of them pays, and it is the first."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import rowmill
from rowmill.tasks.input import shard_cut
from rowmill.tasks.run import shard_runner
from tests.conftest import KEY

SHARD = 4


async def test_the_first_of_equal_rows_asks_however_long_its_shard_takes_to_open(tmp_path, monkeypatch, gateways):
    """Rows of a later shard that ask the same share the answers of the first one's, and pay nothing."""
    monkeypatch.setattr(shard_cut, "SMALL_SHARD", SHARD)
    monkeypatch.setenv("ROWMILL_API_KEY", KEY)
    monkeypatch.setenv("ROWMILL_BASE_URL", gateways().url)
    monkeypatch.chdir(tmp_path)
    opens, opened_later = shard_runner.opened_segment, list[int]()

    async def opened_slowly(path: Any, head: Any, *rest: Any, **more: Any) -> Any:
        for _ in range(20 - 10 * head.shard.number):
            await asyncio.sleep(0.001)
        opened_later.append(head.shard.number)
        return await opens(path, head, *rest, **more)

    monkeypatch.setattr(shard_runner, "opened_segment", opened_slowly)
    rows = [{"text": f"text {n % SHARD}"} for n in range(2 * SHARD)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = rowmill.Job(model="gemini-3-pro", input="rows.jsonl", output="out", prompt="Say {{ text }}")
    frame = (await rowmill.run_async(job, progress=False, report=False)).frame().sort("row_index")
    assert opened_later == [1, 0]
    assert frame["reused_from"].to_list() == [*[None] * SHARD, *(str(n) for n in range(SHARD))]
