"""Learned: what settled rows tell of those that are still to ask, and how far each kind of knowledge may be trusted.

A pilot's rows are a random sample of the rest as long as the rest is what they were drawn from. Rows that a run settled
are not: they are other rows, of other nights. How much nights differ from each other is what they tell of the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rowmill.schemas.forecast import Basis, Interval, Sample
from rowmill.tasks.forecast.counted_rows import Candidate, Tally
from rowmill.tasks.forecast.pilot_record import Drawn, PilotRecord, is_of
from rowmill.tasks.forecast.regression import Line, Rest, project
from rowmill.tasks.forecast.settled_rows import Paid

# Below so many rows a sample says nothing that a guess does not.
SAMPLE_LEAST = 10
# A run is taken to have gone in order while settled rows beyond the first one to ask are no more than this share.
BEYOND_MOST = 0.1
# Nights of so many rows count; fewer nights than NIGHTS_LEAST say nothing of how nights differ.
NIGHT_ROWS_LEAST, NIGHTS_LEAST = 10, 4
# How far a guess of output tokens may be off, down and up, and how far once in a hundred times.
GUESS_OFF, GUESS_OFF_99 = 3.0, 6.0
# Quantiles of Student's t at 97.5 and 99 %, by degrees of freedom from 3 on; beyond the last the normal's serve.
T_975 = (3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110)
T_99 = (4.541, 3.747, 3.365, 3.143, 2.998, 2.896, 2.821, 2.764, 2.718, 2.681, 2.650, 2.624, 2.602, 2.583, 2.567)
NORMAL_975, NORMAL_99 = 2.05, 2.45

Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Learned:
    """A sample, the line through its costs (None without a price), and output tokens a row.

    `intercept_usd` + `usd_per_token` x estimated tokens is the expected cost of a row. `nights` is the number of runs
    that earlier results come from.
    """

    basis: Basis
    sample: Sample
    cost_usd: Interval | None
    intercept_usd: float
    usd_per_token: float
    nights: int = 0


@dataclass(frozen=True, slots=True)
class _Rows:
    """Columns of a sample."""

    tokens: Numbers
    sizes: Numbers
    input: Numbers
    output: Numbers
    calls: Numbers
    usd: Numbers
    latency: Numbers
    runs: list[str]


def learned_from(
    tally: Tally,
    record: PilotRecord | None,
    paid: Mapping[bytes, Paid],
    *,
    expected_usd: tuple[float, float],
    seed: int,
) -> Learned | None:
    """The best that is known: a random sample of the rest, else earlier results, else None.

    `paid` is what the record's rows and the tally's earlier ones were billed for; `expected_usd` is what a row's size
    is made of (prior.py).
    """
    if record is not None and is_of(record, tally) and (rows := _drawn_of_the_rest(record, tally, paid)) is not None:
        return _from_draw(rows, tally, expected_usd, seed=seed)
    rows = _rows_of([(one, paid[one.key]) for one in tally.earlier if one.key in paid])
    return None if rows is None else _from_earlier(rows, tally, seed)


def _drawn_of_the_rest(record: PilotRecord, tally: Tally, paid: Mapping[bytes, Paid]) -> _Rows | None:
    """The drawn rows that stand for those still to ask; None where they do not, or are too few.

    A run that stopped has settled the input's beginning: what was drawn beyond it was drawn from the rest.
    """
    first = tally.first_to_ask or 0
    waiting = {one.key for one in tally.drawable}
    beyond, found = 0, []
    # A row that was drawn and is still to ask ends the sample: those that end first are the short and cheap ones.
    whole = True
    for one in record.drawn:
        key = bytes.fromhex(one.key)
        whole = whole and key not in waiting
        if key in paid and tally.watched.get(key, paid[key].row) >= first:
            beyond += 1
            if whole:
                found.append((one, paid[key]))
    if tally.settled_beyond - beyond > BEYOND_MOST * tally.to_ask:
        return None
    # A row that was bound to be drawn stands for itself alone.
    chance = len(record.drawn) / record.size if record.size else 0.0
    others = [(one, told) for one, told in found if one.size * chance < 1]
    return _rows_of(others if len(others) >= SAMPLE_LEAST else found)


def _rows_of(known: Sequence[tuple[Drawn | Candidate, Paid]]) -> _Rows | None:
    if len(known) < SAMPLE_LEAST:
        return None
    nan = float("nan")
    columns = zip(
        *(
            (one.tokens, one.size, told.input_tokens, told.output_tokens, told.calls,
             nan if told.usd is None else told.usd, nan if told.latency_s is None else told.latency_s)
            for one, told in known
        ), strict=True,
    )  # fmt: skip
    tokens, sizes, billed, output, calls, usd, latency = (np.array(column, float) for column in columns)
    return _Rows(tokens, sizes, billed, output, calls, usd, latency, [told.run_id for _, told in known])


def _sample_of(rows: _Rows, weights: Numbers) -> Sample:
    """Means a row of what the sample stands for, each of its rows weighted."""
    calls = max(1.0, float(np.average(rows.calls, weights=weights)))
    timed = ~np.isnan(rows.latency)
    billed, estimated = float((weights * rows.input).sum()), float((weights * rows.tokens).sum())
    return Sample(
        rows=len(rows.tokens),
        input_ratio=billed / max(1e-9, estimated * calls),
        mean_output_tokens=float(np.average(rows.output, weights=weights)),
        mean_latency_s=float(np.average(rows.latency[timed], weights=weights[timed])) if timed.any() else None,
        calls_a_row=calls,
    )


def _from_draw(rows: _Rows, tally: Tally, expected_usd: tuple[float, float], *, seed: int) -> Learned:
    """Ratios of cost to expectation, over what the rest is expected to cost."""
    sample = _sample_of(rows, 1 / rows.sizes)
    if np.isnan(rows.usd).any():
        return Learned(Basis.RANDOM, sample, None, 0.0, 0.0)
    rest = Rest(tally.to_ask, tally.size, tally.to_ask / tally.size if tally.size else float((1 / rows.sizes).mean()))
    line = project(1 / rows.sizes, rows.usd / rows.sizes, rest, seed=seed)
    row_usd, token_usd = expected_usd
    # cost = slope + intercept x size, and size = row_usd + token_usd x tokens
    return Learned(
        Basis.RANDOM, sample, line.interval, line.slope + line.intercept * row_usd, line.intercept * token_usd
    )


def _from_earlier(rows: _Rows, tally: Tally, seed: int) -> Learned:
    """The line through what is settled, as wide as nights have been seen to differ, or as a guess."""
    sample = _sample_of(rows, np.ones(len(rows.tokens)))
    nights = _night_ratios(rows, np.ones(len(rows.tokens)) if np.isnan(rows.usd).any() else rows.usd)
    if np.isnan(rows.usd).any():
        return Learned(Basis.EARLIER, sample, None, 0.0, 0.0, len(nights))
    at = tally.tokens / tally.to_ask if tally.to_ask else float(rows.tokens.mean())
    line = project(rows.tokens, rows.usd, Rest(tally.to_ask, float(tally.to_ask), at), seed=seed)
    return Learned(Basis.EARLIER, sample, _as_nights_differ(line, nights), line.intercept, line.slope, len(nights))


def _night_ratios(rows: _Rows, usd: Numbers) -> list[float]:
    """For each run with enough rows: the logarithm of its cost over what the line of all expects of it."""
    slope, intercept = np.polyfit(rows.tokens, usd, 1) if np.ptp(rows.tokens) > 0 else (0.0, float(usd.mean()))
    found = []
    for run in dict.fromkeys(rows.runs):
        of_run = np.array([one == run for one in rows.runs])
        expected, actual = float((intercept + slope * rows.tokens[of_run]).sum()), float(usd[of_run].sum())
        if of_run.sum() >= NIGHT_ROWS_LEAST and expected > 0 and actual > 0:
            found.append(float(np.log(actual / expected)))
    return found


def _as_nights_differ(line: Line, nights: Sequence[float]) -> Interval:
    """The next night is one more draw of nights (Student's t on logarithms); of few nights nothing is known."""
    told = line.interval
    off, off_99 = GUESS_OFF, GUESS_OFF_99
    if len(nights) >= NIGHTS_LEAST:
        place = len(nights) - NIGHTS_LEAST
        spread = float(np.std(nights, ddof=1)) * np.sqrt(1 + 1 / len(nights))
        t, t_99 = (T_975[place], T_99[place]) if place < len(T_975) else (NORMAL_975, NORMAL_99)
        off, off_99 = min(off, float(np.exp(t * spread))), min(off_99, float(np.exp(t_99 * spread)))
    return Interval(told.estimate, told.low / off, told.high * off, told.bound_99 * off_99)
