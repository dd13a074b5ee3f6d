"""History: runs over time in words, for the terminal and for the report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rowmill.schemas.display_text import Table, counted, one_line
from rowmill.schemas.history import CORRECT, FILLED, LABEL, STATUS, SUPPORTED, UNANIMOUS, VALUE, RunRecord
from rowmill.schemas.outcome import Status
from rowmill.schemas.price import parse_amount, short_usd
from rowmill.tasks.report.movement import Compared
from rowmill.tasks.report.run_history import Night, method

SHARES_SHOWN = 40
NAME_CHARS = 60
# In the order in which people look at them.
KINDS = {
    STATUS: "rows", FILLED: "filled", LABEL: "label", VALUE: "value", SUPPORTED: "with support",
    UNANIMOUS: "votes agree", CORRECT: "right",
}  # fmt: skip


def history_text(nights: Sequence[Night], *, last: int) -> str:
    """The runs as a table, what moved in them, and how the latest run of each job stands beside those before it."""
    shown = nights[-last:]
    several = len({night.output for night in nights}) > 1
    lines = _aligned(*_runs(shown, with_output=several))
    if len(shown) < len(nights):
        lines.append(f"and {counted(len(nights) - len(shown), 'run')} before these (--last {len(nights)})")
    for night in shown:
        for one in night.moved:
            lines.append(f"{_when(night.record)}  {moved_text(one)}")
    for job, night in _latest(nights).items():
        if night.shares:
            named = f" of {job}" if len(_latest(nights)) > 1 else ""
            lines += ["", f"The latest run{named} ({_when(night.record)}) beside {_runs_before(night)}:"]
            lines += _aligned(*shares_table(night)[1:])
            if len(night.shares) > SHARES_SHOWN:
                lines.append(f"and {len(night.shares) - SHARES_SHOWN:,} more (--json has all)")
    if any(night.shares for night in nights):
        lines += ["", method(shown)]
    return "\n".join(map(one_line, lines))


def _latest(nights: Sequence[Night]) -> dict[str, Night]:
    """The last run of each job that can be compared."""
    return {night.record.name: night for night in nights if night.shares}


def history_tables(nights: Sequence[Night], *, last: int) -> list[Table]:
    """The same for the report."""
    tables = [("Runs", *_runs(nights[-last:], with_output=False))]
    tables += [shares_table(latest) for latest in _latest(nights).values()]
    return tables


def _runs(nights: Sequence[Night], *, with_output: bool) -> tuple[list[str], list[list[str]]]:
    head = ["started (UTC)", *(["output"] if with_output else []), "end", "rows", "ok", "not ok", "calls", "cost",
            "per 1,000 rows", "moved"]  # fmt: skip
    return head, [_run(night, with_output=with_output) for night in nights]


def _run(night: Night, *, with_output: bool) -> list[str]:
    record, rows, by_status = night.record, night.record.rows, night.record.by_status
    not_ok = ", ".join(f"{count:,} {name}" for name, count in by_status.items() if count and name != Status.OK)
    cost = None if record.cost_usd is None else parse_amount(record.cost_usd)
    bound = parse_amount(record.unknown_usd)
    return [
        _when(record),
        *([night.output] if with_output else []),
        _end(night),
        "–" if rows is None else f"{rows:,}",
        f"{by_status.get(Status.OK, 0) / rows:.1%}" if rows else "–",
        not_ok or "–",
        "–" if record.calls is None else f"{record.calls:,}",
        "unknown" if cost is None else short_usd(cost) + (f" (+ at most {short_usd(bound)})" if bound else ""),
        short_usd(cost * 1_000 // rows) if rows and cost else "–",
        _moved(night),
    ]


def _end(night: Night) -> str:
    record = night.record
    notes = [
        *([record.drawn] if record.drawn else []),
        *(["sandbox"] if record.sandbox else []),
        *([f"job changed: {', '.join(night.changed)}"] if night.changed else []),
    ]
    return record.kind.replace("_", " ") + (f" ({'; '.join(notes)})" if notes else "")


def _moved(night: Night) -> str:
    if not night.shares:
        return "–"
    names = [f"{_name(one)} {one.difference * 100:+.1f}" for one in night.moved[:3]]
    more = len(night.moved) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "") if names else "nothing"


def moved_text(one: Compared) -> str:
    """One share that moved, in a line."""
    return (
        f"{_name(one)}: {one.before:.1%} before, {one.rate:.1%} now ({one.difference * 100:+.1f} points, 95 % interval "
        f"{one.low * 100:+.1f} to {one.high * 100:+.1f})"
    )


def shares_table(night: Night) -> Table:
    """The shares of a run beside those of the runs before it."""
    order = list(KINDS)
    first = sorted(night.shares, key=lambda one: (not one.moved, order.index(one.kind), one.name))
    shown = [one for one in first if one.moved or one.count or one.before_count][:SHARES_SHOWN]
    rows = [
        [
            _name(one), f"{one.rate:.1%}", f"{one.count:,} of {one.of:,}", f"{one.before:.1%}",
            f"{one.difference * 100:+.1f}", f"{one.low * 100:+.1f} to {one.high * 100:+.1f}",
            "moved" if one.moved else "–",
        ]
        for one in shown
    ]  # fmt: skip
    head = ["share of rows", "now", "", "before", "points", "95 % interval", "beyond chance"]
    return f"The run of {_when(night.record)} beside {_runs_before(night)}", head, rows


def history_note(nights: Sequence[Night]) -> str:
    """What the marks mean."""
    return method(nights) if _latest(nights) else ""


def _runs_before(night: Night) -> str:
    return "the run before it" if night.before == 1 else f"the {night.before} runs before it"


def _name(one: Compared) -> str:
    name = one.name if len(one.name) <= NAME_CHARS else one.name[: NAME_CHARS - 1] + "…"
    return f"{KINDS[one.kind]}: {name}"


def _when(record: RunRecord) -> str:
    return datetime.fromisoformat(record.started_at).strftime("%Y-%m-%d %H:%M")


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of plain text."""
    cells = [list(map(one_line, row)) for row in (head, *rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
