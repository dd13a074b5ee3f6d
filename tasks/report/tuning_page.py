"""Tuning page: compared plans as one HTML file, with the front of cost and errors drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from rowmill.schemas.tuning import ComparedPlan, PlanState, Tuning
from rowmill.tasks.report.page import template
from rowmill.tasks.report.plots import Point, scatter

TEMPLATE = "tuning.html.jinja"


def tuning_page(tuning: Tuning, plans: Sequence[ComparedPlan], values: Mapping[str, Any]) -> str:
    """The whole page. `plans` are those of `tuning` in the order of the table, `values` the words around them."""
    svg = front_svg(tuning, plans)
    # Drawn from numbers and our own words, and escaped where they are drawn.
    return template(TEMPLATE).render(**values, front=None if svg is None else Markup(svg))


def front_svg(tuning: Tuning, plans: Sequence[ComparedPlan]) -> str | None:
    """USD per 1,000 rows against the share of gold rows that is wrong; None where no plan was measured."""
    front, named = [], {tuning.chosen, tuning.own}
    for plan in tuning.front:
        front.append((plan.usd_per_1000_rows or 0.0, 100 * (plan.error or 0.0)))
        named.add(plan.name)
    numbered = [(str(number) if plan.name in named else "", plan) for number, plan in enumerate(plans, 1)]
    points = [point for name, plan in numbered if (point := _point(name, plan)) is not None]
    if not points:
        return None
    chosen = tuning.plan(tuning.chosen)
    words = f"{len(points)} plans by cost and errors; " + (
        "none holds the target" if chosen is None else f"{chosen.name} is marked: {chosen.accuracy:.1%} right"
    )
    return scatter(
        points, front, across="USD per 1,000 rows", up="% of gold rows wrong", words=words,
        line=100 * (1 - tuning.target),
    )  # fmt: skip


def _point(name: str, plan: ComparedPlan) -> Point | None:
    if plan.usd_per_1000_rows is None or plan.error is None or plan.low is None or plan.high is None:
        return None
    low, high = plan.usd_low or 0.0, plan.usd_high
    if high is None or math.isinf(high):
        # One row tells no interval.
        low = high = plan.usd_per_1000_rows
    return Point(
        name=name, x=plan.usd_per_1000_rows, y=100 * plan.error, x_range=(low, high),
        y_range=(100 * (1 - plan.high), 100 * (1 - plan.low)), strong=plan.state is PlanState.CHOSEN,
    )  # fmt: skip
