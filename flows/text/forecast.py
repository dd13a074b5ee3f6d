"""Forecast text: a forecast as people read it."""

from __future__ import annotations

from rowmill.schemas.forecast import Basis, Forecast, Interval


def forecast_text(told: Forecast) -> str:
    """Rows, tokens, cost with how sure it is, time and what binds it, and what to know about all that."""
    rows = told.rows
    lines = [f"rows: {rows.total:,}; to ask {rows.to_ask:,}"]
    apart = [
        (rows.settled, "settled already (cost nothing)"), (rows.same_request, "the same as another (paid once)"),
        (rows.unreadable, "unreadable"), (rows.cannot_be_asked, "cannot be asked"),
    ]  # fmt: skip
    lines += [f"  {count:,} {what}" for count, what in apart if count]
    if rows.to_ask:
        lines.append(f"tokens: about {told.input_tokens:,.0f} in, {told.output_tokens:,.0f} out{_media(told)}")
        lines += _cost(told)
        lines.append(f"time: {_span(told.pace.seconds)} (bound by {told.pace.binds})" if told.pace.seconds is not None
                     else f"time: unknown, {told.pace.binds}")  # fmt: skip
    if told.rows_beyond_cap:
        lines.append(f"cap: max_cost_usd would leave about {told.rows_beyond_cap:,} rows undone")
    if told.pilot is not None:
        lines.append(_pilot(told))
    for other in told.compared:
        lines.append(f"on {other['model']}: " + (other.get("cannot") or
                     f"{usd(other['estimate_usd'])} for {other['rows']:,} rows ({other['because']})"))  # fmt: skip
    lines += [f"note: {note}" for note in told.notes]
    return "\n".join(lines)


def _media(told: Forecast) -> str:
    return f", {told.media:,} media among them" if told.media else ""


def _cost(told: Forecast) -> list[str]:
    cost = told.cost_usd
    if cost is None:
        return ["cost: unknown (no price)"]
    basis = {
        Basis.RANDOM: f"learned from {told.sample.rows if told.sample else 0:,} random rows",
        Basis.EARLIER: f"learned from {told.sample.rows if told.sample else 0:,} earlier rows",
        Basis.PRIOR: "a prior, nothing is measured yet",
    }[told.basis]
    credits = f" ({cost.estimate * told.credits_per_usd:,.1f} credits)" if told.credits_per_usd else ""
    lines = [f"cost: {usd(cost.estimate)}{credits}, 95 % between {usd(cost.low)} and {usd(cost.high)}; {basis}"]
    lines.append(
        f"  one time in a hundred more than {usd(cost.bound_99)}; never more than {usd(told.ceiling_usd or 0)}"
    )
    if told.per_1000_rows_usd is not None:
        lines.append(
            f"  {usd(told.per_1000_rows_usd)} for 1,000 rows; {usd(told.spent_usd)} spent on this output so far"
        )
    return lines


def _pilot(told: Forecast) -> str:
    pilot = told.pilot or {}
    before = Interval(**pilot["before"]) if pilot.get("before") else None
    changed = ""
    if before is not None and told.cost_usd is not None:
        whole = told.cost_usd.plus(pilot["cost_usd"])
        changed = f"; before it the whole was {usd(before.estimate)} ({usd(before.low)} to {usd(before.high)}), now " \
                  f"{usd(whole.estimate)} ({usd(whole.low)} to {usd(whole.high)})"  # fmt: skip
    return f"pilot: {pilot['rows']:,} random rows for {usd(pilot['cost_usd'])}, kept as results{changed}"


def usd(amount: float) -> str:
    """Dollars and cents; below a dollar three digits that mean something."""
    if not amount or abs(amount) >= 1:
        return f"${amount:,.2f}"
    return f"${amount:.3f}" if abs(amount) >= 0.1 else f"${amount:.2g}" if abs(amount) >= 1e-4 else f"${amount:.1e}"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h"
