"""Estimate: the counted input and what is known of earlier rows → the forecast of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from rowmill.schemas.catalogue import Model
from rowmill.schemas.forecast import Basis, Forecast, Interval, Pace, Sample
from rowmill.schemas.job import Job
from rowmill.schemas.price import PICO
from rowmill.tasks.forecast.counting_pass import Candidate, Tally, seed_of
from rowmill.tasks.forecast.regression import Line, project
from rowmill.tasks.forecast.settled_rows import Paid
from rowmill.tasks.plan.label_prompt import as_asked

# Below so many rows a sample says nothing that a guess does not.
RANDOM_LEAST = 30
EARLIER_LEAST = 10
# How far a guess of output tokens may be off, down and up, and how far once in a hundred times.
GUESS_OFF, GUESS_OFF_99 = 3.0, 6.0
THOUGHTS_GUESS = {"high": 1_000.0, "low": 200.0, None: 1_000.0}
TEXT_GUESS = 300.0
TYPE_GUESS = {"integer": 3.0, "number": 5.0, "boolean": 1.0, "null": 1.0, "string": 12.0}
ITEMS_GUESS = 3


@dataclass(frozen=True, slots=True)
class Learned:
    """What settled rows tell: the sample's candidates with what each was billed for."""

    basis: Basis
    candidates: Sequence[Candidate]
    paid: Sequence[Paid]

    @property
    def tokens(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([candidate.tokens for candidate in self.candidates], float)


def learned_from(candidates: Sequence[Candidate], paid: dict[int, Paid]) -> Learned | None:
    """The best sample there is: a random one (the fixed order without a gap), else all that is settled."""
    known = [(one, paid[one.row]) for one in candidates if one.row in paid and not paid[one.row].reused]
    first: list[tuple[Candidate, Paid]] = []
    for one in candidates:
        if one.row in paid:
            if not paid[one.row].reused:
                first.append((one, paid[one.row]))
        elif not one.settled:
            break
    for basis, found, least in ((Basis.RANDOM, first, RANDOM_LEAST), (Basis.EARLIER, known, EARLIER_LEAST)):
        if len(found) >= least:
            return Learned(basis, [one for one, _ in found], [told for _, told in found])
    return None


def guessed_output(job: Job, model: Model) -> float:
    """Output tokens of one answer where nothing is known: the schema's size and the thinking asked for. A prior."""
    thinking = job.params.thinking if model.thinking_levels else "low"
    schema = as_asked(job).output_schema
    answer = _size(schema) if isinstance(schema, dict) else TEXT_GUESS
    return min(answer + THOUGHTS_GUESS[thinking], job.params.max_output_tokens or model.max_output_tokens)


def calls_a_row(job: Job, sample: Sample | None) -> float:
    """Calls that one row takes: as seen, or for votes halfway between the fewest and the most, none escalated."""
    if sample is not None:
        return sample.calls_a_row
    return 1.0 if job.label is None else (job.label.fewest_votes + job.label.votes) / 2


def _size(schema: Any, depth: int = 0) -> float:
    """Tokens of a JSON value that meets a schema, roughly."""
    if not isinstance(schema, dict) or depth > 8:
        return TYPE_GUESS["string"]
    if "enum" in schema:
        return 3.0
    if "properties" in schema:
        return 2 + sum(4 + len(name) / 6 + _size(part, depth + 1) for name, part in schema["properties"].items())
    if "items" in schema:
        return 2 + ITEMS_GUESS * (1 + _size(schema["items"], depth + 1))
    told = schema.get("type")
    return TYPE_GUESS.get(told[0] if isinstance(told, list) and told else str(told), TYPE_GUESS["string"])


def forecast(
    job: Job, model: Model, tally: Tally, learned: Learned | None, *, fingerprint: str, spent_usd: float, now: float
) -> Forecast:
    """What the rows to ask will cost. Never a NaN: what cannot be told is null, and a note says why."""
    sample, line, output = _told(job, model, tally, learned, seed_of(fingerprint))
    ratio = (sample.input_ratio if sample else 1.0) * calls_a_row(job, sample)
    cost = line.interval if line and model.price else None
    ceiling = max(tally.ceiling_usd, cost.estimate) if cost is not None else None
    cap = None if job.max_cost_usd is None else float(job.max_cost_usd)
    return Forecast(
        job=fingerprint,
        model=model.name,
        made_at=datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        basis=learned.basis if learned else Basis.PRIOR,
        rows=tally.counts(),
        input_tokens=tally.tokens * ratio,
        output_tokens=tally.to_ask * output,
        media=tally.media,
        sample=sample,
        cost_usd=_within(cost, ceiling),
        credits_per_usd=_credits_per_usd(model),
        ceiling_usd=ceiling,
        spent_usd=spent_usd,
        per_1000_rows_usd=cost.estimate / tally.to_ask * 1_000 if cost and tally.to_ask else None,
        pace=pace_of(job, tally, ratio, output, sample),
        rows_beyond_cap=_beyond(cap, spent_usd, cost, tally.to_ask),
        intercept_usd=line.intercept if line else 0.0,
        usd_per_token=line.slope if line else 0.0,
        notes=_notes(job, model, tally, learned, sample),
    )


def _told(
    job: Job, model: Model, tally: Tally, learned: Learned | None, seed: int
) -> tuple[Sample | None, Line | None, float]:
    """The sample, the line through its costs (a guessed one without a sample), and output tokens a row."""
    price = model.price
    if learned is None:
        calls = calls_a_row(job, None)
        output = guessed_output(job, model) * calls
        if price is None:
            return None, None, output
        per_token, per_row = price.input_usd * calls / PICO, output * price.output_usd / PICO
        most = (job.params.max_output_tokens or model.max_output_tokens) * price.output_usd * calls / PICO
        inputs = tally.tokens * per_token
        spread = [
            inputs + tally.to_ask * min(per_row * off, most) for off in (1, 1 / GUESS_OFF, GUESS_OFF, GUESS_OFF_99)
        ]
        return None, Line(per_row, per_token, Interval(*spread)), output
    tokens, paid = learned.tokens, learned.paid
    latencies = [one.latency_s for one in paid if one.latency_s is not None]
    sample = Sample(
        rows=len(paid),
        input_ratio=sum(one.input_tokens for one in paid) / max(1.0, float(tokens.sum()) * _calls(paid)),
        mean_output_tokens=float(np.mean([one.output_tokens for one in paid])),
        mean_latency_s=float(np.mean(latencies)) if latencies else None,
        calls_a_row=_calls(paid),
    )
    costs = [one.usd for one in paid if one.usd is not None]
    line = None
    if price is not None and len(costs) == len(paid):
        line = project(tokens, np.array(costs), tally.to_ask, tally.tokens, seed)
    return sample, line, sample.mean_output_tokens


def _calls(paid: Sequence[Paid]) -> float:
    return max(1.0, sum(one.calls for one in paid) / len(paid))


def _within(cost: Interval | None, ceiling: float | None) -> Interval | None:
    if cost is None or ceiling is None:
        return cost
    return Interval(cost.estimate, cost.low, min(cost.high, ceiling), min(cost.bound_99, ceiling))


def _credits_per_usd(model: Model) -> float | None:
    price = model.price
    return None if price is None or not price.output_usd else price.output_credits / price.output_usd


def _beyond(cap: float | None, spent: float, cost: Interval | None, rows: int) -> int | None:
    """Rows that the cap would leave undone if the estimate is right; null without a cap or a price."""
    if cap is None or cost is None:
        return None
    left = max(0.0, cap - spent)
    return 0 if cost.estimate <= left else rows - int(rows * left / cost.estimate)


def pace_of(job: Job, tally: Tally, ratio: float, output: float, sample: Sample | None) -> Pace:
    """Seconds at each limit; the longest binds."""
    calls = tally.to_ask * calls_a_row(job, sample)
    times: dict[str, float] = {}
    if job.limits.rpm:
        times["rpm"] = calls / job.limits.rpm * 60
    if job.limits.tpm:
        times["tpm"] = (tally.tokens * ratio + tally.to_ask * output) / job.limits.tpm * 60
    if sample is not None and sample.mean_latency_s is not None:
        times["concurrency"] = calls * sample.mean_latency_s / job.limits.concurrency
    if not times:
        return Pace(None, "no limit is set and no latency is known")
    binds = max(times, key=lambda name: times[name])
    return Pace(times[binds], binds)


def _notes(job: Job, model: Model, tally: Tally, learned: Learned | None, sample: Sample | None) -> list[str]:
    found = []
    if tally.total == 0:
        found.append("the input is empty: there is nothing to ask and nothing to pay")
    elif tally.to_ask == 0 and tally.settled:
        found.append("every row is settled already: running this job again costs nothing")
    elif tally.to_ask == 0:
        found.append("no row can be asked: rowmill check tells why")
    if model.price is None:
        found.append(f"the price of {model.name} is unknown: tokens are told, cost is not; add it to your catalogue")
    if tally.to_ask and learned is None:
        found.append(
            "output tokens are a guess from the schema and the thinking level, not a measurement: "
            "--pilot auto pays for a few rows, keeps their results, and measures"
        )
        if job.params.max_output_tokens is None:
            found.append("params.max_output_tokens is not set: the ceiling assumes the longest answer the model gives")
    if tally.to_ask and learned is not None and learned.basis is Basis.EARLIER:
        found.append(
            f"learned from {sample.rows if sample else 0:,} rows that happen to be settled, which need not be like the "
            "rest: --pilot N takes rows at random"
        )
    if job.params.search and tally.to_ask:
        found.append("a search may bring any amount of text into a call: its input tokens are not in a prior")
    if tally.media:
        found.append(f"media count as {model.media_tokens:,} tokens each (media_tokens of the catalogue): rough")
    return found
