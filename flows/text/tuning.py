"""Tuning: compared plans in words, for the screen and for pages."""

from __future__ import annotations

from pathlib import Path

from rowmill.schemas.display_text import counted, one_line
from rowmill.schemas.price import usd
from rowmill.schemas.tuning import OWN, ComparedPlan, PlanState, Tuning

MARKS = {PlanState.CHOSEN: "→", PlanState.MISSED: "-", PlanState.DROPPED: "-"}


def tuning_text(tuning: Tuning, tuned: Path) -> str:
    """A table of the plans, the cheapest first, what was decided, and what to do next."""
    width = max((len(plan.name) for plan in tuning.plans), default=4)
    timed = any(plan.hours_per_million_rows is not None for plan in tuning.plans)
    head = f"  {'plan':{width}}  {'$ per 1,000 rows':>24}  {'right':>24}  rows" + ("  h per million" if timed else "")
    lines = [head, *(_line(plan, width, timed=timed) for plan in by_cost(tuning)), "", *verdict(tuning)]
    if tuning.chosen is not None:
        lines.append(f"run it: rowmill run {tuned}")
    return "\n".join(map(one_line, lines))


def by_cost(tuning: Tuning) -> list[ComparedPlan]:
    """The plans, the cheapest first."""
    return sorted(tuning.plans, key=lambda plan: (plan.usd_per_1000_rows is None, plan.usd_per_1000_rows or 0.0))


def verdict(tuning: Tuning) -> list[str]:
    """What was decided, what it saves, and what deciding it cost."""
    name = "none marked" if tuning.chosen is None else f"marked: {tuning.chosen}"
    lines = [f"{name}{':' if tuning.chosen is None else ','} {tuning.reason}"]
    if (saved := tuning.saved_share) is not None and tuning.own != tuning.chosen:
        less = f"{saved:.0%} less" if saved >= 0 else f"{-saved:.0%} more"
        own = "the job as it is" if tuning.own == OWN else f"{tuning.own}, which is how the job asks"
        lines.append(f"it costs {less} than {own}")
    return [
        *lines,
        f"{usd(tuning.spent_usd)} of {usd(tuning.budget_usd)} spent on {counted(tuning.gold_rows, 'gold row')}",
    ]


def cost_text(plan: ComparedPlan) -> str:
    """USD per 1,000 rows with its interval."""
    if plan.usd_per_1000_rows is None:
        return "-"
    return f"{usd(plan.usd_per_1000_rows)} [{usd(plan.usd_low or 0)}, {usd(plan.usd_high or 0)}]"


def right_text(plan: ComparedPlan) -> str:
    """The share of gold rows that is right, with its interval."""
    return "-" if plan.accuracy is None else f"{plan.accuracy:.1%} [{plan.low:.1%}, {plan.high:.1%}]"


def hours_text(plan: ComparedPlan) -> str:
    """Hours that a million rows take at the job's limits."""
    return "-" if plan.hours_per_million_rows is None else f"{plan.hours_per_million_rows:,.1f}"


def _line(plan: ComparedPlan, width: int, *, timed: bool) -> str:
    hours = f"  {hours_text(plan):>13}" if timed else ""
    shown = "" if plan.state is PlanState.CHOSEN else f"  {plan.reason}"
    head = f"{MARKS.get(plan.state, ' ')} {plan.name:{width}}"
    return f"{head}  {cost_text(plan):>24}  {right_text(plan):>24}  {plan.rows:>4}{hours}{shown}"
