"""From Python: a frame in and out, and the flow with a Job, both awaited."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import polars as pl
import pytest
from pydantic import BaseModel

from rowmill.flows import api
from rowmill.flows.dataframe import Stopped, extract_frame
from rowmill.sandbox import process
from rowmill.schemas.errors import JobError
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.run import open_run, run, standing_answers
from tests.conftest import KEY


class Person(BaseModel):
    name: str
    n: int


def people(count: int) -> pl.DataFrame:
    return pl.DataFrame({"id": [f"r{n}" for n in range(count)], "text": [f"person {n}" for n in range(count)]})


JOB = {"model": "gemini-3-pro", "id": "id", "prompt": "Say {{ text }}", "schema": Person, "keep": ["text"]}


async def test_a_frame_comes_back_with_answers_and_a_grown_one_costs_its_new_rows(sandboxes, tmp_path):
    """Rows come back typed, in order and with their cost; the same frame with ten rows more asks ten times more."""
    sandbox = sandboxes()
    gateway = Gateway(sandbox.base_url, KEY, None)
    found = await extract_frame(people(30), tmp_path / "out", gateway=gateway, **JOB)
    assert found["row_id"].to_list() == people(30)["id"].to_list()
    assert found["text"].to_list() == people(30)["text"].to_list()
    assert found["output"].struct.field("n").dtype == pl.Int64
    assert found["cost_usd"].sum() > 0
    assert sandbox.books()["calls"] == 30
    grown = await extract_frame(people(40), tmp_path / "out", gateway=gateway, **JOB)
    assert grown.height == 40
    assert sandbox.books()["calls"] == 40
    assert grown.head(30).equals(found)
    assert (tmp_path / "out/report.html").exists()


async def test_a_run_that_stops_early_raises_with_its_manifest(sandboxes, tmp_path):
    """A spend limit raises Stopped, which says why and what to do; what was settled stands."""
    gateway = Gateway(sandboxes(spend_limit_usd="0.02").base_url, KEY, None)
    with pytest.raises(Stopped, match="spend_limit") as caught:
        await extract_frame(people(200), tmp_path / "out", gateway=gateway, **JOB)
    assert caught.value.manifest["ledger"]["ok"] > 0
    assert pl.read_parquet(tmp_path / "out/results/*.parquet").height == caught.value.manifest["ledger"]["ok"]


async def test_the_loop_of_the_caller_stays_free_while_a_run_is_opened_and_closed(gateways, tmp_path, monkeypatch):
    """What reads all parts (taking stock, closing, report, frame) runs beside the loop, and so do a sandbox's start and
    end.
    """
    done: dict[str, bool] = {}

    def noted(place: Any, name: str) -> None:
        whole = getattr(place, name)

        def note(*args: Any, **more: Any) -> Any:
            done[name] = threading.current_thread() is threading.main_thread()
            return whole(*args, **more)

        monkeypatch.setattr(place, name, note)

    for place, name in (
        (standing_answers, "take_inventory"), (standing_answers, "MovedRows"), (open_run, "_stand"), (run, "close_output"),
        (run, "record_run"), (api, "leave_report"), (api.Result, "frame"), (process.subprocess, "Popen"),
        (process.subprocess.Popen, "wait"),
    ):  # fmt: skip
        noted(place, name)
    gateway = Gateway(gateways().url, KEY, None)
    await extract_frame(people(3), tmp_path / "out", gateway=gateway, **JOB)
    await extract_frame(people(3)[::-1], tmp_path / "out", gateway=gateway, **JOB)
    await extract_frame(people(1), tmp_path / "other", sandbox=True, **JOB)
    assert done == dict.fromkeys(done, False)
    assert {"take_inventory", "MovedRows", "_stand", "close_output", "leave_report", "frame", "wait"} <= set(done)


async def test_a_wrong_key_is_named(tmp_path):
    """A misspelt key of the job is refused before anything is sent."""
    with pytest.raises(JobError, match="did you mean 'prompt'"):
        await extract_frame(people(1), tmp_path / "out", **{**JOB, "promt": "x"})


async def test_inside_a_running_loop_as_in_a_notebook(sandboxes, tmp_path):
    """Awaited where a loop runs already, beside other work."""
    gateway = Gateway(sandboxes().base_url, KEY, None)
    five, seven = await asyncio.gather(
        extract_frame(people(5), tmp_path / "a", gateway=gateway, **JOB),
        extract_frame(people(7), tmp_path / "b", gateway=gateway, **JOB),
    )
    assert (five.height, seven.height) == (5, 7)
