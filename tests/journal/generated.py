"""Generated entries of a journal: heads, spendings, outcomes."""

from __future__ import annotations

from hypothesis import strategies as st

from rowmill.schemas.attempt import Spent, ToolCall
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import Cost
from rowmill.schemas.row import Cursor, Shard
from rowmill.schemas.usage import Usage
from rowmill.tasks.journal.entries import VERSION, Head

HEAD = Head(VERSION, "job", Shard(0, 0, 100, Cursor("rows.jsonl", 0, 0), "digest"))
counts = st.integers(0, 2**40)
text = st.none() | st.text(st.characters(codec="utf-8"), max_size=40)
spents = st.builds(
    Spent,
    attempts=st.integers(0, 9),
    usage=st.builds(Usage, counts, counts, counts),
    cost=st.none() | st.builds(Cost, counts, counts),
    unknown=st.booleans(),
    unknown_usd=counts,
)
outcomes = st.builds(
    Outcome,
    row_id=st.text(st.characters(codec="utf-8"), max_size=20),
    row_index=st.integers(0, 99),
    status=st.sampled_from(Status),
    output_text=text,
    response_text=text,
    spent=spents,
    wasted_usd=st.none() | counts,
    started_at=st.none() | counts,
    tool_calls=st.lists(st.builds(ToolCall, st.just("f"), st.just("{}"), text), max_size=2).map(tuple),
    failures=st.dictionaries(st.sampled_from(["cut", "timeout"]), st.integers(1, 9)),
)
