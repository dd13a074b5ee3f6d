"""A comparison of plans as it is told: the front, what is saved, hours at the limits, its page and its artifact."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.flows.orchestration.tune_job import PAGE, TUNE, read_tuning, write_tuning_page
from rowmill.flows.text.tuning import verdict
from rowmill.flows.tune import artifact_text
from rowmill.schemas.errors import DamageError
from rowmill.schemas.job_sections import Limits
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.totals import RowLedger, Totals
from rowmill.schemas.tuning import OWN, ComparedPlan, PlanState, Tuning
from rowmill.tasks.tuning.pace import hours_per_million_rows


def plan(name: str, usd: float | None, accuracy: float | None, state: PlanState = PlanState.UNDECIDED) -> ComparedPlan:
    low, high = (None, None) if accuracy is None else (max(0.0, accuracy - 0.05), min(1.0, accuracy + 0.05))
    ends = (None, None) if usd is None else (0.9 * usd, 1.1 * usd)
    return ComparedPlan(name, {}, 40, accuracy, low, high, usd, *ends, state, f"about {name}")


def tuning(*plans: ComparedPlan, **more: Any) -> Tuning:
    chosen = next((one.name for one in plans if one.state is PlanState.CHOSEN), None)
    return Tuning(0.9, 0.02, 2.0, 0.5, chosen, "a reason", 400, list(plans), **more)


SEEN = st.floats(0, 1)


@given(st.lists(st.tuples(st.floats(0.001, 10), SEEN), max_size=12))
def test_no_plan_beats_one_on_the_front(seen: list[tuple[float, float]]) -> None:
    """The front are the plans that none equals for less, and every other plan is beaten by one of them."""
    told = tuning(*(plan(str(n), usd, right) for n, (usd, right) in enumerate(seen)), plan("unknown", None, 1.0))
    front = [(one.usd_per_1000_rows or 0.0, one.accuracy or 0.0) for one in told.front]
    assert front == sorted(front)
    for usd, right in front:
        assert not any((a <= usd and b > right) or (a < usd and b >= right) for a, b in seen)
    for usd, right in seen:
        assert any(a <= usd and b >= right for a, b in front)


def test_what_the_marked_plan_saves_is_told_against_the_job_itself() -> None:
    """A quarter of the job's own cost is 75 % less; without the job's own plan, or a price, nothing is told."""
    cheap, own = plan("cheap", 0.25, 0.95, PlanState.CHOSEN), plan(OWN, 1.0, 0.96)
    assert "it costs 75% less than the job as it is" in verdict(tuning(cheap, own, own=OWN))
    assert any("less than b, which" in line for line in verdict(tuning(cheap, plan("b", 1.0, 0.9), own="b")))
    for other in (tuning(cheap, own), tuning(cheap, plan(OWN, None, 0.9), own=OWN), tuning(own, own=OWN)):
        assert other.saved_share is None
        assert not any("less" in line for line in verdict(other))


def test_hours_are_those_of_the_limit_that_binds() -> None:
    """A million rows of two calls at 600 a minute take 55.6 hours; tokens bind where they take longer."""
    totals = Totals(calls=200, input_tokens=80_000, output_tokens=10_000, thought_tokens=10_000)
    told = Manifest(ledger=RowLedger(150, not_attempted=50), totals=totals)
    assert hours_per_million_rows(Limits(rpm=600), told) == pytest.approx(2_000_000 / 600 / 60)
    assert hours_per_million_rows(Limits(rpm=600, tpm=100_000), told) == pytest.approx(1e9 / 100_000 / 60)
    assert hours_per_million_rows(Limits(), told) is None
    assert hours_per_million_rows(Limits(rpm=600), Manifest()) is None


def test_the_page_shows_every_plan_and_no_hostile_name_gets_out(tmp_path) -> None:
    """Each plan has its row, an infinite interval draws nothing of the kind, and names stay text."""
    odd = msgspec.structs.replace(plan("<script>alert(1)</script>", 0.4, 1.0), usd_high=math.inf)
    told = tuning(plan("a", 0.1, 0.9, PlanState.CHOSEN), odd, plan("c", None, None), own="a", name="<b>job</b>")
    page = write_tuning_page(tmp_path, told).read_text()
    assert "<script>" not in page
    assert "<b>job" not in page
    assert page.count('<th scope="row">') == 3
    assert "<svg" in page
    assert "inf" not in page.split("<svg")[1].split("</svg>")[0]
    assert "<svg" not in write_tuning_page(tmp_path, tuning(plan("c", None, None))).read_text()
    assert (tmp_path / PAGE).exists()


def test_the_artifact_is_a_table_that_names_cannot_break() -> None:
    """A plan is one row of six cells, whatever its name; the front is in bold."""
    told = tuning(plan("a|b\n[x](y)", 0.1, 0.9, PlanState.CHOSEN), plan("dear", 1.0, 0.5))
    rows = [line for line in artifact_text(told, "job", "/out").splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert all(row.count("|") == 7 for row in rows)
    assert rows[2].startswith("| **")
    assert rows[3].startswith("| dear")


def test_a_damaged_comparison_is_named(tmp_path) -> None:
    """Where tune.json is no comparison, a sentence says so and what to do; without one there is none."""
    assert read_tuning(tmp_path) is None
    (tmp_path / TUNE).write_text('{"target": "x"}')
    with pytest.raises(DamageError, match="cannot be read") as caught:
        read_tuning(tmp_path)
    assert "tune again" in str(caught.value.hint)
