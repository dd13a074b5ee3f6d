"""Crew: what sends a run's calls: the one door that all of them pass, and a settler for each model behind it."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping

from rowmill.schemas.catalogue import Model
from rowmill.schemas.job import Job
from rowmill.schemas.price import parse_amount
from rowmill.tasks.answers.validator import Validator
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.concurrency import Concurrency
from rowmill.tasks.gateway.admission.gate import Gate
from rowmill.tasks.gateway.admission.limiter import Limiter
from rowmill.tasks.gateway.client import Client
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.plan.vote_planners import Votes
from rowmill.tasks.settle.field_ballot import FieldBallot
from rowmill.tasks.settle.label_ballot import LabelBallot
from rowmill.tasks.settle.pack_settler import PackSettler
from rowmill.tasks.settle.settler import Settler
from rowmill.tasks.settle.voter import Ballot, Panel, Voter
from rowmill.tasks.system.clock import Clock

log = logging.getLogger("rowmill")


class Callers:
    """Who calls the gateway for one run. They share the key's limits, the job's budget, and the rows in flight."""

    def __init__(
        self,
        job: Job,
        model: Model,
        votes: Votes,
        *,
        gateway: Gateway,
        validator: Validator,
        spent_usd: int,
        clock: Clock,
        rng: random.Random,
        run_id: str,
        is_quota: bool = False,
    ) -> None:
        """`spent_usd` is what the job has cost already, in 10⁻¹² USD; the cap is about the whole of it.

        `is_portion` where this process has a part of limits and cap, and begins with none of it.
        """
        self._job, self._gateway, self._validator = job, gateway, validator
        self._clock, self._rng, self._run_id = clock, rng, run_id
        self._sending: set[int] = set()
        self.cap_usd, of_run = cap_usd(job, spent_usd)
        limits = job.limits
        sliding = limits.window == "sliding" and not is_quota
        self.gate = Gate(
            limiter=Limiter(limits.rpm, limits.tpm, clock.now(), sliding=sliding),
            concurrency=Concurrency(limits.concurrency),
            budget=Budget(
                self.cap_usd, spent_usd, lambda told: log.warning("%s", told), is_quota=is_quota, of_run=of_run
            ),
            clock=clock,
            outage_s=job.retries.outage_s,
        )
        self.clients: dict[str, Client] = {}
        self.settler = self._voter(votes) if votes else self._settler(model)

    def _voter(self, votes: Votes) -> Voter:
        panels: Mapping[str, Panel] = {
            name: Panel(planners, self._settler(model)) for name, (model, planners) in votes.items()
        }
        job = self._job
        ballot: Ballot
        if job.label is not None:
            ballot = LabelBallot(job.label, job.model)
        else:
            assert job.votes is not None
            ballot = FieldBallot(job.votes, job.model, self._validator)
        return Voter(ballot, panels, model=job.model, reads_media=bool(job.attachments), run_id=self._run_id)

    def _settler(self, model: Model) -> Settler | PackSettler:
        job = self._job
        client = self.clients[model.name] = Client(
            model,
            base_url=model.base_url or self._gateway.base_url,
            api_key=self._gateway.api_key,
            timeout_s=job.limits.timeout_s,
            call_s=job.limits.call_s,
            stream=job.params.stream,
            clock=self._clock,
        )
        single = Settler(
            model=model,
            client=client,
            gate=self.gate,
            validator=self._validator,
            retries=job.retries,
            stream=job.params.stream,
            clock=self._clock,
            rng=self._rng,
            run_id=self._run_id,
            sending=self._sending,
        )
        return single if job.pack_size == 1 else PackSettler(single, job.pack_size, rng=self._rng)

    async def aclose(self) -> None:
        for client in self.clients.values():
            await client.aclose()


def cap_usd(job: Job, spent_usd: int) -> tuple[int | None, bool]:
    """What may have been spent for the output when this run ends, in 10⁻¹² USD; None where nothing caps it.

    `max_cost_usd` caps all that is ever spent, `max_run_cost_usd` what this run adds to it. The second value tells
    whether it is the latter that comes first.
    """
    total = None if job.max_cost_usd is None else parse_amount(str(job.max_cost_usd))
    own = None if job.max_run_cost_usd is None else spent_usd + parse_amount(str(job.max_run_cost_usd))
    if own is None or (total is not None and total <= own):
        return total, False
    return own, True
