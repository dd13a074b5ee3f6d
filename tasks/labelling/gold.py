"""Gold: one pass over the input that finds its right labels, the label set where a column holds it, and examples."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from rowmill.schemas.catalogue import Model
from rowmill.schemas.errors import InputError, JobError
from rowmill.schemas.job import Job
from rowmill.schemas.label import Choice, Example, Label, Labels
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row
from rowmill.tasks.input.files import InputFile, name_of
from rowmill.tasks.input.reader import judge, lines
from rowmill.tasks.plan.label_gold import GoldReader
from rowmill.tasks.plan.planner import Planner, shown_text

LABELS_MOST = 500
# Gold rows that are asked before all others, drawn by a hash of their position: more of them say nothing more.
FIRST_MOST = 2_000
# The same of one label whose recall the job asks for.
LABEL_MOST = 500
EXAMPLES_MOST = 200
# Wrong gold labels that one message names.
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Gold:
    """The job with its labels and examples known; how many rows have gold, and which of those are asked first."""

    job: Job
    rows: int = 0
    # Gold rows that are asked before all others, in order: a random sample, balanced by label in every part.
    sample: tuple[int, ...] = ()
    # The same for each label whose recall the job asks for.
    of_label: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    # Rows that people labelled and this input does not have.
    strange: tuple[str, ...] = ()
    is_empty: bool = False
    # Rows that people labelled and that have gold in the column too.
    in_column: frozenset[str] = frozenset()


@dataclass(slots=True)
class Draw:
    """A random sample of rows of a fixed size, by a hash of their position: the same whenever it is drawn."""

    most: int
    # A heap of the smallest hashes, negated, with the row and its labels.
    heap: list[tuple[int, int, Labels]] = field(default_factory=list)

    def meet(self, row: int, labels: Labels) -> None:
        order = -int.from_bytes(blake2b(row.to_bytes(8, "little"), digest_size=8).digest(), "little")
        if len(self.heap) < self.most:
            heapq.heappush(self.heap, (order, row, labels))
        else:
            heapq.heappushpop(self.heap, (order, row, labels))

    def in_order(self) -> tuple[int, ...]:
        """The rows so that the first of them, however many, have each label about as often as all do."""
        by_label: dict[Labels, list[tuple[int, int]]] = {}
        for order, row, labels in sorted(self.heap, reverse=True):
            by_label.setdefault(labels, []).append((-order, row))
        placed = [
            ((rank + 0.5) / len(rows), order, row)
            for rows in by_label.values()
            for rank, (order, row) in enumerate(rows)
        ]
        return tuple(row for _, _, row in sorted(placed))


@dataclass(slots=True)
class _Seen:
    """What the pass met. Bounded by the number of labels, never by that of rows."""

    names: dict[str, str] = field(default_factory=dict)
    gold: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    has_gold: bool = False
    columns: set[str] = field(default_factory=set)
    # Of each label the first rows that have it alone.
    rows_of: dict[Labels, list[Row]] = field(default_factory=dict)
    drawn: Draw = field(default_factory=lambda: Draw(FIRST_MOST))
    of_label: dict[str, Draw] = field(default_factory=dict)
    corrected: set[str] = field(default_factory=set)
    in_column: set[str] = field(default_factory=set)


def find_gold(
    job: Job,
    files: Sequence[InputFile],
    model: Model,
    *,
    before: Manifest,
    corrections: Mapping[str, Labels],
    limit: int | None = None,
) -> Gold:
    """The labels, gold and examples of a job's input. Reads it once, where there is something to find.

    `before` is the manifest of an earlier run into the same output: its examples are shown again, so that gold rows
    that were added since change no request. `corrections` are labels of people by row_id; they are gold too.

    Raises JobError, InputError: an empty or unknown column, a gold label outside the set, naming file and line.
    """
    label = job.label
    if label is None:
        return Gold(job)
    if label.column is None and label.gold is None and not corrections:
        return Gold(job)
    seen = _walk(job, files, label, corrections=corrections, limit=limit)
    told: dict[str, Any] = {}
    if label.column is not None:
        told |= {"labels": _labels_of_column(seen, label.column), "column": None}
    label = label.model_copy(update=told)
    _refuse_wrong_gold(seen, label)
    _refuse_wrong_examples(label)
    if isinstance(label.examples, int) and label.examples:
        chosen = _earlier_examples(before, label) or _choose(seen, job.model_copy(update={"label": label}), model)
        label = label.model_copy(update={"examples": chosen})
    return Gold(
        job.model_copy(update={"label": label}),
        seen.rows,
        seen.drawn.in_order(),
        {name: draw.in_order() for name, draw in seen.of_label.items()},
        strange=tuple(row for row in corrections if row not in seen.corrected),
        is_empty=not seen.columns,
        in_column=frozenset(seen.in_column),
    )


def rows_in(job: Job, files: Sequence[InputFile]) -> Iterator[Row]:
    """The rows that can be read, in order. Raises InputError."""
    index = 0
    for file in files:
        for line in lines(file, file.start, job.limits.max_line_bytes):
            row = judge(line, index, name_of(file), id_column=job.id)
            index += 1
            if isinstance(row, Row):
                yield row


def _walk(
    job: Job, files: Sequence[InputFile], label: Label, *, corrections: Mapping[str, Labels], limit: int | None
) -> _Seen:
    seen = _Seen()
    reader, names = GoldReader(label), GoldReader(label.model_copy(update={"multi": True}))
    for row in rows_in(job, files):
        seen.columns.update(row.columns)
        if label.column is not None:
            _meet(seen.names, row, label.column, reader=names)
        if row.row_id in corrections:
            seen.corrected.add(row.row_id)
        gold = None
        if label.gold is not None:
            gold = _meet(seen.gold, row, label.gold, reader=reader)
            seen.has_gold |= gold is not None
            if gold is not None and row.row_id in corrections:
                seen.in_column.add(row.row_id)
        if gold is not None and isinstance(label.examples, int) and label.examples:
            held = seen.rows_of.setdefault(gold, [])
            if len(held) < label.examples and len(seen.rows_of) <= EXAMPLES_MOST:
                held.append(row)
        labels = corrections.get(row.row_id, gold)
        if labels is not None and (limit is None or row.index < limit):
            seen.rows += 1
            # Beside a gold column, rows that people chose to label are no sample.
            if gold is not None or label.gold is None:
                _draw(seen, row.index, labels, label=label)
    return seen


def _meet(found: dict[str, str], row: Row, column: str, *, reader: GoldReader) -> Labels | None:
    """The labels of a row's column, each noted with the place where it was met first."""
    where = f"{row.place}, column {column!r}"
    try:
        labels = reader.labels(row.columns.get(column))
    except ValueError as error:
        raise InputError(str(error), where=where, hint="correct the row, or name another column") from None
    for name in labels or ():
        if name not in found:
            found[name] = where
            if len(found) > LABELS_MOST:
                raise InputError(
                    f"more than {LABELS_MOST} different values: these are no labels",
                    where=where,
                    hint="name a column that holds few values, again and again",
                )
    return labels


def _draw(seen: _Seen, row: int, labels: Labels, *, label: Label) -> None:
    seen.drawn.meet(row, labels)
    for name in label.min_recall:
        if name in labels:
            seen.of_label.setdefault(name, Draw(LABEL_MOST)).meet(row, labels)


def _labels_of_column(seen: _Seen, column: str) -> list[Choice]:
    _refuse_unknown(seen, column, "label.column")
    if len(seen.names) < 2:
        raise JobError(
            f"the column {column!r} holds {len(seen.names)} different labels; at least two are needed",
            where="label.column",
            hint="name the column that holds the labels, or list them under label.labels",
        )
    return [Choice(name=name) for name in sorted(seen.names)]  # type: ignore[call-arg]


def _refuse_wrong_gold(seen: _Seen, label: Label) -> None:
    if label.gold is None or not seen.columns:
        return
    _refuse_unknown(seen, label.gold, "label.gold")
    if not seen.has_gold:
        raise JobError(
            f"the gold column {label.gold!r} is empty in every row",
            where="label.gold",
            hint="name the column that holds the right labels, or leave gold out",
        )
    wrong = [(name, seen.gold[name]) for name in label.outside(seen.gold)]
    if wrong:
        others = "".join(f"; {name!r} ({where})" for name, where in wrong[1:SHOWN])
        more = f"; and {len(wrong) - SHOWN:,} more" if len(wrong) > SHOWN else ""
        raise InputError(
            f"the gold label {wrong[0][0]!r} is not among the labels ({', '.join(label.names[:20])}){others}{more}",
            where=wrong[0][1],
            hint="correct the rows, or add the labels under label.labels",
        )


def _refuse_wrong_examples(label: Label) -> None:
    """Examples of a job whose labels were in a column are known to be right only now."""
    for example in label.examples if not isinstance(label.examples, int) else ():
        if wrong := label.outside(example.labels):
            raise JobError(
                f"an example has the label {wrong[0]!r}, which is not in the column",
                where="label.examples",
                hint=f"the labels are: {', '.join(label.names[:20])}",
            )


def _refuse_unknown(seen: _Seen, column: str, key: str) -> None:
    if column not in seen.columns:
        raise JobError(
            f"no row has the column {column!r}",
            where=key,
            hint=f"the rows have: {', '.join(sorted(seen.columns)[:30]) or 'nothing, the input is empty'}",
        )


def _earlier_examples(before: Manifest, label: Label) -> list[Example] | None:
    """The examples of an earlier run, where as many were asked for and their labels still stand."""
    told = (before.job.get("label") or {}).get("examples")
    if not isinstance(told, list) or len(told) != label.examples:
        return None
    examples = [Example.model_validate(one) for one in told]
    return None if any(label.outside(one.labels) for one in examples) else examples


def _choose(seen: _Seen, job: Job, model: Model) -> list[Example]:
    """The first gold rows of each label in turn, so that every label is shown before one is shown twice."""
    label = job.label
    assert label is not None
    assert isinstance(label.examples, int)
    planner = Planner(job, model, sandbox=False)
    order = {name: at for at, name in enumerate(label.names)}
    groups = sorted(seen.rows_of.items(), key=lambda one: (len(one[0]), [order[name] for name in one[0]]))
    turns = [(rows[turn], labels) for turn in range(label.examples) for labels, rows in groups if turn < len(rows)]
    chosen: list[Example] = []
    for row, labels in turns:
        planned = planner.plan(row)
        if isinstance(planned, Request) and len(chosen) < label.examples:
            told = list(labels) if label.multi else labels[0]
            chosen.append(Example(text=shown_text(planned, model), label=told, row_id=row.row_id))
    return chosen
