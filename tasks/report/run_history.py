"""Run history: the runs of outputs over time, each held against those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from rowmill.schemas.attempt import Spent
from rowmill.schemas.history import KILLED, RUNNING, RunRecord
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.price import Cost, decimal_string, parse_amount
from rowmill.schemas.termination import TerminationKind
from rowmill.tasks.output.folder_lock import is_locked
from rowmill.tasks.output.history import HISTORY, read_history
from rowmill.tasks.output.results_frame import readable, result_parts
from rowmill.tasks.output.spending import spent_in
from rowmill.tasks.report.movement import ALPHA, Compared, compared
from rowmill.tasks.report.run_shares import RunCounts, run_counts

# So many runs before a run are what it is held against.
BEFORE_MOST = 30
# Runs that were stopped for what they answered are no measure of what is usual.
UNUSUAL = frozenset((TerminationKind.QUALITY, TerminationKind.DRIFT, TerminationKind.ACCURACY))


@dataclass(frozen=True, slots=True)
class Night:
    """A run in the course of its job: the output that it is of, what changed in the job since the run before, and its
    shares beside those of the runs before (none where there is nothing to compare).
    """

    output: str
    record: RunRecord
    changed: Sequence[str] = ()
    shares: Sequence[Compared] = field(default=())

    @property
    def moved(self) -> list[Compared]:
        """What differs beyond chance, the largest difference first."""
        return sorted((one for one in self.shares if one.moved), key=lambda one: -abs(one.difference))

    @property
    def before(self) -> int:
        """Runs that it is held against."""
        return max((one.nights for one in self.shares), default=0)


def records_of(root: Path, manifest: Manifest) -> list[RunRecord]:
    """The runs of an output at hand: its history, a run that is at work or was killed, and, where the output is older
    than its history, what run.json and the results tell. Raises DamageError.
    """
    history = read_history(root / HISTORY)
    known = {record.run_id: record for record in history}
    for record in _of_manifest(manifest):
        known.setdefault(record.run_id, record)
    if manifest.run_id not in {record.run_id for record in history} and manifest.state == "running":
        record = unended_record(root, manifest, history, kind=RUNNING if is_locked(root) else KILLED)
        known[record.run_id] = record
    if missing := [run_id for run_id, record in known.items() if record.shares is None]:
        for run_id, counts in _counted(root, missing).items():
            known[run_id] = _with_counts(known[run_id], counts)
    return list(known.values())


def unended_record(root: Path, manifest: Manifest, history: Sequence[RunRecord], *, kind: str) -> RunRecord:
    """The run of a manifest that has not ended in order: it is at work, or was killed. Raises DamageError."""
    record = _record(manifest, kind)
    before = [one.run_id for one in manifest.sessions if one.run_id != record.run_id]
    sent = spent_in(root)
    now = sent_of(sent)
    if not before:
        return msgspec.structs.replace(record, sent=now, **own_costs(sent, Spent()))
    last = next((one.sent for one in history if one.run_id == before[-1]), None)
    if last is None:
        return msgspec.structs.replace(record, sent=now)
    return msgspec.structs.replace(record, sent=now, **own_costs(sent, _spent(last)))


def own_costs(sent: Spent, before: Spent) -> dict[str, Any]:
    """What a run has cost, of all that was sent for its output until now and until its beginning."""
    calls, cost, unknown = sent_of(sent - before)
    return {"calls": calls, "cost_usd": cost, "unknown_usd": unknown}


def sent_of(spent: Spent) -> tuple[int, str | None, str]:
    """Calls, USD and the bound of what is unknown, as a record tells them."""
    cost = None if spent.cost is None else decimal_string(spent.cost.usd)
    return spent.calls, cost, decimal_string(spent.unknown_usd)


def _spent(told: tuple[int, str | None, str]) -> Spent:
    calls, cost, unknown = told
    return Spent(calls, cost=None if cost is None else Cost(parse_amount(cost)), unknown_usd=parse_amount(unknown))


def _record(manifest: Manifest, kind: str) -> RunRecord:
    return RunRecord(
        run_id=manifest.run_id,
        name=manifest.name,
        model=manifest.model,
        started_at=manifest.started_at,
        ended_at=None if kind == RUNNING else manifest.updated_at,
        kind=kind,
        fingerprint=manifest.fingerprint.hash,
        keys=dict(manifest.fingerprint.keys),
        sandbox=manifest.is_sandbox,
        ledger=manifest.ledger.by_name(),
        calls=None,
        cost_usd=None,
    )


def _of_manifest(manifest: Manifest) -> list[RunRecord]:
    """The runs that run.json tells of; what each has cost its rows tell."""
    newest = _record(manifest, KILLED)
    found = []
    for told in manifest.sessions:
        if told.is_idle:
            continue
        changes = {
            "run_id": told.run_id,
            "started_at": told.started_at,
            "ended_at": told.ended_at,
            "kind": told.termination or KILLED,
            "ledger": newest.ledger if told.run_id == newest.run_id else {},
        }
        found.append(msgspec.structs.replace(newest, **changes))
    return found


def _with_counts(record: RunRecord, counts: RunCounts) -> RunRecord:
    cost = counts.cost if record.cost_usd is None else record.cost_usd
    return msgspec.structs.replace(record, shares=counts.shares, cost_usd=cost)


def _counted(root: Path, run_ids: Sequence[str]) -> Mapping[str, RunCounts]:
    with readable(root, "a part"):
        return run_counts(result_parts(root / "results"), run_ids)


def nights_of(outputs: Mapping[str, Sequence[RunRecord]]) -> list[Night]:
    """The runs of these outputs in the order of time, each held against the runs of its job before it.

    A job is known by its name, whatever its output. Rows that were chosen (asked again because they had failed) are not
    like those of a night, nor are a sandbox's like a gateway's: such runs are shown and not compared. A run that was
    stopped for its answers is compared, and none is compared with it.
    """
    # A run that stands in several of them is one of an output and of its copy.
    once = {record.run_id: (output, record) for output, records in outputs.items() for record in records}
    every = list(once.values())
    every.sort(key=lambda one: (datetime.fromisoformat(one[1].started_at), one[1].run_id))
    before: dict[tuple[str, bool], list[RunRecord]] = {}
    last: dict[str, RunRecord] = {}
    found = []
    for output, record in every:
        earlier = before.setdefault((record.name, record.sandbox), [])
        is_like = record.drawn is None and bool(record.rows)
        shares = compared(record.shares or {}, [one.shares or {} for one in earlier[-BEFORE_MOST:]]) if is_like else []
        changed = _changed(last.get(record.name), record)
        found.append(Night(output, record, changed, shares))
        last[record.name] = record
        if is_like and record.kind not in UNUSUAL:
            earlier.append(record)
    return found


def _changed(before: RunRecord | None, now: RunRecord) -> list[str]:
    """The keys of the job that are other ones than in the run before."""
    if before is None or before.fingerprint == now.fingerprint or not before.keys:
        return []
    return sorted(key for key in {*before.keys, *now.keys} if before.keys.get(key) != now.keys.get(key))


def method(nights: Sequence[Night]) -> str:
    """What a mark means, in a sentence."""
    looked = max((len(night.shares) for night in nights), default=0)
    few = sum(night.before == 1 for night in nights)
    text = (
        f"Beyond chance: each run is held against the rows of up to {BEFORE_MOST} runs before it by two-proportion "
        f"tests (up to {looked} shares a run, with Holm's correction; widened where those runs differ among "
        f"themselves). Of runs in which nothing changed about {ALPHA:.0%} bear a mark."
    )
    if few:
        text += " With one run before, how much nights differ anyway is not known, and more may."
    return text


def night_value(night: Night) -> dict[str, Any]:
    """A night as JSON tells it."""
    record = night.record
    return {
        "output": night.output,
        "run_id": record.run_id,
        "name": record.name,
        "model": record.model,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "kind": record.kind,
        "code": record.code,
        "sandbox": record.sandbox,
        "drawn": record.drawn,
        "changed_keys": list(night.changed),
        "rows": record.rows,
        "by_status": record.by_status,
        "ledger": record.ledger,
        "calls": record.calls,
        "cost_usd": record.cost_usd,
        "unknown_cost_bound_usd": record.unknown_usd,
        "shares": {
            kind: {name: {"count": count, "of": of} for name, (count, of) in names.items()}
            for kind, names in (record.shares or {}).items()
        },
        "compared": [_compared_value(one) for one in night.shares],
        "moved": [_compared_value(one) for one in night.moved],
    }


def _compared_value(one: Compared) -> dict[str, Any]:
    return {
        "kind": one.kind, "name": one.name, "rate": one.rate, "count": one.count, "of": one.of,
        "rate_before": one.before, "count_before": one.before_count, "of_before": one.before_of,
        "runs_before": one.nights, "difference": one.difference, "low": one.low, "high": one.high,
        "p_value": one.p_value, "moved": one.moved,
    }  # fmt: skip
