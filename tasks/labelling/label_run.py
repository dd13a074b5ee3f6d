"""Label run: what a session does beside settling rows when its job labels: gold, the gate, review, the scores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from rowmill.schemas.catalogue import Model
from rowmill.schemas.display_text import counted
from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job
from rowmill.schemas.label import Label
from rowmill.schemas.label_quality import LabelQuality, VoteWeights
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row, Shard, Unreadable
from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.labelling.audit import estimate
from rowmill.tasks.labelling.basis import Basis
from rowmill.tasks.labelling.corrections import apply_corrections
from rowmill.tasks.labelling.gate import Judged, Pair, Verdict, judge, least_rows, look_sizes
from rowmill.tasks.labelling.gold import Gold, find_gold
from rowmill.tasks.labelling.judgements import (
    REVIEW,
    Corrections,
    Judgements,
    digest_of,
    keep_judgements,
    kept_judgements,
    log_what_was_found,
    read_judgements,
)
from rowmill.tasks.labelling.review import GOLD, Texts, write_review
from rowmill.tasks.output.label_columns import labels_of
from rowmill.tasks.output.layout import number_of
from rowmill.tasks.output.manifest_file import read_manifest
from rowmill.tasks.output.results_frame import result_parts
from rowmill.tasks.plan.begun_labels import in_begun_order
from rowmill.tasks.plan.label_prompt import as_asked
from rowmill.tasks.plan.planner import Planner, shown_text

log = logging.getLogger("rowmill")
STRANGE_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Look:
    """Gold rows that are scored at one look: a sample of all, and those of single labels."""

    sample: frozenset[int]
    of_label: Mapping[str, frozenset[int]]

    @property
    def rows(self) -> frozenset[int]:
        return self.sample.union(*self.of_label.values())


@dataclass(frozen=True, slots=True)
class LabelRun:
    """Gold and corrections of one run. `is_new` where a person's label came in since the last run."""

    gold: Gold
    people: Judgements
    is_new: bool
    # Whether the output's votes were weighed before.
    was_weighed: bool = False

    @property
    def corrections(self) -> Corrections:
        """What people decided, by row."""
        return self.people.labels

    @property
    def basis(self) -> Basis:
        """Whose gold rows have: the gold column's rows stay what they were, whoever corrected them."""
        return Basis(frozenset(self.corrections) - self.gold.in_column, self.label.review.audit)

    @property
    def job(self) -> Job:
        return self.gold.job

    @property
    def label(self) -> Label:
        assert self.job.label is not None
        return self.job.label

    @property
    def looks(self) -> list[frozenset[int]]:
        """Rows to ask and to score at each look, in any order."""
        return [look.rows for look in self.drawn_looks]

    def judge(self, results: Path, look: int) -> tuple[Judged, Termination | None]:
        """What a look's rows show, and why the run ends here if it does. Raises StorageError."""
        return judge_gold(self, results, look)

    @property
    def drawn_looks(self) -> list[Look]:
        """Gold rows to ask and to score before any other is paid for, more at each look; none without a gate."""
        if not self.label.has_gate or self.gold.is_empty:
            return []
        gold = self.gold
        longest = max(map(len, [gold.sample, *gold.of_label.values()]), default=0)
        return [
            Look(frozenset(gold.sample[:size]), {name: frozenset(rows[:size]) for name, rows in gold.of_label.items()})
            for size in look_sizes(longest)
        ]


def label_run(
    job: Job,
    files: Sequence[InputFile],
    model: Model,
    *,
    gold_file: str | None,
    fresh: bool,
    limit: int | None = None,
    gold_by: str | None = None,
) -> LabelRun | None:
    """The labelling side of a run; None for a job that labels nothing. Reads, writes nothing.

    `limit` is the number of rows that the run will take, `gold_by` the annotator who decides where people disagree.

    Raises JobError, InputError for labels, gold or corrections that cannot be right.
    """
    if job.label is None:
        if gold_file is not None:
            raise JobError("only a labelling job takes gold labels", where="--gold", hint="add `label` to the job")
        return None
    root = Path(job.output)
    before = Manifest() if fresh else read_manifest(root) or Manifest()
    job = in_begun_order(job, before)
    assert job.label is not None
    people = kept_judgements(root, job.label)
    if gold_file is not None:
        handed_in = read_judgements(Path(gold_file), job.label, job.id, gold_by=gold_by)
        log_what_was_found(handed_in, Path(gold_file))
        people |= handed_in
    gold = find_gold(job, files, model, before=before, corrections=people.labels, limit=limit)
    if gold.strange:
        shown = ", ".join(gold.strange[:STRANGE_SHOWN]) + (" ..." if len(gold.strange) > STRANGE_SHOWN else "")
        log.warning("%s that people labelled not in this input: %s", counted(len(gold.strange), "row"), shown)
    if job.label.has_gate and not gold.is_empty:
        _look_at_gate(gold, limit)
    known = (before.label or LabelQuality()).corrections_digest or digest_of(Judgements())
    was_weighed = before.label is not None and before.label.weighing is not UNSET
    return LabelRun(gold, people, digest_of(people) != known, was_weighed)


def _look_at_gate(gold: Gold, limit: int | None) -> None:
    """Raises JobError for a gate without gold rows; says where there are too few, were all of them labelled right."""
    label = gold.job.label
    assert label is not None
    among = f" among the first {limit:,}" if limit is not None else ""
    key = "min_accuracy" if label.min_accuracy is not None else "min_recall" if label.min_recall else "min_kappa"
    if not gold.sample:
        raise JobError(
            f"{key} needs rows with gold labels, and there is none{among}",
            where=f"label.{key}",
            hint="name the gold column under label.gold, or hand labels in with --gold FILE",
        )
    looks = len(look_sizes(max(map(len, [gold.sample, *gold.of_label.values()]))))
    asked = [("min_accuracy", "gold rows", len(gold.sample), label.min_accuracy or 0.0)]
    asked += [
        ("min_recall", f"gold rows of {name!r}", len(gold.of_label.get(name, ())), wanted)
        for name, wanted in label.min_recall.items()
    ]
    for key, what, rows, wanted in asked:
        if rows < (least := least_rows(wanted, looks)):
            log.warning(
                "label.%s: %d %s%s cannot show %.1f%%, were all of them right (that takes %d): the run will stop after "
                "them. Add gold rows, or ask for less",
                key, rows, what, among, 100 * wanted, least,
            )  # fmt: skip


def keep(run: LabelRun, root: Path) -> None:
    """Write people's labels down beside the results, before anything else is done."""
    if run.people.labels or run.people.opinions:
        keep_judgements(root, run.people)


def judge_gold(run: LabelRun, results: Path, look: int) -> tuple[Judged, Termination | None]:
    """Whether the gold rows of a look show labels good enough to pay for the rest; if not, why the run ends here.

    Raises StorageError.
    """
    looks = run.drawn_looks
    sample: list[Pair] = []
    of_label: dict[str, list[Pair]] = {name: [] for name in looks[look].of_label}
    rows = pa.array(sorted(looks[look].rows), pa.int64())
    for part in result_parts(results):
        table = pq.read_table(part, columns=["row_index", "gold", "voted_label", "correct"])
        scored = table.filter(pc.and_(pc.is_in(table["row_index"], rows), pc.is_valid(table["correct"])))
        for row in scored.to_pylist():
            pair = (labels_of(row["gold"]) or (), labels_of(row["voted_label"]))
            if row["row_index"] in looks[look].sample:
                sample.append(pair)
            for name, of_this in looks[look].of_label.items():
                if row["row_index"] in of_this:
                    of_label[name].append(pair)
    judged = judge(run.label, sample, of_label, look=look, looks=len(looks))
    log.info("gold, look %d of %d: %s", look + 1, len(looks), judged.words)
    if judged.verdict is Verdict.PASS or (judged.verdict is Verdict.UNDECIDED and look < len(looks) - 1):
        return judged, None
    return judged, Termination(
        TerminationKind.ACCURACY,
        None,
        f"{judged.words}, so the rest was not asked",
        "Improve the guidelines, correct or add gold labels (a changed job needs another output or --fresh), "
        "or ask for less",
    )


def correct(run: LabelRun, results: Path) -> list[Path]:
    """Give the rows of all parts what people said. Returns the parts that changed. Raises StorageError."""
    if not run.corrections:
        return []
    return [part for part in result_parts(results) if apply_corrections(part, run.corrections)]


def weigh(run: LabelRun, results: Path) -> tuple[list[Path], VoteWeights | None]:
    """Label the rows of all parts by what votes count, where the job weighs them, or did before.

    Returns the parts that changed, and what is told of it. Raises StorageError.
    """
    if not run.label.is_weighed and not run.was_weighed:
        return [], None
    from rowmill.tasks.labelling.relabelling import relabel

    return relabel(run.job, result_parts(results), run.basis, corrections=run.corrections)


def conclude(run: LabelRun, results: Path, texts: Texts, *, weights: VoteWeights | None = None) -> LabelQuality:
    """After a run's last call: review.jsonl, and what run.json tells under `label`. Raises StorageError."""
    from rowmill.tasks.labelling.people import agreement_of_people
    from rowmill.tasks.labelling.position import position_effect
    from rowmill.tasks.labelling.probability_scores import probability_scores
    from rowmill.tasks.labelling.quality import label_quality

    reviewed = write_review(results.parent / REVIEW, run.label, result_parts(results), texts=texts, people=run.people)
    weighing: VoteWeights | UnsetType = UNSET
    if weights is not None:
        weighing = replace(weights, probability=probability_scores(results, run.basis) if weights.by else None)
    return replace(
        label_quality(results, run.label, run.basis),
        weighing=weighing,
        corrections=len(run.corrections),
        corrections_digest=digest_of(run.people),
        people=agreement_of_people(run.people),
        review=reviewed.written,
        review_left_out=reviewed.left_out,
        review_kinds=dict(reviewed.kinds),
        suspected_gold_errors=reviewed.kinds[GOLD],
        position=position_effect(as_asked(run.job), result_parts(results), texts),
        audit=estimate(reviewed.doubtful, reviewed.other),
    )


def texts_of(
    job: Job, model: Model, shards: Mapping[int, Shard], *, rows_of: Callable[[Shard], Iterable[Row | Unreadable]]
) -> Texts:
    """Finds what the model was shown of a part's rows, as it was before the labels were put around it.

    A shard is read once, as far as its last row that is asked for.
    """
    planner = Planner(job, model, sandbox=False)

    def texts(part: Path) -> Callable[[int], str]:
        shard = shards.get(number_of(part))
        rows = iter(rows_of(shard) if shard is not None else ())

        def text_of(index: int) -> str:
            row = next((row for row in rows if row.index == index), None)
            planned = planner.plan(row) if isinstance(row, Row) else None
            return shown_text(planned, model) if isinstance(planned, Request) else ""

        return text_of

    return texts
