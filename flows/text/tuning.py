"""Tuning: compared plans in words, for the screen."""

from __future__ import annotations

from pathlib import Path

from rowmill.flows.text.forecast import usd
from rowmill.schemas.display_text import one_line
from rowmill.schemas.tuning import ComparedPlan, PlanState, Tuning

MARKS = {PlanState.CHOSEN: "→", PlanState.MISSED: "-", PlanState.DROPPED: "-"}


def tuning_text(tuning: Tuning, tuned: Path) -> str:
    """A table of the plans, the cheapest first, what was decided, and what to do next."""
    width = max((len(plan.name) for plan in tuning.plans), default=4)
    head = f"  {'plan':{width}}  {'$ per 1,000 rows':>24}  {'right':>24}  rows"
    plans = sorted(tuning.plans, key=lambda plan: (plan.usd_per_1000_rows is None, plan.usd_per_1000_rows or 0.0))
    lines = [head, *(_line(plan, width) for plan in plans), ""]
    spent = f"{usd(tuning.spent_usd)} of {usd(tuning.budget_usd)} spent on {tuning.gold_rows:,} gold rows"
    if tuning.chosen is None:
        lines += [f"none marked: {tuning.reason}", spent]
    else:
        lines += [f"marked: {tuning.chosen}, {tuning.reason}", spent, f"run it: rowmill run {tuned}"]
    return "\n".join(map(one_line, lines))


def _line(plan: ComparedPlan, width: int) -> str:
    cost = "-"
    if plan.usd_per_1000_rows is not None:
        cost = f"{usd(plan.usd_per_1000_rows)} [{usd(plan.usd_low or 0)}, {usd(plan.usd_high or 0)}]"
    right = "-"
    if plan.accuracy is not None:
        right = f"{plan.accuracy:.1%} [{plan.low:.1%}, {plan.high:.1%}]"
    shown = "" if plan.state is PlanState.CHOSEN else f"  {plan.reason}"
    return f"{MARKS.get(plan.state, ' ')} {plan.name:{width}}  {cost:>24}  {right:>24}  {plan.rows:>4}{shown}"
