"""Report: `rowmill report OUT`, and the page that every run leaves: one file that needs nothing but itself."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from rowmill.flows.text.forecast import usd
from rowmill.flows.text.labelling import label_pairs, label_tables
from rowmill.schemas.errors import ExitCode, RowmillError
from rowmill.schemas.manifest import TerminationKind
from rowmill.tasks.output.folder import manifest_of, write_file
from rowmill.tasks.output.location import output_held

REPORT = "report.html"
log = logging.getLogger("rowmill")


def report_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill report OUT`: writes OUT/report.html anew. Raises OutputError where there is no run."""
    with output_held(args.out) as (root, _):
        page = write_report(root)
    print(f"{args.out.rstrip('/')}/{page.name}")
    return ExitCode.OK


def leave_report(root: Path) -> None:
    """The page at a run's end. A run is not lost for want of it: what hinders it is a warning."""
    try:
        write_report(root)
    except (RowmillError, OSError) as error:
        log.warning("report.html could not be written: %s", error)


def write_report(root: Path) -> Path:
    """Make the page from the output's files alone. Raises OutputError, DamageError, StorageError."""
    from rowmill.tasks.report.figures import figures
    from rowmill.tasks.report.page import page

    manifest = manifest_of(root)
    found = figures(root / "results")
    path = root / REPORT
    write_file(path, page(told_by(manifest), found).encode())
    return path


def told_by(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest tells, in the page's words."""
    termination = manifest.get("termination") or {
        "kind": manifest["state"],
        "message": "the run has not ended",
        "next": "",
    }
    rows, totals = manifest["ledger"], manifest["totals"]
    good = termination["kind"] == TerminationKind.COMPLETE and rows["ok"] == rows["rows"]
    outcome = termination["kind"].replace("_", " ")
    if termination["kind"] == TerminationKind.COMPLETE and not good:
        outcome = f"complete, {rows['rows'] - rows['ok']:,} rows not ok"
    return {
        "name": manifest["name"],
        "outcome": outcome,
        "good": good,
        "model": manifest["model"],
        "run_id": manifest["run_id"],
        "version": manifest["rowmill"],
        "started": _time(manifest["started_at"]),
        "updated": _time(manifest["updated_at"]),
        "message": termination["message"],
        "next": termination["next"],
        "ledger": [(name.replace("_", " "), f"{count:,}") for name, count in rows.items()],
        "bill": _bill(rows, totals),
        "retries": sorted(totals["retries"].items(), key=lambda one: -one[1]),
        "course": manifest.get("course"),
        **_forecast(manifest.get("forecast")),
        "label": label_pairs(manifest["label"]) if manifest.get("label") else [],
        "label_tables": label_tables(manifest["label"]) if manifest.get("label") else [],
    }


def _bill(rows: Mapping[str, int], totals: Mapping[str, Any]) -> list[tuple[str, str]]:
    settled = rows["rows"] - rows["not_attempted"]
    told: list[tuple[str, str]] = []
    if totals["cost_usd"] is not None:
        cost, wasted = Decimal(totals["cost_usd"]), Decimal(totals["wasted_cost_usd"])
        told = [
            ("cost", usd(float(cost))),
            ("credits", f"{Decimal(totals['cost_credits']).normalize():f}"),
            ("useful", usd(float(cost - wasted))),
            ("for answers not accepted", usd(float(wasted))),
            ("for 1,000 rows", usd(float(cost) / settled * 1_000) if settled else "–"),
        ]
    else:
        told = [("cost", "unknown (no price)")]
    if totals["rows_cost_unknown"]:
        told.append(("may be more, at most", usd(float(totals["unknown_cost_bound_usd"]))))
    return [
        *told,
        ("calls", f"{totals['calls']:,}"),
        ("rows answered by another's call", f"{totals['rows_reused']:,}"),
        ("input tokens", f"{totals['input_tokens']:,}"),
        ("output tokens", f"{totals['output_tokens']:,}"),
        ("thought tokens", f"{totals['thought_tokens']:,}"),
    ]


def _forecast(told: Mapping[str, Any] | None) -> dict[str, Any]:
    if not told:
        return {"forecast": [], "deciles": []}
    off = "–" if told["off_by"] is None else f"{told['off_by']:+.1%}"
    pairs = [
        ("rows forecast", f"{told['rows']:,}"), ("forecast", usd(told["estimate_usd"])),
        ("95 % interval", f"{usd(told['low_usd'])} to {usd(told['high_usd'])}"), ("actual", usd(told["actual_usd"])),
        ("off by", off), ("learned from", told["basis"]),
    ]  # fmt: skip
    deciles = [
        (f"{one['rows']:,}", f"{one['mean_input_tokens']:,.0f}", usd(one["expected_usd"]), usd(one["actual_usd"]))
        for one in told["deciles"]
    ]
    return {"forecast": pairs, "deciles": deciles}


def _time(told: str) -> str:
    return told.replace("T", " ")[:19] + " UTC"
