"""Arguments: the parser of the command line, and what its flags override in a job."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rowmill.flows.commands.argument_types import (
    SandboxSettings,
    parts,
    pilot,
    positive,
    positive_usd,
    share,
    usd,
    usd_or_nothing,
)
from rowmill.flows.orchestration.named_output import output_of
from rowmill.schemas.forecast import PILOT_SHARE

INPUT_HELP = "input file, folder or glob, or - for standard input (instead of the job's)"
# Arguments that name an output, and those that name several.
ONE, SEVERAL = ("out", "other", "a", "b"), ("folders",)
RETRY_KINDS_HELP = "any (the default), a status (failed, invalid, refused, unreadable) or an error kind"


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="rowmill", description="Ask a language model about every row of a file: once, typed, within a budget."
    )
    root.add_argument("--version", action="store_true", help="print the version and exit")
    commands = root.add_subparsers(dest="command", metavar="COMMAND")
    _add_run(commands.add_parser("run", help="run a job; run it again to resume where it stopped"))
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
    _add_tune(commands)
    _add_check(commands)
    _add_models(commands)
    status = commands.add_parser("status", help="how far a run has got, read from its files alone; works while it runs")
    status.add_argument("out", metavar="OUT", help="the output folder, or its job file")
    status.add_argument("--verify", action="store_true", help="read every byte of every part and compare checksums")
    status.add_argument("--json", action="store_true", help="print one JSON object")
    report = commands.add_parser("report", help="write OUT/report.html again")
    report.add_argument("out", metavar="OUT", help="the output folder, or its job file")
    compare = commands.add_parser("compare", help="compare two outputs: changed rows, cost, latency")
    compare.add_argument("a", metavar="OUT_A")
    compare.add_argument("b", metavar="OUT_B")
    compare.add_argument("--json", action="store_true", help="print one JSON object")
    history = commands.add_parser("history", help="runs over time: how they ended, cost, and what moved beyond chance")
    history.add_argument(
        "folders",
        metavar="FOLDER",
        nargs="+",
        help="an output, or a folder of outputs, such as one for each night; s3:// too",
    )
    history.add_argument(
        "--last", type=positive, default=30, metavar="N", help="show the last N runs (default: %(default)s)"
    )
    history.add_argument("--json", action="store_true", help="print every run as one JSON object")
    _add_split(commands)
    _add_export(commands)
    view = commands.add_parser("view", help="show every row in the browser; two outputs side by side")
    view.add_argument("out", metavar="OUT", help="the output folder, or its job file")
    view.add_argument("other", metavar="OUT_B", nargs="?", help="another output of the same rows, to compare with")
    view.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    view.add_argument("--no-browser", action="store_true", help="print the address and open no browser")
    init = commands.add_parser("init", help="create a small job to start from")
    init.add_argument("dir", metavar="DIR", help="the folder to create it in")
    commands.add_parser("schema", help="print the JSON Schema of a job file, for editors")
    completion = commands.add_parser("completion", help="print a script that completes commands and flags in a shell")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell to complete in")
    commands.add_parser(
        "sandbox", help="run a local gateway that speaks both protocols, with faults on request", add_help=False
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
        help=f"ask rows again that are not ok: {RETRY_KINDS_HELP}",
    )
    run.add_argument(
        "--fresh-part",
        type=int,
        metavar="N",
        help="set the damaged part N aside; its rows are asked, and paid for, again",
    )
    run.add_argument(
        "--require-forecast-under",
        type=usd_or_nothing,
        metavar="USD",
        help="estimate first, and send nothing if the 99 %% bound of the total cost is higher",
    )
    run.add_argument(
        "--approve-over",
        type=usd,
        metavar="USD",
        help="estimate first; a run that may cost more goes on only under a sum that somebody approves",
    )
    run.add_argument("--yes", action="store_true", help="approve what --approve-over would ask for")
    run.add_argument("--fresh", action="store_true", help="set earlier results aside and start over")
    _add_sandbox(run, "start a sandbox and use it for this run; nothing is paid")
    run.add_argument("--direct", action="store_true", help="run the same pipeline without Prefect's orchestration")
    run.add_argument(
        "--metrics",
        metavar="[HOST]:PORT|FILE",
        help="serve Prometheus metrics at this port (:9464 is 127.0.0.1:9464), or write them to this .prom file "
        "(default: ROWMILL_METRICS)",
    )
    run.add_argument("--no-report", action="store_true", help="do not write report.html")
    run.add_argument(
        "--json", action="store_true", help="print one JSON object on stdout at the end, and nothing else there"
    )
    run.add_argument("-q", "--quiet", action="store_true", help="no progress and no summary")


def _add_estimate(commands: Any) -> None:
    estimate = commands.add_parser("estimate", help="forecast what a job will cost, with an interval; sends nothing")
    estimate.add_argument("job", metavar="JOB", help="the job file (.yaml, .toml or .json)")
    _add_overrides(estimate)
    estimate.add_argument(
        "--pilot",
        type=pilot,
        metavar="N",
        help="pay for N rows that are not settled yet, drawn at random (auto: until within 5 %%), keep their results, "
        "and forecast from them",
    )
    estimate.add_argument(
        "--pilot-share",
        type=share,
        default=PILOT_SHARE,
        metavar="X",
        help="with --pilot auto: spend no more on the pilot than this share of the whole bill (default: %(default)s)",
    )
    estimate.add_argument("--tokenizer", metavar="FILE", help="count input tokens with this tokenizer.json")
    estimate.add_argument(
        "--rows", action="store_true", help="also write the tokens and the expected cost of each row to Parquet"
    )
    estimate.add_argument("--compare", action="store_true", help="also show what the other models would cost")
    _add_sandbox(estimate, "start a sandbox and use it for the pilot")
    estimate.add_argument(
        "--direct", action="store_true", help="accepted for symmetry with run; an estimate needs no orchestration"
    )
    estimate.add_argument("--json", action="store_true", help="print the forecast as one JSON object on stdout")
    estimate.add_argument("-q", "--quiet", action="store_true", help="write estimate.json and print nothing")


def _add_tune(commands: Any) -> None:
    tune = commands.add_parser("tune", help="find the cheapest way of asking that is right often enough, on gold rows")
    tune.add_argument("job", metavar="JOB", help="the job file (.yaml, .toml or .json); it names a gold column")
    tune.add_argument(
        "--target", type=share, required=True, metavar="X", help="share of gold rows that must be right, such as 0.95"
    )
    tune.add_argument(
        "--budget", type=positive_usd, required=True, metavar="USD", help="what the comparison may cost at the most"
    )
    tune.add_argument(
        "--margin",
        type=share,
        default=0.02,
        metavar="X",
        help="how far below the target the 95 %% interval of the marked plan may reach (default: %(default)s)",
    )
    tune.add_argument("--seed", type=int, default=0, help="which gold rows choose and which judge (default: 0)")
    _add_overrides(tune)
    _add_sandbox(tune, "start a sandbox and compare the plans on it")
    tune.add_argument("--json", action="store_true", help="print the comparison as one JSON object on stdout")
    tune.add_argument("-q", "--quiet", action="store_true", help="write tune.json and tuned.yaml and print nothing")


def _add_sandbox(command: argparse.ArgumentParser, does: str) -> None:
    command.add_argument("--sandbox", action="store_true", help=does)
    command.add_argument(
        "--sandbox-settings",
        metavar="FILE",
        action=SandboxSettings,
        help="the same, with settings from a JSON file: latency, faults, correct answers",
    )


def _add_overrides(command: argparse.ArgumentParser, *, limit: bool = True) -> None:
    command.add_argument(
        "-i", "--input", help="input file, folder or glob, or - for standard input (instead of the job's)"
    )
    command.add_argument("-o", "--output", help="output folder (instead of the job's)")
    command.add_argument("-m", "--model", help="model (instead of the job's)")
    if limit:
        command.add_argument(
            "-n", "--limit", type=positive, metavar="N", help="take only the first N rows of the input"
        )
    command.add_argument("--concurrency", type=positive, help="maximum number of calls in flight")
    command.add_argument("--rpm", type=float, help="requests per minute")
    command.add_argument("--tpm", type=float, help="tokens per minute")
    command.add_argument("--max-cost", metavar="USD", help="cap on the cost: no call is sent that could exceed it")


def _add_check(commands: Any) -> None:
    check = commands.add_parser("check", help="validate the job, its schema and every input row; sends nothing")
    check.add_argument("job", metavar="JOB")
    check.add_argument(
        "-i", "--input", help="input file, folder or glob, or - for standard input (instead of the job's)"
    )
    check.add_argument("-m", "--model", help="model (instead of the job's)")
    check.add_argument(
        "-n", dest="show", type=positive, default=1, help="number of rendered requests to show (default 1)"
    )


def _add_models(commands: Any) -> None:
    models = commands.add_parser("models", help="show the catalogue: protocols, prices, restrictions, date and source")
    models.add_argument("--catalogue", help="a catalogue of your own, shown along with the built-in one")
    models.add_argument("--json", action="store_true", help="print one JSON object")
    models.add_argument(
        "--init",
        nargs="?",
        const="models.toml",
        metavar="FILE",
        help="write a catalogue to start from: every key explained, examples of servers (default models.toml)",
    )


def _add_split(commands: Any) -> None:
    split = commands.add_parser("split", help="make jobs of parts of a job, to be run on any machines under one cap")
    split.add_argument("job", metavar="JOB", help="the job file (.yaml, .toml or .json)")
    split.add_argument(
        "--parts", type=parts, metavar="N", help="number of parts; left out where the job is split already"
    )
    split.add_argument(
        "--at-once",
        type=positive,
        metavar="K",
        help="how many run at a time, for which concurrency, rpm and tpm are divided (default: all)",
    )
    split.add_argument("--into", metavar="DIR", help="folder for the part jobs' files (default: OUT/parts)")
    _add_overrides(split, limit=False)
    split.add_argument("--json", action="store_true", help="print one JSON object")
    merge = commands.add_parser("merge", help="one output of the parts of a split job, as one run would have left it")
    merge.add_argument("out", metavar="OUT", help="the output of the whole job")
    merge.add_argument("--no-report", action="store_true", help="do not write report.html")
    merge.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def _add_export(commands: Any) -> None:
    export = commands.add_parser("export", help="write the rows of an output to .csv, .jsonl, .xlsx or .parquet")
    export.add_argument("out", metavar="OUT", help="the output folder, or its job file")
    export.add_argument("file", metavar="FILE", help="the file to write; labels also as .json, for Label Studio")
    which = export.add_mutually_exclusive_group()
    for name, words in (
        ("ok", "only rows that are ok"),
        ("all", "every row (the default; as .json every answered row)"),
        (
            "review",
            "only rows that somebody should look at: not ok, or of little agreement; of labels, a sheet to fill in",
        ),
    ):
        which.add_argument(f"--{name}", dest="selection", action="store_const", const=name, help=words)


def overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Flags as dotted keys of the job. Paths given on the command line are relative to the working directory."""
    paths = {key: _here(value) for key in ("input", "output") if (value := getattr(args, key, None))}
    values = {
        "model": getattr(args, "model", None),
        "limits.concurrency": getattr(args, "concurrency", None),
        "limits.rpm": getattr(args, "rpm", None),
        "limits.tpm": getattr(args, "tpm", None),
        "max_cost_usd": getattr(args, "max_cost", None),
    }
    return paths | {key: value for key, value in values.items() if value is not None}


def _here(value: str) -> str:
    return value if "://" in value or value == "-" else str(Path(value).absolute())


def name_outputs(args: argparse.Namespace) -> None:
    """Put in the place of a job file, in every argument that names an output, the output of that job.

    Raises JobError, SchemaError for a job file that is none, OutputError where its job has not been run.
    """
    for name in ONE:
        if isinstance(told := getattr(args, name, None), str):
            setattr(args, name, output_of(told))
    for name in SEVERAL:
        if isinstance(told := getattr(args, name, None), list):
            setattr(args, name, [output_of(one) for one in told])


def kind_or_job(given: list[str]) -> list[str]:
    """`run --retry-failed JOB`: an argument that looks like a job file is the job, not a kind."""
    if "--retry-failed" in given:
        at = given.index("--retry-failed")
        if given[at + 1 : at + 2] and given[at + 1].endswith((".yaml", ".yml", ".toml", ".json")):
            return [*given[: at + 1], "any", *given[at + 1 :]]
    return given
