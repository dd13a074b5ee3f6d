"""Standing: how far the parts of a job are, and the manifest of the whole made of theirs. It always balances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from rowmill.schemas.errors import OutputError
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import TerminationKind
from rowmill.schemas.part_of import PartOf
from rowmill.tasks.gateway.admission.halts import RUN_AGAIN
from rowmill.tasks.split.place import Split, part_name, part_output

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
_SUMMED = ("rows_reused", "rows_cost_unknown", "input_tokens", "output_tokens", "thought_tokens", "calls")
_MONEY = ("cost_usd", "cost_credits", "wasted_cost_usd", "unknown_cost_bound_usd")

Manifests = Sequence[Mapping[str, Any] | None]


def state_of(manifest: Mapping[str, Any] | None) -> str:
    """How far a part is, by its manifest: the kind of its end, `running`, or `not run`."""
    if manifest is None:
        return NOT_RUN
    termination = manifest.get("termination")
    return str(termination["kind"]) if termination else "running"


def is_complete(manifests: Manifests) -> bool:
    return all(state_of(one) == TerminationKind.COMPLETE for one in manifests)


def whole_manifest(job: Job, split: Split, manifests: Manifests) -> dict[str, Any]:
    """run.json of the whole while not all of it is merged: sums of the parts' manifests, and why it is not complete.

    Rows of a part that was never run are known where they were counted as the job was split. Raises OutputError where
    no part was run.
    """
    known = [manifest for manifest in manifests if manifest is not None]
    if not known:
        raise OutputError(
            "none of its parts has been run",
            where=split.output,
            hint=f"run them: rowmill run {part_output(split.output, 1)}.yaml, and the others",
        )
    counted = [
        manifest["ledger"] if manifest is not None else _not_attempted(extent.rows or 0)
        for manifest, extent in zip(manifests, split.extents, strict=True)
    ]
    first = known[0]
    return {
        **{key: first[key] for key in ("version", "rowmill", "sandbox", "model", "prices", "prices_escalated")},
        "name": job.name,
        "run_id": max(str(manifest["run_id"]) for manifest in known),
        "state": "running" if any(manifest["state"] == "running" for manifest in known) else "ended",
        "started_at": min(str(manifest["started_at"]) for manifest in known),
        "updated_at": max(str(manifest["updated_at"]) for manifest in known),
        "job": job.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "json_text_fields": first["json_text_fields"],
        "fingerprint": first["fingerprint"],
        "input": {
            "files": [],
            "rows": sum(ledger["rows"] for ledger in counted),
            "rows_are_all": all(
                manifest["input"]["rows_are_all"] if manifest is not None else extent.rows is not None
                for manifest, extent in zip(manifests, split.extents, strict=True)
            ),
            "limit": None,
        },
        "ledger": {key: sum(ledger[key] for ledger in counted) for key in first["ledger"]},
        "totals": totals_of([manifest["totals"] for manifest in known]),
        "beside": _beside_of([manifest["beside"] for manifest in known]),
        "parts": {},
        "forecast": None,
        "termination": _termination(split, manifests),
        "sessions": [],
        "split": told_of(split, manifests),
    }


def told_of(split: Split, manifests: Manifests) -> dict[str, Any]:
    """The `split` of the whole's run.json: each part with its state, its rows and what was ever sent for it."""
    parts = []
    for number, manifest in enumerate(manifests, 1):
        extent = split.extents[number - 1]
        parts.append(
            {
                "part": number,
                "output": part_output(split.output, number),
                "state": state_of(manifest),
                "rows": manifest["ledger"]["rows"] if manifest is not None else extent.rows,
                "cost_usd": None if manifest is None else _sent_usd(manifest),
            }
        )
    return {"name": split.name, "parts": parts}


def _sent_usd(manifest: Mapping[str, Any]) -> str | None:
    return _money([manifest["totals"]["cost_usd"], manifest["beside"]["cost_usd"]])


def _not_attempted(rows: int) -> dict[str, int]:
    counts = dict.fromkeys(("ok", "invalid", "refused", "failed", "unreadable"), 0)
    return {"rows": rows, **counts, "not_attempted": rows}


def _money(amounts: Sequence[str | None]) -> str | None:
    """The sum of exact amounts; None where one is unknown."""
    if any(amount is None for amount in amounts):
        return None
    total = sum((Decimal(str(amount)) for amount in amounts), Decimal(0))
    return f"{total:.12f}"


def totals_of(totals: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The sums of several `totals`."""
    retries: dict[str, int] = {}
    for one in totals:
        for kind, count in one["retries"].items():
            retries[kind] = retries.get(kind, 0) + count
    summed: dict[str, Any] = {key: _money([one[key] for one in totals]) for key in _MONEY}
    summed |= {key: sum(one[key] for one in totals) for key in _SUMMED}
    return {**summed, "retries": dict(sorted(retries.items()))}


def _beside_of(besides: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    def sums(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        money = {key: _money([one[key] for one in told]) for key in _MONEY if key in told[0]}
        return {"calls": sum(one["calls"] for one in told), **money}

    inner = {key: sums([one[key] for one in besides]) for key in ("unsettled", "former")}
    return {**sums(besides), **inner}


def _termination(split: Split, manifests: Manifests) -> dict[str, Any]:
    """Why the whole is not complete: the part that stopped it, by its name."""
    parts = len(split.extents)
    states = [state_of(manifest) for manifest in manifests]
    for kind in _ORDER:
        if kind in states:
            number = states.index(kind) + 1
            manifest = manifests[number - 1]
            assert manifest is not None
            told = manifest["termination"]
            return {**told, "message": f"part {number} of {parts}: {told['message']}"}
    if is_complete(manifests):
        return {
            "kind": TerminationKind.INTERRUPTED.value,
            "code": "merge",
            "message": f"all {parts} parts are complete, and not merged yet",
            "next": f"rowmill merge {split.output}",
        }
    number = next(number for number, state in enumerate(states, 1) if state != TerminationKind.COMPLETE)
    what = "has not been run" if states[number - 1] == NOT_RUN else "is not complete: it runs, or was killed"
    others = len([state for state in states if state != TerminationKind.COMPLETE]) - 1
    return {
        "kind": TerminationKind.INTERRUPTED.value,
        "code": "part",
        "message": f"part {number} of {parts} {what}" + (f", and {others} more are not complete" if others else ""),
        "next": f"run it (rowmill run {part_output(split.output, number)}.yaml): {RUN_AGAIN[0].lower()}{RUN_AGAIN[1:]}",
    }


def title(part: PartOf) -> str:
    """A part's name in Prefect and on the screen."""
    return f"{part.name}/{part_name(part.part)}"
