"""Approval: a bill above a limit is shown to a person first, and the run goes on under the sum that was approved."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from rowmill.flows.orchestration.estimate_job import estimate_job
from rowmill.flows.orchestration.estimation import EstimateOptions
from rowmill.schemas.display_text import counted
from rowmill.schemas.errors import JobError
from rowmill.schemas.forecast import Forecast
from rowmill.schemas.job import Job
from rowmill.tasks.forecast.caps import least_cap

# A flow run waits so long for somebody to approve.
WAIT_S = 3 * 86_400
KEY = "approve-bill"
IN_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d*)?")
WAYS_OUT = (
    "approve it with --yes, run it on a terminal and answer there, or run a deployment with the parameter "
    "approve_over: its flow run waits until the sum is approved in Prefect"
)


@dataclass(frozen=True, slots=True)
class Bill:
    """What a run may cost, in USD: the forecast of the rows that are to be asked, and what the job's caps leave."""

    name: str
    rows: int
    estimate: float
    low: float
    high: float
    bound_99: float
    cap: float | None
    basis: str

    @property
    def most(self) -> float:
        """What it comes to once in a hundred times, or what the caps let it."""
        return self.bound_99 if self.cap is None else min(self.bound_99, self.cap)

    def __str__(self) -> str:
        cap = "" if self.cap is None else f"; the job's caps leave {self.cap:.4f} USD"
        return (
            f"{self.name}: {counted(self.rows, 'row')} to ask, {self.estimate:.4f} USD (95 % interval "
            f"{self.low:.4f} to "
            f"{self.high:.4f}), at most {self.bound_99:.4f} USD at 99 % ({self.basis}){cap}"
        )


async def approved(
    job: Job,
    limit_usd: float,
    *,
    limit: int | None,
    sandbox: bool,
    approve: Callable[[Bill], Awaitable[Decimal] | Decimal],
) -> Job:
    """Forecast a run before its first call. The job under the limit, or, where the run may cost more, under the sum
    that was approved. Raises JobError where it was not.
    """
    bill = bill_of(job, await estimate_job(job, EstimateOptions(limit=limit, sandbox=sandbox)))
    if bill is None or bill.most <= limit_usd:
        # What nobody has approved is not spent either.
        return under(job, Decimal(str(limit_usd)))
    told = approve(bill)
    return under(job, told if isinstance(told, Decimal) else await told)


def bill_of(job: Job, forecast: Forecast) -> Bill | None:
    """The bill of a forecast; None where nothing is to be asked. Raises JobError where the price is unknown."""
    if not forecast.rows.to_ask:
        return None
    cost = forecast.cost_usd
    if cost is None:
        raise JobError(
            "the bill cannot be forecast: the model's price is unknown",
            where="--approve-over",
            hint="add the price to your catalogue, or run without it",
        )
    cap = least_cap(job, forecast.spent_usd)
    return Bill(
        job.name, forecast.rows.to_ask, cost.estimate, cost.low, cost.high, cost.bound_99,
        None if cap is None else cap.left_usd, forecast.basis.value,
    )  # fmt: skip


def under(job: Job, usd: Decimal) -> Job:
    """The job, whose run may spend so much and no more."""
    caps = [usd] if job.max_run_cost_usd is None else [usd, job.max_run_cost_usd]
    return job.model_copy(update={"max_run_cost_usd": min(caps)})


def sum_of(text: str) -> Decimal | None:
    """A sum of money above 0 as a person writes it; None where it is none.

    A comma stands between thousands alone: whoever writes 0,50 does not mean 50.
    """
    amount = text.strip().removeprefix("$").removesuffix("USD").strip()
    if "," in amount and not IN_THOUSANDS.fullmatch(amount):
        return None
    try:
        value = Decimal(amount.replace(",", ""))
    except InvalidOperation:
        return None
    return value if value.is_finite() and value > 0 else None


def rounded(usd: float) -> Decimal:
    """A bound of a forecast as a cap: rounded up to 0.0001 USD."""
    return Decimal(usd).quantize(Decimal("0.0001"), rounding="ROUND_UP")


def ask_terminal(bill: Bill, read: Callable[[str], str] = input) -> Decimal:
    """The sum that a person at the terminal approves. Raises JobError where the answer is no."""
    most = rounded(bill.most)
    print(str(bill), file=sys.stderr)
    print(f"Go on, spending at most {most} USD? [y, another sum, or N] ", end="", file=sys.stderr, flush=True)
    try:
        answer = read("").strip()
    except EOFError:
        answer = ""
    approved = most if answer.casefold() in ("y", "yes") else sum_of(answer)
    if approved is None:
        raise JobError("the bill was not approved, nothing was sent", where="--approve-over", hint="answer y, or a sum")
    return approved


async def ask_prefect(bill: Bill) -> Decimal:
    """The sum that somebody approves in Prefect, by a form of this flow run.

    A deployment's run is suspended: its process ends, and it begins from the top when it is resumed. One that was
    started by hand waits in its process.
    """
    from prefect.flow_runs import pause_flow_run, suspend_flow_run
    from prefect.runtime import deployment

    from rowmill.flows.orchestration.approval_form import Approval

    most = rounded(bill.most)
    form: Any = Approval.with_initial_data(
        description=f"{bill}. Nothing is sent until you approve what the run may spend; cancel the flow run to refuse.",
        approved_usd=float(most), forecast_usd=bill.estimate, low_usd=bill.low, high_usd=bill.high,
        bound_99_usd=bill.bound_99, cap_usd=bill.cap,
    )  # fmt: skip
    ask = pause_flow_run if deployment.id is None else suspend_flow_run
    told = await ask(wait_for_input=form, timeout=WAIT_S, key=KEY)
    return Decimal(str(told.approved_usd))


Answer = bool | int | float | str | Decimal | None


def answering(
    approve: Callable[[Bill], Answer | Awaitable[Answer]] | None, limit: float
) -> Callable[[Bill], Awaitable[Decimal]]:
    """What asks a function of the caller's: True approves the bound, a sum itself. Raises JobError for anything else,
    and where there is no such function.
    """

    async def ask(bill: Bill) -> Decimal:
        if approve is None:
            raise JobError(
                f"it needs approval: {bill}",
                where=f"approve_over={Decimal(str(limit)):f}",
                hint="give approve=, a function that is handed the bill and returns True, or the sum that may be spent",
            )
        told = approve(bill)
        answer: Answer = await told if isinstance(told, Awaitable) else told
        if answer is True:
            return rounded(bill.most)
        approved = None if answer is None or answer is False else sum_of(str(answer))
        if approved is None:
            raise JobError(
                f"the bill was not approved ({answer!r}), nothing was sent",
                where="approve",
                hint="return True, or a sum",
            )
        return approved

    return ask


def refuse(bill: Bill, limit: float) -> JobError:
    """Nobody is there who could approve."""
    return JobError(f"it needs approval: {bill}", where=f"--approve-over {Decimal(str(limit)):f}", hint=WAYS_OUT)
