"""The summary at a run's end."""

from __future__ import annotations

import pytest
from msgspec import convert

from rowmill.flows.text.page_facts import page_facts
from rowmill.flows.text.summary import summary
from rowmill.schemas.attempt import Spent
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import Cost
from rowmill.tasks.report.figures import Figures
from rowmill.tasks.report.page import page
from rowmill.tasks.run.progress import Progress


def outcome(row: int, kind: str | None = None, latency_ms: int = 100) -> Outcome:
    status = Status.FAILED if kind else Status.OK
    return Outcome(f"r{row}", row, status, error_kind=kind, error_message=f"it said {row}", latency_ms=latency_ms,
                   spent=Spent(1, cost=Cost(1, 1)))  # fmt: skip


def test_the_end_tells_failures_by_example_and_latency():
    """Each kind of error with some of its rows and their words; the median and the 95th percentile within 3 %."""
    seen = Progress(total=100)
    for row in range(90):
        seen.add(outcome(row, latency_ms=10 * (row + 1)))
    for row in range(90, 100):
        seen.add(outcome(row, "invalid_request", latency_ms=2_000))
    assert seen.latency_s(0.5) == pytest.approx(0.5, rel=0.03)
    assert seen.latency_s(0.95) == pytest.approx(2.0, rel=0.03)
    told = {
        "ledger": {"rows": 100, "ok": 90, "invalid": 0, "refused": 0, "failed": 10, "unreadable": 0, "not_attempted": 0},
        "totals": {
            "cost_usd": "0.5", "cost_credits": "100", "wasted_cost_usd": "0", "calls": 100, "input_tokens": 1,
            "output_tokens": 1, "thought_tokens": 1, "retries": {}, "rows_cost_unknown": 0,
            "unknown_cost_bound_usd": "0",
        },
        "termination": {"kind": "complete", "message": "", "next": ""},
    }  # fmt: skip
    told = summary(convert(told, Manifest), "out", seen)
    for words in ("10 invalid_request:", "r90: it said 90", "p95 2.", "$5.00 per 1,000 rows", "--retry-failed"):
        assert words in told, words
    assert told.count("it said") == 3


SECTIONS = ("label", "field_quality", "forecast", "canary", "course", "budget", "quote")


@pytest.mark.parametrize("section", [{"a_key_of_a_newer_version": [1]}, None])
def test_a_section_of_another_version_is_told_as_far_as_it_goes(section):
    """Keys that it does not have are defaults on the screen and on the page, keys that are new do no harm."""
    complete = {"kind": "complete", "message": "", "next": ""}
    sections = dict.fromkeys(SECTIONS, section)
    manifest = convert({**sections, "fields": {"a": section or {}}, "termination": complete}, Manifest)
    assert summary(manifest, "out").startswith("complete: 0 rows")
    facts = page_facts(convert({**sections, "started_at": "2026"}, Manifest))
    assert facts.canary_pairs == []
    page(facts, Figures())
