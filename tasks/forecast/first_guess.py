"""First guess: what the rows of a new output may cost, from a few of them, at a run's start."""

from __future__ import annotations

from collections.abc import Sequence

from rowmill.schemas.catalogue import Model
from rowmill.schemas.job import Job
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row
from rowmill.tasks.forecast.prior import calls_a_row, expected_usd
from rowmill.tasks.forecast.request_costs import RequestCosts
from rowmill.tasks.forecast.tokens import by_script
from rowmill.tasks.plan.label_prompt import as_asked
from rowmill.tasks.plan.planner import Planner

# More would keep the first call waiting.
SAMPLE_ROWS = 8


def first_guess_usd(job: Job, model: Model, planner: Planner, *, sample: Sequence[Row], rows: int) -> float | None:
    """USD of so many rows like the sample's; None without a price, and where rows bring media, slow to read."""
    if model.price is None or job.attachments:
        return None
    planned = [planner.plan(row) for row in sample[:SAMPLE_ROWS]]
    requests = [one for one in planned if isinstance(one, Request)]
    if not requests:
        return None
    asked = as_asked(job)
    native = Planner(asked, model, sandbox=False).native
    tokens = RequestCosts(asked, model, {}, count=by_script, native=native).tokens
    row_usd, token_usd = expected_usd(job, model)
    mean = sum(map(tokens, requests)) / len(requests)
    return rows * (row_usd + token_usd * mean) * calls_a_row(job, None)
