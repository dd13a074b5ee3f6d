"""Estimate: the counted input and what is known of earlier rows → the forecast of a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from rowmill.schemas.catalogue import Model
from rowmill.schemas.display_text import counted
from rowmill.schemas.forecast import EVERY_CALL, Basis, Forecast, Interval, MediaTokens
from rowmill.schemas.job import Job
from rowmill.schemas.price import PICO, usd
from rowmill.tasks.forecast.caps import Cap, least_cap
from rowmill.tasks.forecast.counted_rows import Tally
from rowmill.tasks.forecast.drawn_rows import Drawn
from rowmill.tasks.forecast.duration import pace_of
from rowmill.tasks.forecast.evidence_tokens import evidence_note
from rowmill.tasks.forecast.learned import GUESS_OFF, GUESS_OFF_99, NIGHTS_LEAST, Learned
from rowmill.tasks.forecast.prior import calls_a_row, guessed_output, guessed_thoughts

# Standard errors to either side of a sum over drawn rows: 95 % within, 99.9 % below.
ERRORS_95, ERRORS_99 = 2.0, 3.1


def forecast(
    job: Job, model: Model, tally: Tally, *, learned: Learned | None, fingerprint: str, spent_usd: float, now: float
) -> Forecast:
    """What the rows to ask will cost. Never a NaN: what cannot be told is null, and a note says why."""
    sample = learned.sample if learned else None
    output = sample.mean_output_tokens if sample else guessed_output(job, model) * calls_a_row(job, None)
    ratio = (sample.input_ratio if sample else 1.0) * calls_a_row(job, sample)
    line = learned or _guess(job, model, tally)
    cost = line.cost_usd if model.price else None
    worst = max(tally.ceiling_usd, cost.estimate) if cost is not None else None
    cap = least_cap(job, spent_usd)
    capped = cap is not None and worst is not None and cap.left_usd < worst
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
        cost_usd=_within(cost, worst),
        credits_per_usd=_credits_per_usd(model),
        ceiling_usd=cap.left_usd if cap is not None and capped else worst,
        ceiling_binds=cap.key if cap is not None and capped else EVERY_CALL,
        spent_usd=spent_usd,
        per_1000_rows_usd=cost.estimate / tally.to_ask * 1_000 if cost and tally.to_ask else None,
        pace=pace_of(job, model, tally, ratio=ratio, output=output, sample=sample, cost=cost, cap=cap),
        rows_beyond_cap=_beyond(cap, cost, rows=tally.to_ask),
        intercept_usd=line.intercept_usd,
        usd_per_token=line.usd_per_token,
        notes=_notes(job, model, tally, learned=learned),
        drawn_rows=tally.drawn.rows if tally.drawn is not None else None,
        media_tokens=MediaTokens(*tally.media_tokens, tally.media_unmeasured) if tally.media else None,
    )


@dataclass(frozen=True, slots=True)
class Guess:
    """What a row may cost, before anything is known: the same line that a sample would show."""

    cost_usd: Interval | None
    intercept_usd: float
    usd_per_token: float


def _guess(job: Job, model: Model, tally: Tally) -> Guess:
    price = model.price
    if price is None:
        return Guess(None, 0.0, 0.0)
    calls = calls_a_row(job, None)
    per_token, per_row = price.input_usd * calls / PICO, guessed_output(job, model) * calls * price.output_usd / PICO
    most = (job.params.max_output_tokens or model.max_output_tokens) * price.output_usd * calls / PICO
    # Some gateways bill thoughts beside the limit of an answer: before one has been seen, the limit bounds no bill.
    beside = guessed_thoughts(job, model) * price.output_usd * calls / PICO
    media = tally.media_tokens
    error, twins = (tally.drawn.tokens_error, tally.drawn.twins_most) if tally.drawn is not None else (0.0, 0.0)
    estimate, low, high, bound_99 = (
        max(0.0, tally.tokens + more + errors * error) * per_token
        + tally.to_ask * min(per_row * off, most + (beside * off if off > 1 else 0.0))
        for off, errors, more in (
            (1, 0, 0.0),
            (1 / GUESS_OFF, -ERRORS_95, media.low - media.estimate),
            (GUESS_OFF, ERRORS_95, media.high - media.estimate),
            (GUESS_OFF_99, ERRORS_99, media.high - media.estimate),
        )
    )
    return Guess(Interval(estimate, low * (1 - twins), high, bound_99), per_row, per_token)


def _within(cost: Interval | None, ceiling: float | None) -> Interval | None:
    if cost is None or ceiling is None:
        return cost
    return Interval(cost.estimate, cost.low, min(cost.high, ceiling), min(cost.bound_99, ceiling))


def _credits_per_usd(model: Model) -> float | None:
    price = model.price
    return None if price is None or not price.output_usd else price.output_credits / price.output_usd


def _beyond(cap: Cap | None, cost: Interval | None, *, rows: int) -> int | None:
    """Rows that the cap would leave undone if the estimate is right; null without a cap or a price."""
    if cap is None or cost is None:
        return None
    return 0 if cost.estimate <= cap.left_usd else rows - int(rows * cap.left_usd / cost.estimate)


def _votes_note(job: Job) -> str:
    note = f"votes: {job.fewest_votes} to {job.most_votes} calls a row"
    if (escalate := job.escalate) is not None:
        note += f", and up to {escalate.votes} of {escalate.model} where a field is in doubt"
    return f"{note}; the ceiling counts all of them"


def _notes(job: Job, model: Model, tally: Tally, *, learned: Learned | None) -> list[str]:
    found = []
    if tally.total == 0:
        found.append("the input is empty: there is nothing to ask and nothing to pay")
    elif tally.to_ask == 0 and tally.settled:
        found.append("every row is settled already: running this job again costs nothing")
    elif tally.to_ask == 0:
        found.append("no row can be asked: rowmill check tells why")
    if tally.to_ask and (quotes := evidence_note(job, model)) is not None:
        found.append(quotes)
    if tally.drawn is not None:
        found.append(_drawn_note(tally, tally.drawn))
    if model.price is None:
        found.append(f"the price of {model.name} is unknown: tokens are told, cost is not; add it to your catalogue")
    if tally.to_ask and learned is None:
        found.append(
            "output tokens are a guess from the schema and the thinking level, not a measurement: "
            "--pilot auto pays for a few rows, keeps their results, and measures"
        )
        if job.params.max_output_tokens is None:
            found.append("params.max_output_tokens is not set: the ceiling assumes the longest answer the model gives")
    if tally.to_ask and learned is not None:
        found.append(_standing(learned, tally))
    if job.has_votes and tally.to_ask:
        found.append(_votes_note(job))
    if job.params.search and tally.to_ask:
        found.append("a search may bring any amount of text into a call: its input tokens are not in a prior")
    if tally.media:
        found.append(_media_note(tally, model, learned))
    return found


RULES = {
    "gemini-3": "Google's budgets for Gemini 3; which of its rules this gateway bills by is not documented",
    "gemini-2": "Google's tiles, pages and seconds for Gemini 2",
    "fixed": "media_tokens of the catalogue each",
}


def _media_note(tally: Tally, model: Model, learned: Learned | None) -> str:
    """By which rule media were counted, what is uncertain of them, and whether a sample has measured it."""
    told = tally.media_tokens
    note = (
        f"{tally.media:,} media count as about {told.estimate:,.0f} tokens, {told.low:,.0f} to {told.high:,.0f}, by "
        f"{RULES[model.media_rule]}"
    )
    if tally.media_unmeasured:
        note += (
            f"; {tally.media_unmeasured:,} of them do not tell how large they are (unknown or damaged form, or an "
            "address) and make the interval wide"
        )
    if learned is not None:
        return f"{note}; the cost above is by what the rows asked were billed for"
    return f"{note}; --pilot N measures it"


def _drawn_note(tally: Tally, drawn: Drawn) -> str:
    """What was counted, and what was told from some rows for all."""
    share = 2 * drawn.tokens_error / tally.tokens if tally.tokens else 0.0
    return (
        f"rows and bytes are counted; {drawn.rows:,} of the {counted(tally.total, 'row')}, drawn over all of "
        f"the input, were "
        f"read and rendered: input tokens are theirs by bytes, within {share:.1%}, and so are the ceiling and the rows "
        f"that cannot be asked. The others were not looked at; at most {drawn.twins_most:.1%} of all may ask the same "
        "as another, which the interval's low end allows for. `rowmill estimate JOB --rows` looks at every one"
    )


def _standing(learned: Learned, tally: Tally) -> str:
    """What the rows that were learned from stand for."""
    rows = learned.sample.rows
    if learned.basis is Basis.RANDOM:
        most = tally.ceiling_usd / tally.to_ask
        return (
            f"rows far dearer than any of the {rows:,} drawn may be missed where they are rarer than 1 in "
            f"{max(1, rows // 3):,}; none can cost more than about {usd(most)}"
        )
    if learned.nights >= NIGHTS_LEAST:
        return (
            f"learned from {counted(rows, 'row')} of {learned.nights} earlier runs, as wide as those differed "
            f"from each other; "
            "rows of another kind do not show in it: --pilot N asks rows of the rest"
        )
    return (
        f"learned from {counted(rows, 'row')} settled before, which need not be like the rest: the interval "
        f"is a guess's; "
        "--pilot N asks rows of the rest, at random"
    )
