"""Standing: how far the parts of a job are, and the manifest of the whole made of theirs. It always balances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from msgspec.structs import asdict, astuple

from rowmill.schemas.errors import OutputError
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import InputSummary, Manifest, PartStanding, SplitStanding
from rowmill.schemas.part_of import PartOf
from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.schemas.totals import Beside, RowLedger, Sums, Totals
from rowmill.tasks.gateway.admission.halts import RUN_AGAIN
from rowmill.tasks.split.place import Split, merge_command, part_name, part_output, run_command

# What stops one part for the key or for money stops the whole; where several have ended, the first of these is told.
STOPS_ALL = (
    TerminationKind.AUTH,
    TerminationKind.MODEL_NOT_FOUND,
    TerminationKind.SPEND_LIMIT,
    TerminationKind.INSUFFICIENT_CREDITS,
    TerminationKind.BUDGET,
)
_ORDER = (*STOPS_ALL, *(kind for kind in TerminationKind if kind not in (*STOPS_ALL, TerminationKind.COMPLETE)))
NOT_RUN = "not run"

Manifests = Sequence[Manifest | None]


def state_of(manifest: Manifest | None) -> str:
    """How far a part is, by its manifest: the kind of its end, `running`, or `not run`."""
    if manifest is None:
        return NOT_RUN
    return "running" if manifest.termination is None else manifest.termination.kind.value


def is_complete(manifests: Manifests) -> bool:
    return all(state_of(one) == TerminationKind.COMPLETE for one in manifests)


def whole_manifest(job: Job, split: Split, manifests: Manifests) -> Manifest:
    """run.json of the whole while not all of it is merged: sums of the parts' manifests, and why it is not complete.

    Rows of a part that was never run are known where they were counted as the job was split. Raises OutputError where
    no part was run.
    """
    known = [manifest for manifest in manifests if manifest is not None]
    if not known:
        raise OutputError(
            "none of its parts has been run",
            where=split.output,
            hint=f"run them: {run_command(split.output, 1)}, and the others",
        )
    pairs = list(zip(manifests, split.extents, strict=True))
    ledgers = [_not_attempted(extent.rows or 0) if one is None else one.ledger for one, extent in pairs]
    known_whole = (extent.rows is not None if one is None else one.input.rows_are_all for one, extent in pairs)
    first = known[0]
    return Manifest(
        version=first.version,
        rowmill=first.rowmill,
        name=job.name,
        run_id=max(one.run_id for one in known),
        state="running" if any(one.state == "running" for one in known) else "ended",
        started_at=min(one.started_at for one in known),
        updated_at=max(one.updated_at for one in known),
        sandbox=first.sandbox,
        model=first.model,
        prices=first.prices,
        prices_escalated=first.prices_escalated,
        job=job.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        json_text_fields=first.json_text_fields,
        fingerprint=first.fingerprint,
        input=InputSummary(rows=sum(ledger.rows for ledger in ledgers), rows_are_all=all(known_whole)),
        ledger=RowLedger(*(sum(counts) for counts in zip(*map(astuple, ledgers), strict=True))),
        totals=totals_of([one.totals for one in known]),
        beside=_beside_of([one.beside for one in known]),
        split=standing_of(split, manifests),
        termination=_termination(split, manifests),
    )


def standing_of(split: Split, manifests: Manifests) -> SplitStanding:
    """Each part with its state, its rows and what was ever sent for it."""
    parts = [
        PartStanding(
            part=number,
            output=part_output(split.output, number),
            state=state_of(manifest),
            rows=extent.rows if manifest is None else manifest.ledger.rows,
            cost_usd=None if manifest is None else _money([manifest.totals.cost_usd, manifest.beside.cost_usd]),
        )
        for number, (manifest, extent) in enumerate(zip(manifests, split.extents, strict=True), 1)
    ]
    return SplitStanding(split.name, parts)


def _not_attempted(rows: int) -> RowLedger:
    return RowLedger(rows, not_attempted=rows)


def _money(amounts: Sequence[str | None]) -> str | None:
    """The sum of exact amounts; None where one is unknown."""
    if any(amount is None for amount in amounts):
        return None
    return _bound([amount for amount in amounts if amount is not None])


def _bound(amounts: Sequence[str]) -> str:
    """The sum of exact amounts."""
    return f"{sum(map(Decimal, amounts), Decimal(0)):.12f}"


def totals_of(totals: Sequence[Totals]) -> Totals:
    """The sums of several `totals`."""
    retries = Counter[str]()
    for one in totals:
        retries.update(one.retries)
    return Totals(
        cost_usd=_money([one.cost_usd for one in totals]),
        cost_credits=_money([one.cost_credits for one in totals]),
        wasted_cost_usd=_money([one.wasted_cost_usd for one in totals]),
        input_tokens=sum(one.input_tokens for one in totals),
        output_tokens=sum(one.output_tokens for one in totals),
        thought_tokens=sum(one.thought_tokens for one in totals),
        calls=sum(one.calls for one in totals),
        retries=dict(sorted(retries.items())),
        rows_reused=sum(one.rows_reused for one in totals),
        rows_cost_unknown=sum(one.rows_cost_unknown for one in totals),
        unknown_cost_bound_usd=_bound([one.unknown_cost_bound_usd for one in totals]),
    )


def _beside_of(besides: Sequence[Beside]) -> Beside:
    return Beside(
        **asdict(_sums_of(besides)),
        unsettled=_sums_of([one.unsettled or Sums() for one in besides]),
        former=_sums_of([one.former or Sums() for one in besides]),
    )


def _sums_of(sums: Sequence[Sums]) -> Sums:
    return Sums(
        calls=sum(one.calls for one in sums),
        cost_usd=_money([one.cost_usd for one in sums]),
        cost_credits=_money([one.cost_credits for one in sums]),
        unknown_cost_bound_usd=_bound([one.unknown_cost_bound_usd for one in sums]),
    )


def _termination(split: Split, manifests: Manifests) -> Termination:
    """Why the whole is not complete: the part that stopped it, by its name."""
    parts = len(split.extents)
    states = [state_of(manifest) for manifest in manifests]
    for kind in _ORDER:
        if kind in states:
            number = states.index(kind) + 1
            manifest = manifests[number - 1]
            assert manifest is not None
            return replace(manifest.end, message=f"part {number} of {parts}: {manifest.end.message}")
    if is_complete(manifests):
        what = f"all {parts} parts are complete, and not merged yet"
        return Termination(TerminationKind.INTERRUPTED, "merge", what, merge_command(split.output))
    number = next(number for number, state in enumerate(states, 1) if state != TerminationKind.COMPLETE)
    what = "has not been run" if states[number - 1] == NOT_RUN else "is not complete: it runs, or was killed"
    others = len([state for state in states if state != TerminationKind.COMPLETE]) - 1
    more = f", and {others} more are not complete" if others else ""
    again = f"{RUN_AGAIN[0].lower()}{RUN_AGAIN[1:]}"
    return Termination(
        TerminationKind.INTERRUPTED,
        "part",
        f"part {number} of {parts} {what}{more}",
        f"run it ({run_command(split.output, number)}): {again}",
    )


def title(part: PartOf) -> str:
    """A part's name in Prefect and on the screen."""
    return f"{part.name}/{part_name(part.part)}"
