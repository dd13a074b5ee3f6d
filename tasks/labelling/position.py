"""Position: whether a model favours the label that is shown first. Rows see the labels in orders that a hash draws, so
that without such a favour the label they choose stands in every place alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from rowmill.schemas.job import Job
from rowmill.schemas.label_quality import PositionEffect
from rowmill.tasks.labelling.gate import tail
from rowmill.tasks.labelling.review import Texts
from rowmill.tasks.labelling.scores import wilson
from rowmill.tasks.plan.label_prompt import AskedJob, shown_order

# Rows whose first vote is looked at: enough to see a favour of two or three points.
ROWS_MOST = 2_000
PLACES_SHOWN = 20


def position_effect(asked: Job, parts: Sequence[Path], texts: Texts) -> PositionEffect | None:
    """In which places the labels of first votes stood; None where all rows saw one order, or may have several."""
    label = asked.label
    if not isinstance(asked, AskedJob) or label is None or label.multi or asked.prompt is None:
        return None
    names = [[choice.name for choice in shown_order(label, 0, turn)] for turn in range(asked.turns)]
    places = [0] * len(names[0])
    for said, text in _first_votes(parts, texts, asked.model):
        order = names[asked.turn_of(text)]
        if said in order:
            places[order.index(said)] += 1
    rows, first, expected = sum(places), places[0], 1 / len(places)
    if not rows:
        return None
    low, high = wilson(first, rows)
    p = min(1.0, 2 * min(tail(first, rows, expected), tail(rows - first, rows, 1 - expected)))
    return PositionEffect(
        rows=rows,
        first=first,
        share=first / rows,
        low=low,
        high=high,
        expected=expected,
        p=p,
        places=places[:PLACES_SHOWN],
    )


def _first_votes(parts: Sequence[Path], texts: Texts, model: str) -> Iterator[tuple[str, str]]:
    """The label of first votes, and the text that the row asked."""
    left = ROWS_MOST
    for part in parts:
        if left <= 0:
            return
        text_of = texts(part)
        with pq.ParquetFile(part, pre_buffer=False) as file:
            for batch in file.iter_batches(min(left, 1_024), columns=["row_index", "votes"], use_threads=False):
                for row in batch.to_pylist():
                    vote = row["votes"][0] if row["votes"] else None
                    if left > 0 and vote is not None and vote["label"] is not None and vote["model"] == model:
                        left -= 1
                        yield vote["label"], text_of(row["row_index"])
                if left <= 0:
                    break
