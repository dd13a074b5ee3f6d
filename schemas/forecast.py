"""Forecast: what a batch will cost, how sure that is, how right it was, and that in words."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from rowmill.schemas.display_text import counted, one_line
from rowmill.schemas.price import usd

FORECAST_VERSION = 1
# What an automatic pilot may cost at the most, as a share of the whole bill, unless its user says otherwise.
PILOT_SHARE = 0.05
# What binds a ceiling that no cap of the job's lies below.
EVERY_CALL = "every call at its worst"


class Basis(StrEnum):
    """What a forecast rests on, the surest first."""

    RANDOM = "random sample"
    EARLIER = "earlier results"
    PRIOR = "prior"


class Interval(msgspec.Struct, frozen=True):
    """An amount with its 95 % interval and the bound that it passes once in a hundred times."""

    estimate: float
    low: float
    high: float
    bound_99: float

    def plus(self, known: float) -> Interval:
        """The same with an amount added that is known already."""
        return Interval(self.estimate + known, self.low + known, self.high + known, self.bound_99 + known)

    def times(self, factor: float) -> Interval:
        return Interval(self.estimate * factor, self.low * factor, self.high * factor, self.bound_99 * factor)


class RowCounts(msgspec.Struct, frozen=True):
    """Rows of the input by what they will cost: only those `to_ask` cost anything more."""

    total: int
    unreadable: int
    cannot_be_asked: int
    same_request: int
    settled: int
    to_ask: int


class Sample(msgspec.Struct, frozen=True):
    """The rows whose cost is known and that the forecast was learned from."""

    rows: int
    input_ratio: float
    mean_output_tokens: float
    mean_latency_s: float | None
    calls_a_row: float


class Pace(msgspec.Struct, frozen=True):
    """Seconds the batch will take at the job's limits, and which of them binds."""

    seconds: float | None
    binds: str


class MediaTokens(msgspec.Struct, frozen=True):
    """Tokens that media are expected to count for, from where to where they may; `unmeasured` media do not tell how
    large they are.
    """

    estimate: float
    low: float
    high: float
    unmeasured: int


class Forecast(msgspec.Struct, frozen=True):
    """What `estimate.json` holds. Money is in USD, of the rows to ask unless it says otherwise.

    `intercept_usd` + `usd_per_token` x estimated input tokens is the expected cost of one row. `settled_input_tokens`
    is what the rows that were settled already had been billed for as input. `ceiling_usd` is the least of what every
    call may cost at its worst and what the job's caps leave; `ceiling_binds` says which: EVERY_CALL or a key of the
    job. `cost_usd` is that of all rows, whatever the caps. `drawn_rows` are the rows that were looked
    at for all of a large input; null where every row was. `media_tokens` are among the input tokens; null where there
    are no media.
    """

    job: str
    model: str
    made_at: str
    basis: Basis
    rows: RowCounts
    input_tokens: float
    output_tokens: float
    media: int
    sample: Sample | None
    cost_usd: Interval | None
    credits_per_usd: float | None
    ceiling_usd: float | None
    spent_usd: float
    per_1000_rows_usd: float | None
    pace: Pace
    rows_beyond_cap: int | None
    intercept_usd: float
    usd_per_token: float
    notes: list[str]
    compared: list[dict[str, Any]] = []
    pilot: dict[str, Any] | None = None
    settled_input_tokens: float = 0.0
    version: int = FORECAST_VERSION
    drawn_rows: int | None = None
    media_tokens: MediaTokens | None = None
    ceiling_binds: str = EVERY_CALL

    @property
    def is_capped(self) -> bool:
        """Whether a cap of the job's holds the cost below what every call may come to."""
        return self.ceiling_binds != EVERY_CALL

    def __str__(self) -> str:
        """Rows, tokens, cost with its interval, time and what limits it, and notes."""
        return _text(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What a notebook shows."""
        printer.text(str(self))


class DecileCost(msgspec.Struct, frozen=True, kw_only=True):
    """A tenth of the rows that were asked: billed input tokens a row, and what the forecast's line expected of them."""

    rows: int = 0
    mean_input_tokens: float = 0.0
    expected_usd: float = 0.0
    actual_usd: float = 0.0


class ForecastAccuracy(msgspec.Struct, frozen=True, kw_only=True):
    """What `run.json` tells under `forecast`: the forecast of the rows that remained, and what they really cost.

    `off_by` is the share by which they cost more (None of a forecast of nothing), `within` whether the cost lies in the
    95 % interval. Deciles are of all rows that were asked, the shortest input first.
    """

    made_at: str = ""
    basis: str = ""
    rows: int = 0
    estimate_usd: float = 0.0
    low_usd: float = 0.0
    high_usd: float = 0.0
    bound_99_usd: float = 0.0
    actual_usd: float = 0.0
    off_by: float | None = None
    within: bool = False
    deciles: list[DecileCost] = msgspec.field(default_factory=list)


def _text(forecast: Forecast) -> str:
    rows = forecast.rows
    lines = [f"rows: {rows.total:,}; to ask {rows.to_ask:,}"]
    not_asked = [
        (rows.settled, "settled already (free)"), (rows.same_request, "identical to another row (paid once)"),
        (rows.unreadable, "unreadable"), (rows.cannot_be_asked, "cannot be asked"),
    ]  # fmt: skip
    lines += [f"  {count:,} {what}" for count, what in not_asked if count]
    if rows.to_ask:
        lines.append(
            f"tokens: about {forecast.input_tokens:,.0f} in, {forecast.output_tokens:,.0f} out{_media(forecast)}"
        )
        lines += _cost(forecast)
        pace = forecast.pace
        lines.append(f"time: {_span(pace.seconds)} (limited by {pace.binds})" if pace.seconds is not None
                     else f"time: unknown, {pace.binds}")  # fmt: skip
    if forecast.rows_beyond_cap:
        lines.append(
            f"cap: {forecast.ceiling_binds} would leave about {counted(forecast.rows_beyond_cap, 'row')} unasked"
        )
    if forecast.pilot is not None:
        lines.append(_pilot(forecast))
    for other in forecast.compared:
        cost = other.get("cannot") or (
            f"{usd(other['estimate_usd'])} for {counted(other['rows'], 'row')} ({other['because']})"
        )
        lines.append(f"on {other['model']}: {cost}")
    lines += [f"note: {note}" for note in forecast.notes]
    return "\n".join(one_line(line) for told in lines for line in told.split("\n"))


def _media(forecast: Forecast) -> str:
    told = forecast.media_tokens
    return f", {told.estimate:,.0f} of those in for {forecast.media:,} media" if told is not None else ""


def _cost(forecast: Forecast) -> list[str]:
    cost = forecast.cost_usd
    if cost is None:
        return ["cost: unknown (no price)"]
    basis = {
        Basis.RANDOM: f"learned from {counted(forecast.sample.rows if forecast.sample else 0, 'random row')}",
        Basis.EARLIER: f"learned from {counted(forecast.sample.rows if forecast.sample else 0, 'earlier row')}",
        Basis.PRIOR: "a guess: nothing has been measured yet",
    }[forecast.basis]
    credits = f" ({cost.estimate * forecast.credits_per_usd:,.1f} credits)" if forecast.credits_per_usd else ""
    lines = [f"cost: {usd(cost.estimate)}{credits}, 95 % interval {usd(cost.low)} to {usd(cost.high)}; {basis}"]
    lines.append(f"  99 % sure to stay below {usd(cost.bound_99)}; {_most(forecast)}")
    if forecast.per_1000_rows_usd is not None:
        lines.append(
            f"  {usd(forecast.per_1000_rows_usd)} per 1,000 rows; {usd(forecast.spent_usd)} spent on this output so far"
        )
    return lines


def _most(forecast: Forecast) -> str:
    """What the cost cannot exceed, and what says so."""
    most = usd(forecast.ceiling_usd or 0)
    if forecast.is_capped:
        return f"cannot exceed {most} (what {forecast.ceiling_binds} leaves)"
    # Of rows that were not looked at nothing is certain.
    told = "cannot exceed" if forecast.drawn_rows is None else "comes to about"
    return f"{told} {most} ({forecast.ceiling_binds})"


def _pilot(forecast: Forecast) -> str:
    pilot = forecast.pilot or {}
    before = Interval(**pilot["before"]) if pilot.get("before") else None
    changed = ""
    if before is not None and forecast.cost_usd is not None:
        whole = forecast.cost_usd.plus(pilot["cost_usd"])
        changed = f"; total before it {usd(before.estimate)} ({usd(before.low)} to {usd(before.high)}), now " \
                  f"{usd(whole.estimate)} ({usd(whole.low)} to {usd(whole.high)})"  # fmt: skip
    needed, more = pilot.get("rows_for_5_percent"), pilot.get("usd_for_5_percent")
    further = ""
    if needed is not None and more:
        further = f"; within 5 % would take about {counted(needed, 'row')}, {usd(more)} more"
    return (
        f"pilot: {counted(pilot['rows'], 'random row')} for {usd(pilot['cost_usd'])}, kept as results{changed}\n"
        f"  it ended because {pilot['stopped']}{further}"
    )


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h"
