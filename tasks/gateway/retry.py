"""Retry: attempts one after the other until a row is settled. The only place that knows tenacity."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import tenacity

from rowmill.schemas.attempt import Failure
from rowmill.tasks.gateway.failures import FAILURE_POLICIES, Action
from rowmill.tasks.system.clock import Clock

BACKOFF_FIRST_S = 0.5
BACKOFF_MOST_S = 30.0
BACKS_OFF = (Action.RETRY, Action.ROW_OR_RUN)

T = TypeVar("T")


class RetryableFailure(Exception):
    """An attempt that does not settle its row and may be followed by another."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


async def until_settled(
    first: RetryableFailure,
    attempt: Callable[[], Awaitable[T]],
    *,
    exhausted: Callable[[Failure], bool],
    charged: Callable[[], int],
    clock: Clock,
    rng: random.Random,
) -> T:
    """Run attempts after the `first` that failed, until one settles the row. Raises the last RetryableFailure once the
    row's budget is used up.

    A row that succeeds at once never comes here: tenacity's bookkeeping costs more than the rest of a call.
    Only failures of the transport wait here, with jittered exponential backoff by the `charged` failures of the row; a
    rate limit waits in the limiter with everyone, and a new question to the model need not wait.
    """
    failed = [first]

    async def next_attempt() -> T:
        if failed:
            raise failed.pop()
        return await attempt()

    def wait(state: tenacity.RetryCallState) -> float:
        failure = _failure(state)
        if FAILURE_POLICIES[failure.kind].action not in BACKS_OFF:
            return 0.0
        most = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(charged(), 16))
        return max(failure.retry_after or 0.0, rng.uniform(most / 2, most))

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(RetryableFailure),
        stop=lambda state: exhausted(_failure(state)),
        wait=wait,
        sleep=clock.sleep,
        reraise=True,
    )
    return await retrying(next_attempt)


def _failure(state: tenacity.RetryCallState) -> Failure:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, RetryableFailure)
    return error.failure
