"""Status: the `status` command tells where a run stands, from its files alone, also while it runs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rowmill.flows.text.summary import summary
from rowmill.schemas.attempt import Spent
from rowmill.schemas.errors import DamageError, ExitCode
from rowmill.schemas.manifest import Tally, beside, ledger, summed, totals
from rowmill.tasks.journal.ledger import LEDGER, Ledger
from rowmill.tasks.journal.replay import replay
from rowmill.tasks.output.folder import is_locked, manifest_of, segments_in
from rowmill.tasks.output.location import output_to_read
from rowmill.tasks.output.part_writer import read_footer, tally_of, verify_part
from rowmill.tasks.run.answer_check import wrong_answers


def status_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill status OUT`: exit 0, or 2 where there is no run or a file of it is damaged."""
    with output_to_read(args.out) as root:
        return _status(root, args)


def _status(root: Path, args: argparse.Namespace) -> ExitCode:
    manifest = manifest_of(root)
    damage: list[str] = []
    told = standing(root, manifest, damage, verify=args.verify)
    if args.json:
        print(json.dumps(told | {"damage": damage}, indent=1))
    else:
        print(_text(told, root))
        for one in damage:
            print(f"damaged: {one}")
    return ExitCode.REFUSED if damage else ExitCode.OK


def standing(root: Path, manifest: dict[str, Any], damage: list[str], *, verify: bool) -> dict[str, Any]:
    """The manifest with ledger and totals as the parts and the journal tell them now."""
    tallies: dict[int, Tally] = {}
    unsettled = Spent()
    ledger_file = Ledger(root / LEDGER)
    sent = ledger_file.spent
    for path in sorted((root / "results").glob("part-*.parquet")):
        try:
            footer = read_footer(path)
            if verify:
                verify_part(path, (manifest.get("parts") or {}).get(path.name))
                damage += wrong_answers(path, manifest)
        except DamageError as error:
            damage.append(str(error))
            continue
        if footer.complete:
            tallies[footer.shard.number] = tally_of(footer)
    for path in segments_in(root / "journal").values():
        tally = Tally()
        try:
            found = replay(path, tally.add)
        except DamageError as error:
            damage.append(str(error))
            continue
        except FileNotFoundError:
            # The run finished this shard between the listing and the reading; its part is seen the next time.
            continue
        if found is None or ledger_file.holds(found.head.id or path.name):
            continue
        sent = sent + found.sent
        if found.head.shard.number not in tallies:
            tallies[found.head.shard.number] = tally
            unsettled = unsettled + found.unsettled + found.lost
    tally = summed(tallies.values())
    rows = max(int(manifest["ledger"]["rows"]), tally.rows)
    alive = is_locked(root)
    state = "running" if alive else "killed" if manifest["state"] == "running" else "ended"
    return {
        **manifest,
        "state": state,
        "ledger": ledger(tally, rows),
        "totals": totals(tally),
        "beside": beside(sent, tally.spent, unsettled),
    }


def _text(told: dict[str, Any], root: Path) -> str:
    if told["termination"] is not None and told["state"] == "ended":
        return summary(told, str(root))
    doing = {"kind": told["state"], "message": "", "next": ""}
    text = summary({**told, "termination": doing}, str(root)).splitlines()
    kept = [line for line in text if not line.startswith(("stopped:", "next:"))]
    if told["state"] == "killed":
        kept.append("next: run the same command again, it goes on where it stopped")
    return "\n".join(kept)
