"""Draws the pictures of the README from a real run of the labelling sample: `make pictures`. Needs chromium."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import tempfile
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pipeline import carry_out
from rowmill.flows.orchestration.run_report import write_report
from rowmill.flows.orchestration.tune_job import TuneOptions, tune_job
from rowmill.flows.text.display import lines
from rowmill.flows.text.tuning import by_cost
from rowmill.sandbox.process import spawn
from rowmill.sandbox.settings import Settings, changed
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.job.job_file import load_job
from rowmill.tasks.report.tuning_page import front_svg
from rowmill.tasks.run.run import OpenRun
from rowmill.tasks.run.run_plan import Options

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "sample_data" / "labelling"
PICTURES = Path(__file__).parent / "pictures"
WIDTH = 92
SHOWN_AT = 0.55


async def run(output: Path) -> list[str]:
    """Label the sample on a bad day; returns the lines of the display halfway through."""
    settings = json.loads((SAMPLE / "sandbox.json").read_text())
    bad_day = {"latency_ms": 300, "latency_spread": 0.5, "faults": {"upstream_error": 0.02, "wrong_schema": 0.03}}
    shown: list[str] = []

    async def watch(run: OpenRun) -> None:
        progress = run.progress
        while progress.done < SHOWN_AT * progress.total or not progress.total:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        shown.extend(lines(progress, run.background.traffic(), run.job.limits, now=run.clock.now(), width=WIDTH))

    with spawn(changed(Settings(), {**settings, **bad_day})) as sandbox:
        job = load_job(SAMPLE / "job.yaml", {"output": str(output), "limits.rpm": 2_400})
        gateway = Gateway(sandbox.base_url, "sk-sandbox-only-0000", None)
        async with opened(job, Options(sandbox=True), gateway) as labelling:
            await carry_out(labelling, watch=watch)
    return shown


async def compare(output: Path) -> str:
    """Compare ways of asking the sample; returns the picture of their front."""
    with spawn(changed(Settings(), json.loads((SAMPLE / "sandbox.json").read_text()))) as sandbox:
        job = load_job(SAMPLE / "job.yaml", {"output": str(output), "limits.rpm": 600})
        options = TuneOptions(0.8, Decimal(2), sandbox=True)
        tuning = await tune_job(job, options, Gateway(sandbox.base_url, "sk-sandbox-only-0000", None))
    svg = front_svg(tuning, by_cost(tuning))
    assert svg is not None
    # In a page of its own it has no colours of a page.
    svg = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" color="#57606a" ', 1)
    return svg.replace("var(--line)", "#0b62c4").replace("var(--paper)", "#fff")


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "topics"
        shown = asyncio.run(run(output))
        console = Console(record=True, width=WIDTH, file=open("/dev/null", "w"))  # noqa: SIM115
        for line in shown:
            console.print(Text(line))
        svg = console.export_svg(title="rowmill label sample_data/labelling/job.yaml")
        # A picture fetches nothing: the reader's own monospaced font is good enough.
        svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
        (PICTURES / "display.svg").write_text(svg, encoding="utf-8")
        (PICTURES / "plans.svg").write_text(asyncio.run(compare(Path(folder) / "plans")), encoding="utf-8")
        page = write_report(output)
        command = [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--window-size=1100,1750",
        ]
        subprocess.run([*command, f"--screenshot={PICTURES / 'report.png'}", page.as_uri()], check=True, timeout=120)


if __name__ == "__main__":
    main()
