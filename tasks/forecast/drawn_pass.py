"""Drawn pass: what a large input comes to, by rows that are drawn over all of it."""

from __future__ import annotations

from math import ceil

from rowmill.schemas.job import Job
from rowmill.schemas.media_tokens import Tokens
from rowmill.schemas.outcome import Outcome
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row, Unreadable
from rowmill.tasks.forecast.counted_rows import Tally
from rowmill.tasks.forecast.drawn_rows import (
    DRAWN_LEAST,
    DRAWN_SHARE,
    TWINS_MOST,
    Drawn,
    DrawnRows,
    places,
    row_orders,
)
from rowmill.tasks.forecast.request_costs import RequestCosts
from rowmill.tasks.input import reader as read
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.survey import Survey
from rowmill.tasks.plan.planner import Planner

# How far above its estimate a ceiling stands that was not summed over every row, in standard errors.
CEILING_ERRORS = 5
# What is summed of each row that is looked at.
SUMS = (
    "tokens", "size", "worst", "ceiling", "media", "media_unmeasured", "media_tokens", "media_low", "media_high",
)  # fmt: skip


def drawn_tally(
    job: Job, survey: Survey, files: list[InputFile], *, planner: Planner, costs: RequestCosts
) -> Tally | None:
    """The sums over a surveyed input; None where so many rows may ask the same that all have to be looked at.

    Raises InputError.
    """
    drawn = DrawnRows(survey.rows, survey.bytes)
    share = (DRAWN_LEAST + survey.rows / DRAWN_SHARE) / survey.rows
    for shard in survey.shards:
        stretches = min(shard.rows, ceil(shard.rows * share))
        chosen = places(shard.rows, stretches, row_orders(shard.first_row, stretches))
        for place, (line, file) in enumerate(read.shard_lines(shard, files, job.limits.max_line_bytes)):
            if place in chosen:
                row = read.judge(line, shard.first_row + place, file, id_column=job.id)
                _add(drawn, len(line.raw), planned_row(planner, row, survey), costs=costs)
    return None if drawn.twins_most > TWINS_MOST else _tally_of(drawn)


def planned_row(planner: Planner, row: Row | Unreadable, survey: Survey) -> Request | Outcome | None:
    """The row's request, its outcome where it cannot be asked; None where it cannot be read, or its id stands twice."""
    if isinstance(row, Unreadable) or row.index in survey.duplicates:
        return None
    return planner.plan(row)


def _add(drawn: DrawnRows, of_bytes: int, planned: Request | Outcome | None, *, costs: RequestCosts) -> None:
    if not isinstance(planned, Request):
        nothing = dict.fromkeys(SUMS, 0.0)
        unreadable = float(planned is None)
        drawn.add(of_bytes, None, unreadable=unreadable, cannot_be_asked=1 - unreadable, **nothing)
        return
    tokens = costs.tokens(planned)
    worst, ceiling = costs.worst_cases(planned)
    media = planned.media_tokens
    drawn.add(
        of_bytes, planned.key, unreadable=0.0, cannot_be_asked=0.0, tokens=tokens,
        size=costs.expected_usd(tokens), worst=worst, ceiling=ceiling,
        media=planned.media, media_unmeasured=planned.media_unmeasured,
        media_tokens=media.estimate, media_low=media.low, media_high=media.high,
    )  # fmt: skip


def _tally_of(drawn: DrawnRows) -> Tally:
    total = {name: drawn.total(name) for name in drawn.values}
    unreadable, cannot = round(total["unreadable"].value), round(total["cannot_be_asked"].value)
    tokens = total["tokens"]
    return Tally(
        total=drawn.rows,
        unreadable=unreadable,
        cannot_be_asked=cannot,
        to_ask=max(0, drawn.rows - unreadable - cannot),
        tokens=tokens.value,
        media=round(total["media"].value),
        media_tokens=Tokens(*(total[name].value for name in ("media_tokens", "media_low", "media_high"))),
        media_unmeasured=round(total["media_unmeasured"].value),
        ceiling_usd=total["ceiling"].value + CEILING_ERRORS * total["ceiling"].error,
        worst_usd=total["worst"].value,
        size=total["size"].value,
        drawn=Drawn(len(drawn.sizes), tokens.error, drawn.twins_most),
    )
