"""Manifest: what `run.json` holds is the same whoever reads and writes it, in the forms that users rely on."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import msgspec
import pytest

from rowmill.schemas.attempt import Spent
from rowmill.schemas.catalogue import builtin_catalogue
from rowmill.schemas.errors import DamageError, ExitCode
from rowmill.schemas.evidence import Match
from rowmill.schemas.manifest import WITHOUT_LEDGER, Manifest, difference
from rowmill.schemas.model_prices import ModelPrices
from rowmill.schemas.outcome import Status
from rowmill.schemas.price import Cost
from rowmill.schemas.tally import Tally
from rowmill.schemas.termination import EXIT_CODES, Termination, TerminationKind
from rowmill.schemas.totals import Beside, EvidenceCounts, RowLedger, Totals
from rowmill.schemas.usage import Usage
from rowmill.tasks.output.manifest_file import read_manifest

KEYS = [
    "version",
    "rowmill",
    "name",
    "run_id",
    "state",
    "started_at",
    "updated_at",
    "sandbox",
    "model",
    "prices",
    "prices_escalated",
    "job",
    "json_text_fields",
    "fingerprint",
    "input",
    "ledger",
    "totals",
    "beside",
    "parts",
    "waiting",
    "canary",
    "budget",
    "deadline",
    "forecast",
    "label",
    "fields",
    "field_quality",
    "course",
    "termination",
    "sessions",
]
COMPLETE = Termination(TerminationKind.COMPLETE, None, "every row has its outcome", "")
# As the version before the ledger of spending wrote it, less what it says of prices and files.
OLD = {
    "version": 1, "rowmill": "0.0.9", "name": "old", "run_id": "r", "state": "ended", "model": "gemini-3-pro",
    "job": {"model": "gemini-3-pro", "label": {"labels": ["a", "b"]}},
    "fingerprint": {"hash": "f", "keys": {"gateway": "sandbox"}},
    "input": {"files": [{"path": "rows.jsonl", "bytes": 5}], "rows": 2, "rows_are_all": True, "limit": None},
    "ledger": {"rows": 2, "ok": 1, "invalid": 1, "refused": 0, "failed": 0, "unreadable": 0, "not_attempted": 0},
    "totals": {"cost_usd": "0.01", "cost_credits": "2", "wasted_cost_usd": "0", "calls": 3, "retries": {}},
    "beside": {"unsettled_calls": 1, "unsettled_cost_usd": "0.5", "former_cost_usd": "0.25"},
    "waiting": None, "termination": {"kind": "complete", "code": None, "message": "every row", "next": ""},
    "sessions": [{"run_id": "r", "started_at": "2026-01-01", "ended_at": None, "calls_until_now": 3}],
}  # fmt: skip


def test_the_ledger_has_a_number_for_each_status_and_balances():
    """A status that is added must be in the ledger, or its rows would be missing there."""
    names = [field.name for field in msgspec.structs.fields(RowLedger)]
    assert names == ["rows", *(status.value for status in Status), "not_attempted"]
    ledger = RowLedger.of(Tally(rows=3, by_status={"ok": 2, "failed": 1}), 5)
    assert ledger.by_name() | {"rows": 0} == {**dict.fromkeys(names, 0), "ok": 2, "failed": 1, "not_attempted": 2}
    assert ledger.settled == 3
    assert [field.name for field in msgspec.structs.fields(EvidenceCounts)] == ["fields", *(one.value for one in Match)]


def test_a_manifest_is_written_in_the_keys_that_users_rely_on():
    """Order, names, nulls: `evidence` and an input's `source` alone are left out where they say nothing."""
    told = Manifest(termination=COMPLETE).as_dict()
    assert list(told) == KEYS
    assert told["termination"] == {"kind": "complete", "code": None, "message": COMPLETE.message, "next": ""}
    assert list(told["termination"]) == [field.name for field in fields(Termination)]
    assert told["input"] == {"files": [], "rows": 0, "rows_are_all": False, "limit": None}
    assert list(Manifest(evidence=EvidenceCounts()).as_dict()) == [*KEYS[:17], "evidence", *KEYS[17:]]
    assert list(Beside.of(Spent(), Spent(), Spent()).__struct_fields__[:4]) == list(told["beside"])[:4]


def test_a_manifest_reads_back_as_it_was_written(tmp_path):
    """Money keeps every digit, an unknown price stays null."""
    spent = Spent(2, Usage(10, 3, 1), Cost(1, 2))
    written = Manifest(
        name="Ünï", totals=Totals.of(Tally(1, {"ok": 1}, spent)), beside=Beside.of(spent + spent, spent, Spent(1)),
        evidence=EvidenceCounts(3, 1, 1, 1), termination=COMPLETE,
    )  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(written.as_dict()), encoding="utf-8")
    assert read_manifest(tmp_path) == written
    assert written.totals.cost_usd == "0.000000000001"
    assert Totals.of(Tally(1, {"ok": 1}, Spent(1, cost=None))).cost_usd is None


DATED = {"version": "2026-08", "source": "a page", "checked": "2026-08-01"}
RATES = {
    "input_usd": "1.25", "output_usd": "10", "input_credits": "0", "output_credits": "0", "cached_input_usd": None,
    "cached_input_credits": None,
}  # fmt: skip
CSV = {"separator": ";", "encoding": "cp1252", "quote": "", "escape": "\\", "columns": ["a", "ü"]}
# As each version that keeps a ledger has written them.
SECTIONS = {
    "prices": {**DATED, **RATES, "tiers": [{**RATES, "cached_input_usd": "0.3", "above_input_tokens": 200_000}]},
    "prices_escalated": {**DATED, "unknown": True},
    "json_text_fields": [{"field": "/a/*", "reason": "its items have no type of their own"}],
    "parts": {"part-000000.parquet": {"bytes": 7, "blake2b": "ab"}, "part-000001.parquet": {}},
    "input": {
        "files": [
            {"path": "s3://b/x.jsonl", "size": 5, "mtime_ns": 1_700_000_000_000_000_001},
            {"path": "x.csv", "size": 5, "mtime_ns": 1, "read_as": CSV},
        ],
        "rows": 2, "rows_are_all": True, "limit": None,
    },
}  # fmt: skip


def test_what_was_read_at_which_prices_and_written_stays_as_it_was_told(tmp_path):
    """Sections come back key by key in their order, also those of a part without rows, or of a model without a price."""
    (tmp_path / "run.json").write_text(json.dumps(SECTIONS), encoding="utf-8")
    told = read_manifest(tmp_path).as_dict()
    assert json.dumps({name: told[name] for name in SECTIONS}) == json.dumps(SECTIONS)


@pytest.mark.parametrize("name", ["gemini-3-pro", "gemini-3-flash"])
def test_prices_are_told_as_the_catalogue_has_them(name):
    """Version, source and date, then the entry's own keys; one without a price says so."""
    model = builtin_catalogue()[name]
    told = msgspec.to_builtins(ModelPrices.of(model))
    about = {"version": model.price_version, "source": model.source, "checked": model.checked.isoformat()}
    assert json.dumps(told) == json.dumps({**about, **model.price_entry.model_dump()})
    unknown = msgspec.to_builtins(ModelPrices.of(replace(model, price_entry=None)))
    assert unknown == {**about, "unknown": True}


def test_manifests_of_older_and_newer_versions_are_read(tmp_path):
    """What an older version did not write has its default, and a key of a newer one does no harm."""
    (tmp_path / "run.json").write_text(json.dumps({**OLD, "from_the_future": {"a": [1]}}), encoding="utf-8")
    found = read_manifest(tmp_path)
    assert found is not None
    assert (found.version, found.kind, found.is_sandbox, found.ledger.ok) == (WITHOUT_LEDGER, "complete", True, 1)
    assert (found.totals.calls, found.totals.rows_reused, found.beside.former_cost_usd) == (3, 0, "0.25")
    assert found.exit_code is ExitCode.ROWS_NOT_OK
    assert found.sessions[0].termination is None


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"ledger": []}', '{"ledger": {"rows": "7"}}', '{"termination": {"kind": "mood"}}', "null"]
)
def test_what_is_no_manifest_is_refused_by_name(tmp_path, content):
    """A file of another form is damage, with a way out, and never a traceback."""
    (tmp_path / "run.json").write_text(content, encoding="utf-8")
    with pytest.raises(DamageError, match=r"run\.json.*made again"):
        read_manifest(tmp_path)


def test_each_end_of_a_run_has_its_exit_code():
    """A defect shows whatever the end was; rows that are not ok only where the run is complete."""
    assert set(EXIT_CODES) == set(TerminationKind)
    for kind, code in EXIT_CODES.items():
        end = Termination(kind, None, "", "")
        assert Manifest(termination=end).exit_code is code
        defect = Manifest(termination=end, ledger=RowLedger(1, failed=1), totals=Totals(retries={"defect": 1}))
        assert defect.exit_code is ExitCode.DEFECT
    assert Manifest(termination=COMPLETE, ledger=RowLedger(2, ok=1)).exit_code is ExitCode.ROWS_NOT_OK


def test_a_manifest_of_a_newer_version_is_not_to_be_deleted(tmp_path):
    """Where it cannot be read, the mend is to update."""
    (tmp_path / "run.json").write_text('{"version": 99, "termination": {"kind": "mood"}}', encoding="utf-8")
    with pytest.raises(DamageError, match="newer version.*Update rowmill"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("had", "has", "told"),
    [
        ({"gateway": '"sandbox"', "model": "a"}, {"gateway": '"gateway"', "model": "a"}, "a sandbox answered that one"),
        ({"gateway": '"gateway"'}, {"gateway": '"sandbox"'}, "the gateway answered that one, this one asks a sandbox"),
        ({"model": "a"}, {"model": "b", "schema": "{}"}, "changed: model, schema"),
        ({}, {}, "not known"),
    ],
)
def test_what_makes_another_job_is_named_also_where_it_is_the_sandbox(had, has, told):
    """Keys by their names; a sandbox, which no key of a job file names, in words."""
    assert told in difference(had, has)
