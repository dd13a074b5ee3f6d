"""Crew: what sends a run's calls: the one door that all of them pass, and a settler for each model behind it."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping

from schemas.catalogue import Model
from schemas.job import Job
from schemas.price import parse_amount
from tasks.clock import Clock
from tasks.gateway.access import Gateway
from tasks.gateway.admission import Admission
from tasks.gateway.budget import Budget
from tasks.gateway.client import Client
from tasks.gateway.concurrency import Concurrency
from tasks.gateway.limiter import Limiter
from tasks.label_run import Votes
from tasks.settle import Settler
from tasks.validate import Validator
from tasks.voter import Panel, Voter

log = logging.getLogger("rowmill")


class Crew:
    """Who calls the gateway for one run. They share the key's limits, the job's budget, and the rows in flight."""

    def __init__(
        self,
        job: Job,
        model: Model,
        votes: Votes,
        gateway: Gateway,
        *,
        validator: Validator,
        spent_usd: int,
        clock: Clock,
        rng: random.Random,
        run_id: str,
        is_portion: bool = False,
    ) -> None:
        """`spent_usd` is what the job has cost already, in 10⁻¹² USD; the cap is about the whole of it.

        `is_portion` where this process has a part of limits and cap, and begins with none of it.
        """
        self._job, self._gateway, self._validator = job, gateway, validator
        self._clock, self._rng, self._run_id = clock, rng, run_id
        self._sending: set[int] = set()
        self.cap_usd = None if job.max_cost_usd is None else parse_amount(str(job.max_cost_usd))
        limits = job.limits
        sliding = limits.window == "sliding" and not is_portion
        self.admission = Admission(
            limiter=Limiter(limits.rpm, limits.tpm, clock.now(), sliding=sliding),
            concurrency=Concurrency(limits.concurrency),
            budget=Budget(self.cap_usd, spent_usd, lambda told: log.warning("%s", told), is_portion=is_portion),
            clock=clock,
            outage_s=job.retries.outage_s,
        )
        self.clients: dict[str, Client] = {}
        self.settler = self._voter(votes) if votes else self._settler(model)

    def _voter(self, votes: Votes) -> Voter:
        panels: Mapping[str, Panel] = {
            name: Panel(planners, self._settler(model)) for name, (model, planners) in votes.items()
        }
        return Voter(self._job, panels, self._run_id)

    def _settler(self, model: Model) -> Settler:
        job = self._job
        client = self.clients[model.name] = Client(
            model,
            base_url=model.base_url or self._gateway.base_url,
            api_key=self._gateway.api_key,
            timeout_s=job.limits.timeout_s,
            stream=job.params.stream,
            clock=self._clock,
        )
        return Settler(
            model=model,
            client=client,
            admission=self.admission,
            validator=self._validator,
            retries=job.retries,
            stream=job.params.stream,
            search=job.params.search,
            clock=self._clock,
            rng=self._rng,
            run_id=self._run_id,
            sending=self._sending,
        )

    async def aclose(self) -> None:
        for client in self.clients.values():
            await client.aclose()
