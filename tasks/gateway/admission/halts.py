"""Halts: the terminations that the gate, and whoever stores answers, end a run with."""

from __future__ import annotations

from rowmill.schemas.attempt import Failure
from rowmill.schemas.errors import StorageError
from rowmill.schemas.price import short_usd
from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.tasks.gateway.admission.budget import Budget

RUN_AGAIN = "Run the same command again: it goes on where it stopped"
LEASE_ENDED = Termination(
    TerminationKind.INTERRUPTED,
    "lease",
    "the lease that lets this process send calls was not renewed in time",
    RUN_AGAIN,
)
DEFECT = Termination(
    TerminationKind.INTERRUPTED,
    "defect",
    "rowmill met a defect of its own",
    "Run the same command again, and report it",
)


def outage(seconds: float, last: Failure | None) -> Termination:
    """The gateway, or the provider behind it, has failed over many rows for so long; `last` is the last failure."""
    message = f"the gateway or its provider failed for {seconds:g} s over many rows"
    return Termination(
        TerminationKind.OUTAGE,
        last.kind.value if last is not None else None,
        f"{message}; the last failure: {last.message}" if last is not None else message,
        f"{RUN_AGAIN}; retries.outage_s sets how long it waits",
    )


def spent_up(budget: Budget, spent: int, worst: int) -> Termination:
    """The next call could pass the budget's cap, of which `spent` is used; amounts in 10⁻¹² USD."""
    assert budget.cap is not None
    of_run = budget.key == "max_run_cost_usd"
    cap, used = short_usd(budget.cap - budget.before), short_usd(spent - budget.before)
    return Termination(
        TerminationKind.BUDGET,
        None,
        f"{budget.key} is {cap}, {used} is spent or may be{' in this run' if of_run else ''}, and the next call could "
        f"cost {short_usd(worst)}",
        f"{RUN_AGAIN}, with as much again to spend; or raise max_run_cost_usd"
        if of_run
        else "Raise it with --max-cost (or set params.max_output_tokens to narrow the worst case) and run again",
    )


def bill_too_high(row: int, cost: int, worst: int) -> Termination:
    """A call was billed more than its worst case, so a cap cannot be held; amounts in 10⁻¹² USD."""
    return Termination(
        TerminationKind.BUDGET,
        "worst_case_passed",
        f"row {row}: a call was billed {short_usd(cost)}, more than its worst case of {short_usd(worst)}; "
        "a cap cannot be held while that happens",
        "Check the model's prices and limits in the catalogue (rowmill models), or run again without a cap",
    )


def refused_storage(error: StorageError) -> Termination:
    """Answers could no longer be stored."""
    return Termination(
        TerminationKind.STORAGE,
        None,
        str(error),
        f"{error.hint[0].upper()}{error.hint[1:]}" if error.hint else RUN_AGAIN,
    )
