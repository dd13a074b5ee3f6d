"""Tuning: plans are asked gold rows, round by round and within a budget, until the cheapest that holds is known."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pipeline import carry_out, refuse_stopped
from rowmill.schemas.display_text import counted
from rowmill.schemas.errors import OutputError
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.price import PICO
from rowmill.schemas.termination import TerminationKind
from rowmill.schemas.tuning import ComparedPlan, PlanState, Tuning
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.labelling.scored_rows import Scored, measure, scored_rows
from rowmill.tasks.output.answer_cache import bound_usd
from rowmill.tasks.output.manifest_file import read_manifest
from rowmill.tasks.output.spending import spent_in
from rowmill.tasks.run.run_plan import Options
from rowmill.tasks.tuning.gold_rows import GoldRows
from rowmill.tasks.tuning.pace import hours_per_million_rows
from rowmill.tasks.tuning.plans import Plan
from rowmill.tasks.tuning.race import Terms, dropped, has_missed, holds, rounds, rows_to_decide, to_be_judged

log = logging.getLogger("rowmill")

# What choosing may take of the budget, so that enough is left to judge.
CHOOSING_SHARE = 0.7
# A run that ends so is a plan's own fault, not the gateway's towards all.
PLAN_FAULTS = frozenset({TerminationKind.MODEL_NOT_FOUND})

AskRows = Callable[[Job, frozenset[int]], Awaitable[Manifest]]


class BudgetSpent(Exception):
    """The budget leaves no room for a further call."""


@dataclass(slots=True)
class Race:
    """A comparison under way. `budget` is in 10⁻¹² USD, `spent_before` what the plans' outputs had cost before it."""

    plans: Sequence[Plan]
    gold: GoldRows
    terms: Terms
    budget: int
    ask_rows: AskRows
    spent_before: int = 0
    chosen: str | None = None
    reason: str = ""
    states: dict[str, tuple[PlanState, str]] = field(default_factory=dict)
    choosing: dict[str, dict[int, Scored]] = field(default_factory=dict)
    judged: dict[str, dict[int, Scored]] = field(default_factory=dict)
    _paid_by: dict[str, int] = field(default_factory=dict)

    async def decide(self) -> None:
        """Choose and judge. Raises StoppedEarly, and what a run raises; what was found until then stands."""
        self.spent_before = self._paid()
        for plan in self.plans:
            if plan.impossible is not None:
                self.states[plan.name] = PlanState.IMPOSSIBLE, plan.impossible
        try:
            await self._choose()
        except BudgetSpent:
            self.reason = "the budget ended while plans were compared"
        try:
            await self._judge()
        except BudgetSpent:
            self.reason = "the budget ended before a plan could be judged"
        if self.chosen is None and not self.reason:
            self.reason = f"no plan was shown to hold {self.terms.target:.1%}"

    @property
    def spent(self) -> int:
        """What this comparison has cost, unknown bills at their bound, in 10⁻¹² USD."""
        return self._paid() - self.spent_before

    def _paid(self) -> int:
        """All that the plans' outputs have cost; read again for a plan once it was asked."""
        for plan in self.plans:
            if plan.impossible is None and plan.name not in self._paid_by:
                self._paid_by[plan.name] = bound_usd(spent_in(Path(plan.job.output)))
        return sum(self._paid_by.values())

    @property
    def _in_play(self) -> list[Plan]:
        return [plan for plan in self.plans if plan.name not in self.states]

    async def _choose(self) -> None:
        """A few rows to every plan, which shows what each costs; then more and more to the cheapest, up to the first
        that looks as if it holds: what is dearer is asked only when that one turns out not to.
        """
        for turn, count in enumerate(rounds(len(self.gold.choosing))):
            for plan in self._in_play if turn == 0 else self._cheapest_first():
                if self.spent > CHOOSING_SHARE * self.budget:
                    raise BudgetSpent
                await self._ask(plan, self.gold.choosing[:count], self.choosing)
                told = measure(list(self.choosing[plan.name].values()))
                if turn > 0 and told.accuracy is not None and told.accuracy >= self.terms.target:
                    break
            scores = {plan.name: self.choosing.get(plan.name, {}) for plan in self._in_play}
            for name, why in dropped(scores, self.terms).items():
                self.states[name] = PlanState.DROPPED, why
            log.info("%d gold rows: %d of %d plans in play", count, len(self._in_play), len(self.plans))
            if len(self._in_play) <= 1:
                return

    def _cheapest_first(self) -> list[Plan]:
        return sorted(self._in_play, key=lambda plan: self._usd(plan.name))

    def _usd(self, name: str) -> float:
        """USD per 1,000 rows as seen so far; what was not seen comes last."""
        told = measure(list(self.choosing.get(name, {}).values())).usd_per_1000_rows
        return math.inf if told is None else told

    async def _judge(self) -> None:
        """The cheapest plans first, on the other half of the gold rows, until one holds the target."""
        plans = {plan.name: plan for plan in self._in_play}
        scores = {name: self.choosing.get(name, {}) for name in plans}
        for name in to_be_judged(scores, self.terms):
            for count in rounds(len(self.gold.judging)):
                try:
                    await self._ask(plans[name], self.gold.judging[:count], self.judged)
                except BudgetSpent:
                    if not holds(self.judged.get(name, {}), self.terms):
                        raise
                if name in self.states or has_missed(self.judged[name], self.terms):
                    break
            if name in self.states:
                continue
            if holds(self.judged[name], self.terms):
                self.chosen = name
                self.states[name] = PlanState.CHOSEN, "the cheapest plan that holds the target"
                return
            self.states[name] = PlanState.MISSED, self._why_not(name)

    def _state(self, plan: Plan) -> tuple[PlanState, str]:
        """What became of a plan that was neither dropped nor judged."""
        if plan.name in self.states:
            return self.states[plan.name]
        if self.chosen is not None:
            dearer = self._usd(plan.name) > self._usd(self.chosen)
            why = f"dearer than {self.chosen}" if dearer else f"too far below {self.terms.target:.1%} to be judged"
            return PlanState.UNDECIDED, why
        return PlanState.UNDECIDED, "not decided when the comparison ended"

    def _why_not(self, name: str) -> str:
        told = measure(list(self.judged[name].values()))
        assert told.accuracy is not None
        assert told.low is not None
        needed = rows_to_decide(told.accuracy, self.terms)
        if needed is None:
            return f"{told.accuracy:.1%} right of {counted(told.rows, 'gold row')} that did not choose it"
        return (
            f"{told.accuracy:.1%} right of {counted(told.rows, 'gold row')} that did not choose it, but the "
            f"interval begins at "
            f"{told.low:.1%}: about {counted(needed, 'such row')} would decide"
        )

    async def _ask(self, plan: Plan, rows: Sequence[int], into: dict[str, dict[int, Scored]]) -> None:
        """Have these rows settled under a plan, and score them. Raises BudgetSpent, StoppedEarly."""
        known = into.setdefault(plan.name, {})
        wanted = frozenset(rows)
        results = Path(plan.job.output, "results")
        known |= await asyncio.to_thread(scored_rows, results, wanted)
        if wanted <= known.keys():
            return
        left = self.budget - self.spent
        if left <= 0:
            raise BudgetSpent
        try:
            manifest = await self.ask_rows(_capped(plan.job, left), wanted)
        finally:
            self._paid_by.pop(plan.name, None)
        known |= await asyncio.to_thread(scored_rows, results, wanted)
        end = manifest.end
        if end.kind is TerminationKind.BUDGET:
            raise BudgetSpent
        if end.kind in PLAN_FAULTS:
            self.states[plan.name] = PlanState.IMPOSSIBLE, end.message
        else:
            refuse_stopped("the comparison", manifest)

    def result(self) -> Tuning:
        """What was found, every plan with its figures."""
        z = self.terms.z
        compared = []
        for plan in self.plans:
            state, why = self._state(plan)
            judged = self.judged.get(plan.name)
            chose = list(self.choosing.get(plan.name, {}).values())
            told = measure(list(judged.values())) if judged else measure(chose, z)
            compared.append(
                ComparedPlan(plan.name, dict(plan.settings), told.rows, told.accuracy, told.low, told.high,
                             told.usd_per_1000_rows, told.usd_low, told.usd_high, state, why, _hours(plan))
            )  # fmt: skip
        gold = len(self.gold.choosing) + len(self.gold.judging)
        reason = self.reason if self.chosen is None else self.states[self.chosen][1]
        if self.chosen is None:
            reason += _nearest(compared)
        own = next((plan.name for plan in self.plans if plan.is_own), None)
        return Tuning(self.terms.target, self.terms.margin, self.budget / PICO, self.spent / PICO, self.chosen, reason,
                      gold, compared, own)  # fmt: skip


def _hours(plan: Plan) -> float | None:
    """Hours that a million rows take at the job's limits, by what the plan's own rows have shown."""
    if plan.impossible is not None:
        return None
    return hours_per_million_rows(plan.job.limits, read_manifest(Path(plan.job.output)) or Manifest())


def _nearest(plans: Sequence[ComparedPlan]) -> str:
    known = [plan for plan in plans if plan.accuracy is not None and plan.state is not PlanState.IMPOSSIBLE]
    if not known:
        return ""
    best = max(known, key=lambda plan: (plan.accuracy or 0.0, plan.rows))
    return f"; {best.name} came nearest: {best.accuracy:.1%} right of {counted(best.rows, 'gold row')} ({best.reason})"


def _capped(job: Job, left: int) -> Job:
    """The job with what is left of the budget as the cap of its next run."""
    cap = Decimal(left) / PICO
    own = job.max_run_cost_usd
    return job.model_copy(update={"max_run_cost_usd": cap if own is None else min(cap, own), "stop_when": None})


def asked_with(gateway: Gateway, *, sandbox: bool) -> AskRows:
    """How a plan's gold rows are asked: through the pipeline, like the rows of any run."""

    async def ask(job: Job, rows: frozenset[int]) -> Manifest:
        async with opened(job, Options(None, sandbox=sandbox, rows=rows), gateway) as run:
            if run.nothing_to_do and not Path(job.output, "results").exists():
                raise OutputError("it holds no results", where=job.output, hint="remove the folder, and tune again")
            return await carry_out(run)

    return ask
