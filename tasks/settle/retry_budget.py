"""Retry budget: what each failure is charged to: its row, everyone who waits, or the run, which then ends."""

from __future__ import annotations

from rowmill.schemas.attempt import Failure, FailureKind
from rowmill.schemas.job_sections import Retries
from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.tasks.gateway.admission.gate import Gate
from rowmill.tasks.gateway.admission.halts import RUN_AGAIN
from rowmill.tasks.gateway.failures import FAILURE_POLICIES, Action
from rowmill.tasks.settle.evidence import Evidence, is_alone
from rowmill.tasks.settle.row_state import RowState
from rowmill.tasks.system.clock import Clock

# No connection was made: that says nothing of the row.
NOT_CONNECTED = frozenset({FailureKind.UNREACHABLE, FailureKind.UNKNOWN_HOST, FailureKind.UNTRUSTED_CERTIFICATE})
# A row may be throttled alone by chance so often, uncharged.
ALONE_BY_CHANCE = 2
# A limit that says when it ends may be waited for so long, uncharged, by a row that nobody is beside.
TOLD_WAIT_MOST_S = 600.0
NEXT = {
    "auth": "Check ROWMILL_API_KEY and the key's allowed addresses, then run the same command again",
    "model_not_found": "Check the model's name and ROWMILL_BASE_URL, then run the same command again",
    "insufficient_credits": f"Top up the balance. {RUN_AGAIN}",
    "outage": f"{RUN_AGAIN}; retries.outage_s sets how long an outage is waited for",
    "spend_limit": f"Raise the key's spend limit, or wait until its hour or day turns. {RUN_AGAIN}",
}


class RetryBudget:
    """Counts the failures of one model's rows, by the job's retries and by what happens to other rows meanwhile."""

    def __init__(self, gate: Gate, retries: Retries, clock: Clock) -> None:
        self.evidence = Evidence(gate.concurrency.most)
        self._gate, self._retries, self._clock = gate, retries, clock

    def sent(self, state: RowState) -> None:
        """A call of this row goes: what others meet from here on tells whether its failure is its own."""
        if state.answers_seen is None or state.refused:
            state.answers_seen, state.throttled_seen = self.evidence.answers, self.evidence.throttled

    def count(self, state: RowState, failure: Failure) -> None:
        """Count a failure against its row, or against the run, which ends where it is every row's."""
        policy = FAILURE_POLICIES[failure.kind]
        now = self._clock.now()
        if policy.halts_as is not None:
            self.halt(policy.halts_as, failure)
        elif policy.action is Action.WAIT:
            self._count_wait(state, failure, now)
        elif policy.action is Action.ASK_AGAIN:
            state.content += 1
        elif failure.kind in NOT_CONNECTED:
            state.unconnected += 1
            if self.evidence.unreachable(now) >= self._retries.outage_s:
                self.halt(TerminationKind.OUTAGE, failure)
        elif policy.upstream:
            state.upstream_at.append(now)
        elif policy.action is Action.RETRY:
            state.incomplete += 1
        elif policy.action is Action.ROW_OR_RUN:
            state.refused += 1
        elif failure.kind is not FailureKind.DEFECT:
            # A refusal of this row's request: the gateway has looked at it.
            self.evidence.answered()
        if policy.every_row_halts_as is None:
            return
        # What was fine before may be fine again: only a run that never was answered need not wait for it.
        may_heal = policy.action is Action.RETRY and self.evidence.answers > 0
        if self.evidence.refused() and not may_heal:
            self.halt(policy.every_row_halts_as, failure)

    def _count_wait(self, state: RowState, failure: Failure, now: float) -> None:
        """Everyone who is refused as too fast waits without charge; a row that is refused alone is charged."""
        evidence = self.evidence
        answered = evidence.answers - (state.answers_seen or 0)
        throttled = evidence.throttled - state.throttled_seen
        state.throttled_since = state.throttled_since or now
        ends_by_itself = failure.retry_after is not None and now - state.throttled_since < TOLD_WAIT_MOST_S
        if is_alone(answered, throttled) and (answered or not ends_by_itself):
            state.alone += 1
            evidence.suspect(state.request.row.index)
        state.throttled = 0 if answered else state.throttled + 1
        if evidence.few_are_left(now):
            # All others have their outcomes, so that nobody is left who could be answered.
            state.alone = max(state.alone, state.throttled)
        if evidence.throttle(state.request.row.index, now):
            self.halt(TerminationKind.OUTAGE, failure)
        state.answers_seen, state.throttled_seen = evidence.answers, evidence.throttled

    def halt(self, kind: TerminationKind, failure: Failure) -> None:
        self._gate.halt(Termination(kind, failure.kind.value, failure.message, NEXT[kind.value]))

    def exhausted(self, state: RowState, failure: Failure) -> bool:
        """Whether the row is given up after this failure."""
        action = FAILURE_POLICIES[failure.kind].action
        if action is Action.WAIT:
            return state.alone > ALONE_BY_CHANCE + self._retries.transport
        if action is Action.RETRY:
            state.transport = self._gate.breaker.charged(state.upstream_at) + state.incomplete
            return state.transport > self._retries.transport
        if action is Action.ASK_AGAIN:
            return state.hopeless or state.content > self._retries.content
        if action is Action.ROW_OR_RUN:
            # Alone at the end of a run in which others were answered before, it is asked once more.
            return self.others_answered(state) or (state.refused > 1 and self.evidence.answers > 0)
        return True

    def others_answered(self, state: RowState) -> bool:
        """Whether anybody was answered since this row's last call was sent."""
        return state.answers_seen is not None and self.evidence.answers > state.answers_seen
