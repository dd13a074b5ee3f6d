"""Stop: whether a run goes on, waits or ends, and how it is ended from outside."""

from __future__ import annotations

from rowmill.schemas.job import Job
from rowmill.schemas.termination import OUT_OF_MONEY, Termination, TerminationKind
from rowmill.tasks.gateway.admission.deadline import ended_waiting
from rowmill.tasks.gateway.admission.gate import Gate
from rowmill.tasks.gateway.admission.halts import RUN_AGAIN
from rowmill.tasks.output.answer_cache import AnswerCache
from rowmill.tasks.run.background import Background
from rowmill.tasks.run.canary import CanaryRun
from rowmill.tasks.run.quality_watch import SUSPICION, QualityWatch
from rowmill.tasks.run.shard_runner import ShardRun

INTERRUPTED = Termination(TerminationKind.INTERRUPTED, None, "the run was interrupted", RUN_AGAIN)


class Stop:
    """What ends a run's calls, by itself (the gate has halted) or from outside (it is interrupted)."""

    def __init__(
        self,
        job: Job,
        gate: Gate,
        *,
        background: Background,
        shard_run: ShardRun,
        cache: AnswerCache,
        watch: QualityWatch,
        canary: CanaryRun | None,
    ) -> None:
        self._job, self._gate, self._background = job, gate, background
        self._shard_run, self._cache, self._watch, self._canary = shard_run, cache, watch, canary
        self.interrupted = False
        gate.on_halt = self._halted

    @property
    def is_suspect(self) -> bool:
        """Whether so many rows are not ok that rows drawn at random have to show that the run is worth going on."""
        held = self._gate.termination is None or self._gate.termination == SUSPICION
        return self._watch.is_suspicious and held and not self.interrupted

    @property
    def halted(self) -> bool:
        """Whether no call goes any more."""
        return self._gate.termination is not None

    @property
    def is_over(self) -> bool:
        """Whether no further shard is to be opened. One that has run out of money still takes over known answers."""
        termination = self._gate.termination
        if termination is None:
            return False
        return termination.kind not in OUT_OF_MONEY or self._cache.is_empty

    @property
    def awaits_spend_limit(self) -> bool:
        """Whether the run stopped at the key's spend limit, and its job says to wait for it."""
        termination = self._gate.termination
        stopped = termination is not None and termination.kind is TerminationKind.SPEND_LIMIT
        return stopped and self._job.on_spend_limit == "wait" and not self.interrupted

    def ends_before(self, until: float) -> bool:
        """Whether the deadline comes before the moment (seconds since 1970) to be waited for; the run ends then."""
        deadline = self._gate.deadline
        if deadline is None or until < deadline.at:
            return False
        told = self._gate.termination
        self._gate.termination = ended_waiting(deadline, told.message if told is not None else "")
        return True

    def resume(self) -> None:
        """After a wait: one call goes alone and decides for all."""
        if not self.interrupted:
            self._background.reset()
            self._gate.reopen()

    def interrupt(self, *, force: bool) -> None:
        """End the run: let calls in flight end, or (`force`) give them up too."""
        if self.awaits_spend_limit or self.is_suspect:
            self._gate.termination = INTERRUPTED
        self.interrupted = True
        self._gate.halt(INTERRUPTED)
        if force:
            self._shard_run.cancel_all()
            if self._canary is not None:
                self._canary.cancel_all()
            self._background.give_up()

    def _halted(self) -> None:
        self._shard_run.cancel_waiting()
        if self._canary is not None:
            self._canary.cancel_waiting()
        self._background.halted()
