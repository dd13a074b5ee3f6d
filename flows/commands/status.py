"""Status: the `status` command shows how far a run has got, from its files alone; it works while the run goes on."""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from rowmill.flows.text.summary import summary
from rowmill.schemas.attempt import Spent
from rowmill.schemas.display_text import counted, one_line
from rowmill.schemas.errors import DamageError, ExitCode, OutputError
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.tally import Tally, summed
from rowmill.schemas.totals import Beside, RowLedger, Totals
from rowmill.tasks.journal.ledger import LEDGER, Ledger
from rowmill.tasks.journal.replay import replay
from rowmill.tasks.output.folder_lock import is_locked
from rowmill.tasks.output.layout import segments_in
from rowmill.tasks.output.location import output_to_read
from rowmill.tasks.output.manifest_file import manifest_of, read_manifest
from rowmill.tasks.output.part_footer import read_footer, tally_of, verify_part
from rowmill.tasks.output.results_frame import result_parts
from rowmill.tasks.output.spending import spent_on_canary
from rowmill.tasks.run.answer_check import wrong_answers
from rowmill.tasks.split.place import Split, part_manifest, part_output, read_split
from rowmill.tasks.split.standing import whole_manifest


def status_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill status OUT`: exit 0, or 2 if there is no run or one of its files is damaged."""
    address = args.out if "://" in args.out else str(Path(args.out).absolute())
    if (split := read_split(address)) is not None and not _is_merged(address):
        return _status_of_parts(split, args)
    with output_to_read(args.out) as root:
        return _status(root, args)


def _is_merged(address: str) -> bool:
    """Whether all parts of a split job stand in its own output by now."""
    with suppress(OutputError), output_to_read(address) as root:
        manifest = read_manifest(root)
        return manifest is not None and manifest.is_complete
    return False


def _status_of_parts(split: Split, args: argparse.Namespace) -> ExitCode:
    """How far the parts of a split job are; nothing of it stands in its own output yet."""
    damage: list[str] = []
    manifests: list[Manifest | None] = []
    for number in range(1, len(split.extents) + 1):
        manifest = part_manifest(split.output, number)
        if manifest is not None:
            with output_to_read(part_output(split.output, number)) as root:
                manifest = current_manifest(root, manifest, damage, verify=args.verify)
        manifests.append(manifest)
    whole = whole_manifest(split.whole, split, manifests)
    if args.json:
        print(json.dumps(whole.as_dict() | {"damage": damage}, indent=1))
    else:
        print(_text(whole, split.output))
        for part in whole.split.parts if whole.split else ():
            rows = "rows not counted" if part.rows is None else counted(part.rows, "row")
            print(one_line(f"part {part.part}: {part.state.replace('_', ' ')}, {rows}"))
        for one in damage:
            print(one_line(f"damaged: {one}"))
    return ExitCode.REFUSED if damage else ExitCode.OK


def _status(root: Path, args: argparse.Namespace) -> ExitCode:
    manifest = manifest_of(root)
    damage: list[str] = []
    current = current_manifest(root, manifest, damage, verify=args.verify)
    if args.json:
        print(json.dumps(current.as_dict() | {"damage": damage}, indent=1))
    else:
        print(_text(current, args.out if "://" in args.out else str(root)))
        for one in damage:
            print(one_line(f"damaged: {one}"))
    return ExitCode.REFUSED if damage else ExitCode.OK


def current_manifest(root: Path, manifest: Manifest, damage: list[str], *, verify: bool) -> Manifest:
    """The manifest with ledger and totals recomputed from the parts and the journal. Damage is added to `damage`."""
    if not manifest.is_begun:
        return manifest
    tallies: dict[int, Tally] = {}
    unsettled = Spent()
    ledger_file = Ledger(root / LEDGER)
    sent = ledger_file.spent + spent_on_canary(root, ledger_file)
    for path in result_parts(root / "results"):
        try:
            footer = read_footer(path)
            if verify:
                verify_part(path, manifest.parts.get(path.name))
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
            # The run finished this shard after the listing; the next call sees its part.
            continue
        if found is None or ledger_file.holds(found.head.id or path.name):
            continue
        sent = sent + found.sent
        if found.head.shard.number not in tallies:
            tallies[found.head.shard.number] = tally
            unsettled = unsettled + found.unsettled + found.lost
    tally = summed(tallies.values())
    rows = max(manifest.ledger.rows, tally.rows)
    alive = is_locked(root)
    if manifest.is_complete and not alive:
        damage += [
            f"{root / 'results' / name}: the part is not there any more. Put it back, or run the same command again: "
            "what it held is then asked and paid for anew"
            for name in manifest.parts
            if not (root / "results" / name).exists()
        ]
    state = "running" if alive else "killed" if manifest.state == "running" else "ended"
    return replace(
        manifest,
        state=state,
        ledger=RowLedger.of(tally, rows),
        totals=Totals.of(tally),
        beside=Beside.of(sent, tally.spent, unsettled),
    )


def _text(manifest: Manifest, address: str) -> str:
    if manifest.state == "ended":
        return summary(manifest, address)
    text = summary(replace(manifest, termination=None), address)
    resume = "\nnext: run the same command again to resume where it stopped"
    return text + resume if manifest.state == "killed" else text
