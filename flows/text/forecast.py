"""Forecast: a forecast in words, for the screen and for Prefect's artifact."""

from __future__ import annotations

from rowmill.schemas.display_text import one_line
from rowmill.schemas.forecast import Basis, Forecast, Interval


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
        lines.append(f"cap: max_cost_usd would leave about {forecast.rows_beyond_cap:,} rows unasked")
    if forecast.pilot is not None:
        lines.append(_pilot(forecast))
    for other in forecast.compared:
        lines.append(f"on {other['model']}: " + (other.get("cannot") or
                     f"{usd(other['estimate_usd'])} for {other['rows']:,} rows ({other['because']})"))  # fmt: skip
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
        Basis.RANDOM: f"learned from {forecast.sample.rows if forecast.sample else 0:,} random rows",
        Basis.EARLIER: f"learned from {forecast.sample.rows if forecast.sample else 0:,} earlier rows",
        Basis.PRIOR: "a guess: nothing has been measured yet",
    }[forecast.basis]
    credits = f" ({cost.estimate * forecast.credits_per_usd:,.1f} credits)" if forecast.credits_per_usd else ""
    lines = [f"cost: {usd(cost.estimate)}{credits}, 95 % interval {usd(cost.low)} to {usd(cost.high)}; {basis}"]
    # Of rows that were not looked at nothing is certain.
    most = "cannot exceed" if forecast.drawn_rows is None else "all calls at their worst come to about"
    lines.append(f"  99 % sure to stay below {usd(cost.bound_99)}; {most} {usd(forecast.ceiling_usd or 0)}")
    if forecast.per_1000_rows_usd is not None:
        lines.append(
            f"  {usd(forecast.per_1000_rows_usd)} per 1,000 rows; {usd(forecast.spent_usd)} spent on this output so far"
        )
    return lines


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
        further = f"; within 5 % would take about {needed:,} rows, {usd(more)} more"
    return (
        f"pilot: {pilot['rows']:,} random rows for {usd(pilot['cost_usd'])}, kept as results{changed}\n"
        f"  it ended because {pilot['stopped']}{further}"
    )


def usd(amount: float) -> str:
    """Dollars and cents; below a dollar with two or three significant digits."""
    if not amount or abs(amount) >= 1:
        return f"${amount:,.2f}"
    return f"${amount:.3f}" if abs(amount) >= 0.1 else f"${amount:.2g}" if abs(amount) >= 1e-4 else f"${amount:.1e}"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h"
