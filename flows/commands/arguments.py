"""Arguments: the words of the command line, and what they change in a job."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

RETRY_KINDS_HELP = "any (default), a status (failed, invalid, refused) or an error kind"


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="rowmill", description="Ask a language model about every row of a file: once, typed, within a budget."
    )
    root.add_argument("--version", action="store_true", help="print the version and exit")
    commands = root.add_subparsers(dest="command", metavar="COMMAND")
    _add_run(commands.add_parser("run", help="run a job; run it again and it goes on where it stopped"))
    label = commands.add_parser("label", help="run a labelling job: votes per row, agreement, accuracy against gold")
    _add_run(label)
    label.add_argument(
        "--gold",
        metavar="FILE",
        help="labels that people gave: review.jsonl filled in, JSONL, CSV, TSV, Label Studio's JSON or CSV",
    )
    label.add_argument(
        "--gold-by", metavar="NAME", help="the annotator who decides where people disagree, or: majority (default)"
    )
    _add_estimate(commands)
    _add_check(commands)
    _add_models(commands)
    status = commands.add_parser("status", help="where a run stands, from its files alone, also while it runs")
    status.add_argument("out", metavar="OUT", help="the output folder")
    status.add_argument("--verify", action="store_true", help="read every part whole, against its checksums")
    status.add_argument("--json", action="store_true", help="as one JSON object")
    report = commands.add_parser("report", help="write OUT/report.html anew")
    report.add_argument("out", metavar="OUT", help="the output folder")
    compare = commands.add_parser("compare", help="two outputs side by side: rows that changed, cost, latency")
    compare.add_argument("a", metavar="OUT_A")
    compare.add_argument("b", metavar="OUT_B")
    compare.add_argument("--json", action="store_true", help="as one JSON object")
    export = commands.add_parser("export", help="write labelled rows for a labelling tool or a spreadsheet")
    export.add_argument("out", metavar="OUT", help="the output folder of a labelling run")
    export.add_argument("file", metavar="FILE", help="the file to write: .json for Label Studio, or .csv")
    export.add_argument("--all", action="store_true", help="every answered row, not only those to review")
    init = commands.add_parser("init", help="write a small job to start from")
    init.add_argument("dir", metavar="DIR", help="the folder to write it to")
    commands.add_parser(
        "sandbox", help="a local gateway that speaks both protocols, with faults on request", add_help=False
    )
    return root


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("job", metavar="JOB", help="the job file (.yaml, .toml or .json)")
    _add_overrides(run)
    run.add_argument(
        "--retry-failed",
        nargs="?",
        const="any",
        metavar="KIND",
        help=f"try rows again that are not ok: {RETRY_KINDS_HELP}",
    )
    run.add_argument(
        "--fresh-part",
        type=int,
        metavar="N",
        help="move a damaged part N aside; its rows are asked (and paid for) again",
    )
    run.add_argument(
        "--require-forecast-under",
        type=float,
        metavar="USD",
        help="estimate first, and send nothing where the whole may cost more (its 99 %% bound)",
    )
    run.add_argument("--fresh", action="store_true", help="move earlier results aside and start anew")
    _add_sandbox(run, "start a sandbox for this run and use it; nothing is paid")
    run.add_argument("--direct", action="store_true", help="the same pipeline without Prefect's orchestration")
    run.add_argument("--no-report", action="store_true", help="leave report.html out")
    run.add_argument("--json", action="store_true", help="one JSON object on stdout at the end, nothing else there")
    run.add_argument("-q", "--quiet", action="store_true", help="no progress and no summary")


def _add_estimate(commands: Any) -> None:
    estimate = commands.add_parser("estimate", help="what a job will cost and how sure that is; sends nothing")
    estimate.add_argument("job", metavar="JOB", help="the job file (.yaml, .toml or .json)")
    _add_overrides(estimate)
    estimate.add_argument(
        "--pilot", type=_pilot, metavar="N", help="pay for N random rows (auto: until ±5 %%), keep them, forecast anew"
    )
    estimate.add_argument("--tokenizer", metavar="FILE", help="count input tokens by this tokenizer.json")
    estimate.add_argument(
        "--rows", action="store_true", help="also write each row's tokens and expected cost to Parquet"
    )
    estimate.add_argument("--compare", action="store_true", help="also tell what the other models would cost")
    _add_sandbox(estimate, "start a sandbox for the pilot and use it")
    estimate.add_argument(
        "--direct", action="store_true", help="accepted as in run; an estimate needs no orchestration"
    )
    estimate.add_argument("--json", action="store_true", help="the forecast as one JSON object on stdout")
    estimate.add_argument("-q", "--quiet", action="store_true", help="write estimate.json and say nothing")


def _add_sandbox(command: argparse.ArgumentParser, does: str) -> None:
    command.add_argument("--sandbox", action="store_true", help=does)
    command.add_argument(
        "--sandbox-settings",
        metavar="FILE",
        action=_SandboxSettings,
        help="the same, with settings (JSON): latency, faults, right answers",
    )


class _SandboxSettings(argparse.Action):
    """Settings of a sandbox ask for one."""

    def __call__(self, _: Any, namespace: argparse.Namespace, values: Any, __: str | None = None) -> None:
        namespace.sandbox, namespace.sandbox_settings = True, values


def _pilot(told: str) -> int | str:
    if told == "auto":
        return told
    if not told.isdigit() or int(told) < 1:
        raise argparse.ArgumentTypeError(f"{told!r} is neither auto nor a number of rows")
    return int(told)


def _add_overrides(command: argparse.ArgumentParser) -> None:
    command.add_argument("-i", "--input", help="input file, folder or glob (instead of the job's)")
    command.add_argument("-o", "--output", help="output folder (instead of the job's)")
    command.add_argument("-m", "--model", help="model (instead of the job's)")
    command.add_argument("-n", "--limit", type=_positive, help="take only so many rows from the input's beginning")
    command.add_argument("--concurrency", type=_positive, help="most calls in flight at a time")
    command.add_argument("--rpm", type=float, help="requests per minute")
    command.add_argument("--tpm", type=float, help="tokens per minute")
    command.add_argument("--max-cost", metavar="USD", help="cap: no call is sent that could pass it")


def _add_check(commands: Any) -> None:
    check = commands.add_parser("check", help="validate the job, its schema and every input row; sends nothing")
    check.add_argument("job", metavar="JOB")
    check.add_argument("-i", "--input", help="input file, folder or glob (instead of the job's)")
    check.add_argument("-m", "--model", help="model (instead of the job's)")
    check.add_argument("-n", dest="show", type=_positive, default=1, help="rendered requests to show (default 1)")


def _add_models(commands: Any) -> None:
    models = commands.add_parser("models", help="the catalogue: protocols, prices, restrictions, date and source")
    models.add_argument("--catalogue", help="a catalogue of your own, shown beside the built-in one")
    models.add_argument("--json", action="store_true", help="as one JSON object")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


_positive.__name__ = "whole number from 1"


def overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Flags as dotted keys of the job; paths on the command line are relative to where the user stands."""
    paths = {key: _here(value) for key in ("input", "output") if (value := getattr(args, key, None))}
    told = {
        "model": getattr(args, "model", None),
        "limits.concurrency": getattr(args, "concurrency", None),
        "limits.rpm": getattr(args, "rpm", None),
        "limits.tpm": getattr(args, "tpm", None),
        "max_cost_usd": getattr(args, "max_cost", None),
    }
    return paths | {key: value for key, value in told.items() if value is not None}


def _here(value: str) -> str:
    return value if "://" in value else str(Path(value).absolute())


def kind_or_job(given: list[str]) -> list[str]:
    """`run --retry-failed JOB`: a word that looks like a job file is the job, not the kind."""
    if "--retry-failed" in given:
        at = given.index("--retry-failed")
        if given[at + 1 : at + 2] and given[at + 1].endswith((".yaml", ".yml", ".toml", ".json")):
            return [*given[: at + 1], "any", *given[at + 1 :]]
    return given
