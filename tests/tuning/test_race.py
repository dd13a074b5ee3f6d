"""Race: the plan that is marked is the cheapest that holds, and one that does not hold is hardly ever marked."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from rowmill.flows.orchestration import tuning
from rowmill.flows.orchestration.tuning import Race
from rowmill.schemas.job import Job
from rowmill.tasks.labelling.scored_rows import Scored, interval, scored_rows
from rowmill.tasks.tuning.gold_rows import GoldRows
from rowmill.tasks.tuning.plans import Plan, plans_of
from rowmill.tasks.tuning.race import Terms, rounds, rows_to_decide

GOLD = 800
# (name, USD a row, true accuracy): the cheapest that holds 90 % is "middle".
TRUTH = (
    ("cheap", 0.0001, 0.80),
    ("packed", 0.0002, 0.85),
    ("middle", 0.0004, 0.94),
    ("dear", 0.001, 0.96),
    ("dearest", 0.003, 0.97),
)


class Simulated(Race):
    """A race whose rows are answered by dice: each plan is right as often as its truth says, rows are hard for all."""

    def simulate(self, seed: int, truth: dict[str, tuple[float, float]]) -> None:
        self.rng, self.truth, self.paid = random.Random(seed), truth, 0
        self.hardness = [self.rng.random() for _ in range(GOLD)]

    def _paid(self) -> int:
        return self.paid

    async def _ask(self, plan: Plan, rows: Any, into: dict[str, dict[int, Scored]]) -> None:
        known = into.setdefault(plan.name, {})
        cost, accuracy = self.truth[plan.name]
        for row in rows:
            if row in known:
                continue
            if self.spent + int(cost * 1e12) > self.budget:
                raise tuning.BudgetSpent
            self.paid += int(cost * 1e12)
            # Half of what is wrong is wrong because the row is hard.
            hard = self.hardness[row] > 1 - (1 - accuracy) / 2
            right = not hard and self.rng.random() < accuracy / (1 - (1 - accuracy) / 2)
            known[row] = Scored(float(right), cost * self.rng.uniform(0.5, 1.5))


Simulated.__slots__ = ()  # type: ignore[attr-defined]


def race(seed: int, truth: tuple[tuple[str, float, float], ...] = TRUTH, budget: float = 20.0) -> Simulated:
    job = Job(model="gemini-3-flash", input="i", output="o", prompt="x")
    plans = [Plan(name, {}, job, 1_000) for name, _, _ in truth]
    rows = list(range(GOLD))
    random.Random(seed).shuffle(rows)
    gold = GoldRows(rows[: GOLD // 2], rows[GOLD // 2 :])
    terms = Terms(0.9, 0.02, len(plans), len(rounds(len(gold.choosing))))

    async def nobody(job: Job, rows: frozenset[int]) -> dict[str, Any]:
        raise AssertionError("a simulated race asks nobody")

    made = Simulated(plans, gold, terms, int(budget * 1e12), nobody)
    made.simulate(seed, {name: (usd, accuracy) for name, usd, accuracy in truth})
    return made


async def test_the_marked_plan_is_the_cheapest_that_holds() -> None:
    """Of 100 races in at least 95 the truly cheapest that holds is marked, in at most 5 one below the target."""
    marked = []
    for seed in range(100):
        one = race(seed)
        await one.decide()
        marked.append(one.chosen)
    assert marked.count("middle") >= 95, marked
    assert marked.count("cheap") + marked.count("packed") <= 5, marked


async def test_where_none_holds_none_is_marked() -> None:
    """With every plan five points below the target, none is marked in at least 95 of 100 races."""
    truth = tuple((name, usd, 0.85) for name, usd, _ in TRUTH)
    marked = []
    for seed in range(100):
        one = race(seed, truth)
        await one.decide()
        marked.append(one.chosen)
    assert marked.count(None) >= 95, marked


@pytest.mark.parametrize("budget", [0.001, 0.05, 0.3])
async def test_a_budget_is_never_passed(budget: float) -> None:
    """However little there is, what was paid stays within it, and a plan without rows has no figures."""
    for seed in range(20):
        one = race(seed, budget=budget)
        await one.decide()
        assert one.spent <= one.budget
        for plan in one.result().plans:
            assert (plan.rows == 0) == (plan.accuracy is None)


async def test_dear_plans_are_spared_while_a_cheaper_one_looks_right() -> None:
    """The dearest plans are asked the first round's rows and hardly more."""
    one = race(1)
    await one.decide()
    assert one.chosen == "middle"
    assert len(one.choosing["dearest"]) <= 80


def test_rounds_double_and_end_with_all() -> None:
    """Each round has twice the rows of the one before; the last has all."""
    assert rounds(100) == [20, 40, 80, 100]
    assert rounds(7) == [7]


def test_shares_of_many_fields_tell_more_than_one_verdict() -> None:
    """Rows of which nine tenths of the fields are right have a narrower interval than rows right nine times in ten."""
    whole = interval([1.0] * 90 + [0.0] * 10, 1.96)
    shares = interval([0.9 + 0.02 * (-1) ** n for n in range(100)], 1.96)
    assert whole[0] == pytest.approx(shares[0])
    assert shares[2] - shares[1] < (whole[2] - whole[1]) / 2
    assert interval([], 1.96) == (0.0, 0.0, 1.0)
    for count in range(1, 200):
        for share in (0.0, 1.0):
            mean, low, high = interval([share] * count, 1.96)
            assert low <= mean <= high


def test_rows_that_would_decide_are_told() -> None:
    """At 92 % for a target of 90 and a margin of 2 some 180 rows do; below the target none would."""
    terms = Terms(0.9, 0.02, 1, 1)
    assert 150 < (rows_to_decide(0.92, terms) or 0) < 200
    assert rows_to_decide(0.89, terms) is None


def test_an_output_that_is_not_there_has_no_scored_rows(tmp_path: Path) -> None:
    """Before the first round nothing is known."""
    assert scored_rows(tmp_path / "results", [1, 2]) == {}


def test_plans_of_a_job_are_those_that_it_leaves_open() -> None:
    """Both models, each level of thinking, votes and packing; rows with media are not packed; names are unique."""
    from rowmill.schemas.catalogue import builtin_catalogue

    job = Job.model_validate(
        {"model": "gemini-3-flash", "input": "/i", "output": "/o", "prompt": "{{ t }}",
         "label": {"labels": ["a", "b"], "gold": "g"}}
    )  # fmt: skip
    plans = plans_of(job, builtin_catalogue())
    assert len({plan.name for plan in plans}) == len(plans) == len({plan.job.output for plan in plans})
    assert {plan.job.model for plan in plans} == {"gemini-3-flash", "gemini-3-pro"}
    assert {plan.job.rows_per_call for plan in plans} == {1, 5, 10}
    assert any(plan.job.label and plan.job.label.escalate for plan in plans)
    assert all(plan.impossible is None for plan in plans)
    fields = Job.model_validate(
        {"model": "gemini-3-pro", "input": "/i", "output": "/o", "prompt": "{{ t }}", "gold": "g",
         "schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
    )  # fmt: skip
    voted = plans_of(fields, builtin_catalogue())
    assert {plan.job.votes.most if plan.job.votes else 1 for plan in voted} == {1, 3}
    assert any(plan.job.votes and plan.job.votes.escalate for plan in voted)
    assert all(plan.impossible is None for plan in voted)
    varied = plans_of(job.model_copy(update={"variants": {"short": {"prompt": "{{ t }}!"}}}), builtin_catalogue())
    # The job as it is, whose level of thinking is the model's, stands beside all of them once.
    assert [plan.name for plan in plans if plan.is_own] == ["as the job says"]
    assert len(varied) == 2 * len(plans) - 1
    assert {plan.job.prompt for plan in varied} == {"{{ t }}", "{{ t }}!"}
    assert all(("variant=short" in plan.name) == (plan.job.prompt == "{{ t }}!") for plan in varied)
    alone = plans_of(job.model_copy(update={"attachments": ["photo"]}), builtin_catalogue())
    assert {plan.job.rows_per_call for plan in alone} == {1}
