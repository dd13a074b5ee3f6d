"""Request costs: the tokens of a request, and what it may cost at most, before it is sent."""

from __future__ import annotations

from functools import lru_cache

from rowmill.schemas.catalogue import Model
from rowmill.schemas.job import Job
from rowmill.schemas.json_text import encode_json
from rowmill.schemas.price import PICO
from rowmill.schemas.request import Common, Request, Text
from rowmill.tasks.answers.validator import REASON_CHARS, REASONS_MOST
from rowmill.tasks.forecast.prior import expected_usd
from rowmill.tasks.forecast.tokens import Count
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.plan.evidence_plan import sent_schema
from rowmill.tasks.plan.pack_planner import PACK_RETRIES, common_text, pack_worst_usd, rows_at_most
from rowmill.tasks.plan.vote_planners import Votes
from rowmill.tasks.plan.worst_case import worst_case

# What a model is told when it is asked again, at the most.
COMPLAINT_BYTES = REASONS_MOST * REASON_CHARS + 1_000
# The two lines that bear a row's token.
ROW_TOKENS = 16


class RequestCosts:
    """Estimates for the requests of one job to one model."""

    def __init__(self, job: Job, model: Model, votes: Votes, *, count: Count, native: bool) -> None:
        """`votes` are the job's, none for a job that labels nothing; `native`: a schema travels beside the prompt."""
        self._job, self._model = job, model
        self._votes = {name: (other, planners[0], len(planners)) for name, (other, planners) in votes.items()}
        self._protocol = PROTOCOLS[model.protocol]
        self._count = count
        self._counted_once = lru_cache(64)(count)
        self._fixed = self._fixed_tokens(native=native)
        self._row_usd, self._token_usd = expected_usd(job, model)

    def _fixed_tokens(self, *, native: bool) -> float:
        """What every request carries beside its texts: tools, and a schema that travels natively."""
        tools = sum(
            self._count(encode_json(tool.model_dump(exclude_defaults=True)).decode()) for tool in self._job.tools
        )
        schema = sent_schema(self._job, native=True)
        return tools + (self._count(encode_json(schema).decode()) if native and schema is not None else 0)

    def tokens(self, request: Request) -> float:
        """Estimated input tokens of a request: its texts, what all carry, and its media by the model's rule."""
        if request.common is not None:
            return self._packed_tokens(request, request.common)
        total = self._fixed + request.media_tokens.estimate
        for turn in self._protocol.turns(request.body):
            count = self._counted_once if turn.role == "system" else self._count
            total += sum(count(part.text) for part in turn.parts if isinstance(part, Text))
        return total

    def _packed_tokens(self, request: Request, common: Common) -> float:
        """Of a row that shares its call: its own text, and its part of what is common."""
        rows = rows_at_most(request, self._model, self._job.pack_size)
        return self._count(request.own) + ROW_TOKENS + self._counted_once(common_text(common)) / rows

    def expected_usd(self, tokens: float) -> float:
        """What a row of so many input tokens is expected to cost before anything is known of the answers."""
        return self._row_usd + self._token_usd * tokens

    def worst_cases(self, request: Request) -> tuple[float, float]:
        """(of the row's first call, of every call that it may need, all votes and re-asks), in USD."""
        if not self._votes:
            return self._most_usd(self._model, request)
        first, total = 0.0, 0.0
        for model, planner, votes in self._votes.values():
            planned = request if model is self._model else planner.plan(request.row)
            if isinstance(planned, Request):
                one, most = self._most_usd(model, planned)
                first, total = first or one, total + votes * most
        return first, total

    def _most_usd(self, model: Model, request: Request) -> tuple[float, float]:
        """(the first call, every call that one answer may take), each at its worst case.

        Asked again, a row carries its last answer and the complaint along; a cut answer is given twice the room.
        """
        retries, protocol = self._job.retries, PROTOCOLS[model.protocol]
        bound = protocol.output_limit(request.body) or model.max_output_tokens
        size = len(protocol.wire(request.body, stream=False))
        worst, most_media = [], request.media_most
        for _ in range(1 + retries.content):
            worst.append(worst_case(model, request.body, size, output_tokens=bound, media_most=most_media).usd)
            size, bound = size + bound + COMPLAINT_BYTES, min(model.max_output_tokens, 2 * bound)
        first, most = worst[0], sum(worst) + worst[-1] * retries.transport
        if request.common is not None:
            attempts = 1 + min(retries.transport, PACK_RETRIES)
            first, packed = pack_worst_usd(request, model, self._job.pack_size, attempts=attempts)
            most += packed
        return first / PICO, most / PICO
