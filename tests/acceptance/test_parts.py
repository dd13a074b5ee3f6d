"""A job over many machines by Prefect alone: a real server, two real workers, parts killed, stopped and gone on with."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_prefect import (  # noqa: F401
    PREFECT,
    assert_key_is_nowhere,
    call,
    deployments,
    prefect,
    server,
    wait_for,
    worker_for,
)
from tests.conftest import Bench, assert_balanced, money
from tests.gateways import Ask, Gateway, Reply, answer_to


@contextmanager
def two_workers(deployed: dict[str, str], url: str, folder: Path) -> Iterator[dict[str, str]]:
    """Two workers that serve the deployments of prefect.yaml."""
    with worker_for(deployed, url, folder) as environment, worker_for(deployed, url, folder, name="second"):
        yield environment


def start(environment: dict[str, str], job: Path, **parameters: Any) -> None:
    told = {"job_file": str(job), "poll_s": 1, **parameters}
    given = [flag for name, value in told.items() for flag in ("--param", f"{name}={value}")]
    prefect(environment, "deployment", "run", "rowmill-parts/parts", *given)


def runs_of(server: dict[str, str], flow: str, **filters: Any) -> list[dict[str, Any]]:  # noqa: F811
    told = call(server, "/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}, "flow_runs": filters or None})
    return sorted(told or [], key=lambda run: run["created"])


def holder_of(output: Path) -> int:
    """The process that works on an output; 0 where none does."""
    with suppress(OSError, TypeError):
        found = re.match(r"process (\d+) on", (output / ".lock").read_text())
        return int(found[1]) if found and not (output / "run.json").read_text().count('"state": "ended"') else 0
    return 0


@pytest.mark.nightly
def test_a_job_over_two_workers_survives_kills_and_ends_as_one_output(
    bench: Bench,
    gateways: Any,
    server: Any,  # noqa: F811
    deployments: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Four parts of three files on two workers. The process of one part is killed, and its part goes on; the flow over
    all of them is killed, and its next run waits for the parts that live. At the end every row stands once, the merged
    bill is the sum of the parts' and the gateway's to the last digit, and nothing but calls in flight was paid again.
    """
    gateway: Gateway = gateways(latency_s=0.4)
    for name in "abc":
        bench.rows([{"text": f"{name}{n}"} for n in range(200)], f"{name}.jsonl")
    job = bench.job("job.yaml", input="*.jsonl", name="many", max_cost_usd=5, limits={"concurrency": 16},
                    params={"max_output_tokens": 400})  # fmt: skip
    with two_workers(deployments, gateway.url, tmp_path) as environment:
        start(environment, job, parts=4)
        outputs = [bench.folder / f"out/parts/{number:04d}" for number in range(1, 5)]
        wait_for(lambda: all(holder_of(output) for output in outputs), 120)
        gateway.wait_for(60, 120)
        os.kill(holder_of(outputs[1]), signal.SIGKILL)
        wait_for(
            lambda: runs_of(server, "rowmill-part", name={"any_": ["many 2/4"]})[-1]["state_name"] == "Crashed", 90
        )
        wait_for(lambda: len(runs_of(server, "rowmill-part", name={"any_": ["many 2/4"]})) == 2, 60)
        # The flow over all of them dies: its parts live on.
        whole = runs_of(server, "rowmill-parts")[-1]
        os.kill(whole["infrastructure_pid"] and int(str(whole["infrastructure_pid"]).split(":")[-1]), signal.SIGKILL)
        wait_for(lambda: runs_of(server, "rowmill-parts")[-1]["state_name"] == "Crashed", 90)
        start(environment, job)
        wait_for(lambda: runs_of(server, "rowmill-parts")[-1]["state_name"] == "Completed", 240)
        parts = runs_of(server, "rowmill-part")
    assert len(parts) == 5, [(run["name"], run["state_name"]) for run in parts]
    manifest, results = bench.manifest(), bench.results()
    assert_balanced(manifest, results)
    assert results.height == 600
    assert results["response_text"].to_list() == [
        answer_to(f"Say {name}{n}", seen) for name, n, seen in seen_of(results, "abc", 200)
    ]
    again = gateway.paid_again()
    assert again <= 4, "calls in flight in the part that was killed"
    bills = [
        money(bench.manifest(f"out/parts/{number:04d}")[where]["cost_usd"])
        for number in range(1, 5)
        for where in ("totals", "beside")
    ]
    told = money(manifest["totals"]["cost_usd"]) + money(manifest["beside"]["cost_usd"])
    assert told == sum(bills)
    lost = money(manifest["beside"]["unknown_cost_bound_usd"]) + money(manifest["totals"]["unknown_cost_bound_usd"])
    assert told <= money(gateway.books()["billed_usd"]) <= told + lost
    assert (lost == 0) == (again == 0)
    assert_key_is_nowhere(Path(server["PREFECT_HOME"]))


def seen_of(results: Any, names: str, each: int) -> list[tuple[str, int, int]]:
    """File, row, and the how-manieth answer to it stands in the results (a killed call is asked again)."""
    texts = results["response_text"].to_list()
    places = [(name, n) for name in names for n in range(each)]
    return [(name, n, int(text.split()[1])) for (name, n), text in zip(places, texts, strict=True)]


@pytest.mark.nightly
def test_what_stops_one_part_stops_all_and_is_told_with_its_name(
    bench: Bench,
    gateways: Any,
    server: Any,  # noqa: F811
    deployments: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    """A spend limit that one part meets ends the others within their calls in flight; so does a cap that is spent. The
    flow fails under that name, with the part's; with more money it completes, and pays for nothing twice.
    """

    def limited(ask: Ask) -> Reply:
        if "t150" <= ask.prompt.removeprefix("Say ") <= "t199":
            return Reply(status=429, error=("spend_limit_exceeded", "the hour is spent", "billing_error"), billed=False)
        return Reply(text=answer_to(ask.prompt), delay_s=0.3)

    gateway: Gateway = gateways(limited)
    bench.rows([{"text": f"t{n}"} for n in range(100, 200)])
    told = {"name": "limited", "params": {"max_output_tokens": 400}, "limits": {"concurrency": 4}}
    job = bench.job("job.yaml", max_cost_usd=1, **told)
    with two_workers(deployments, gateway.url, tmp_path) as environment:
        start(environment, job, parts=2)
        wait_for(lambda: runs_of(server, "rowmill-parts")[-1]["state_name"] == "SpendLimit", 240)
        whole = runs_of(server, "rowmill-parts")[-1]
        assert whole["state"]["message"].startswith("part 2 of 2: ")
        assert bench.manifest()["termination"]["kind"] == "spend_limit"
        states = {run["name"]: run["state_name"] for run in runs_of(server, "rowmill-part")}
        assert states["limited 1/2"] in ("Cancelled", "Interrupted", "Completed")
        gateway.script = lambda ask: Reply(text=answer_to(ask.prompt))
        bench.job("job.yaml", max_cost_usd="0.001", **told)
        start(environment, job)
        wait_for(lambda: runs_of(server, "rowmill-parts")[-1]["state_name"] == "Budget", 240)
        bench.job("job.yaml", max_cost_usd=1, **told)
        start(environment, job)
        wait_for(lambda: runs_of(server, "rowmill-parts")[-1]["state_name"] == "Completed", 240)
    assert_balanced(bench.manifest(), bench.results())
    assert gateway.paid_again() == 0
    assert money(bench.manifest()["totals"]["cost_usd"]) == money(gateway.books()["billed_usd"])


@pytest.mark.nightly
def test_a_server_takes_the_work_pool_of_kubernetes(server: Any) -> None:  # noqa: F811
    """The base job template makes a work pool, and both deployments of kubernetes/prefect.yaml stand in it with the
    variables that they set.
    """
    template = "kubernetes/base-job-template.json"
    prefect(
        server, "work-pool", "create", "rowmill-kubernetes", "--type", "kubernetes", "--base-job-template", template
    )
    prefect(server, "--no-prompt", "deploy", "--all", "--prefect-file", "kubernetes/prefect.yaml")
    pool = call(server, "/work_pools/rowmill-kubernetes")
    assert pool["base_job_template"]["variables"]["properties"]["secret"]["default"] == "rowmill"
    for name in ("parts", "part"):
        found = call(server, f"/deployments/name/rowmill-{name}/{name}")
        assert found["work_pool_name"] == "rowmill-kubernetes"
        assert found["entrypoint"] == f"rowmill.flows.parts.run_{name}"
