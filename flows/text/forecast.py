"""Forecast: a forecast in words, for the screen and for Prefect's artifact."""

from __future__ import annotations

from rowmill.schemas.display_text import counted, one_line
from rowmill.schemas.forecast import Basis, Forecast, Interval
from rowmill.schemas.price import usd


def forecast_text(forecast: Forecast) -> str:
    """Rows, tokens, cost with its interval, time and what limits it, and notes."""
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
