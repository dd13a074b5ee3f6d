"""Label quality: what `run.json` tells under `label`. A key that an older version did not write has its default."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

from rowmill.schemas.accuracy import Accuracy, Retrieval

Interval = tuple[float, float]


class VoteAgreement(Struct, frozen=True, kw_only=True):
    """How far votes on one row agree: the mean share, and beyond chance among the first `votes_compared` of a row."""

    mean: float | None = None
    votes_compared: int | None = None
    krippendorff_alpha: float | None = None
    fleiss_kappa: float | None = None


class LabelScores(Retrieval, frozen=True, kw_only=True):
    """One label against all others."""

    label: str = ""
    gold_rows: int = 0
    labelled_rows: int = 0


class LabelIntervals(Struct, frozen=True, kw_only=True):
    """95 % intervals of one label's precision and recall; None where it was never said, or is never gold."""

    label: str = ""
    precision: Interval | None = None
    recall: Interval | None = None


class Confusion(Struct, frozen=True, kw_only=True):
    """Rows of one gold label that got one label (None: no label). Several labels are parted by a line feed."""

    gold: str = ""
    label: str | None = None
    rows: int = 0


class Calibration(Struct, frozen=True, kw_only=True):
    """How many rows whose votes agree so far are right."""

    agreement: float = 0.0
    rows: int = 0
    right: int = 0
    accuracy: float = 0.0


class GoldScores(Accuracy, frozen=True, kw_only=True):
    """What the votes said against gold. `basis` is whose gold it is: `gold_column`, `audit` or `chosen_by_people`.

    `jaccard` and `micro_f1` only of rows that may have several labels, `at_parent` only of labels with a hierarchy.
    """

    basis: str = "gold_column"
    cohen_kappa: float | None = None
    macro_f1: float | None = None
    jaccard: float | UnsetType | None = UNSET
    micro_f1: float | UnsetType | None = UNSET
    at_parent: Accuracy | UnsetType = UNSET
    labels: list[LabelScores] = field(default_factory=list)
    intervals: list[LabelIntervals] = field(default_factory=list)
    confusion: list[Confusion] = field(default_factory=list)
    calibration: list[Calibration] = field(default_factory=list)


class CascadeCost(Struct, frozen=True, kw_only=True):
    """USD paid to the job's model, and to the stronger one."""

    first: float = 0.0
    stronger: float = 0.0


class Escalation(Struct, frozen=True, kw_only=True):
    """What the stronger model was asked and changed, and what asking it about every row would have cost (USD).

    `changed` and the gold rows are among the `weighed` of its rows, which are all unless these are very many.
    """

    model: str = ""
    rows: int = 0
    weighed: int = 0
    changed: int = 0
    gold_rows: int = 0
    right_before: int = 0
    right_after: int = 0
    cost_usd: CascadeCost = CascadeCost()
    stronger_alone_usd: float | None = None
    saved_usd: float | None = None


class AnnotatorAgreement(Struct, frozen=True, kw_only=True):
    """Agreement over the rows that several people labelled.

    `pairs_agree` is the share of the pairs of people on a row who say the same, `krippendorff_alpha` beyond chance.
    """

    annotators: int = 0
    rows: int = 0
    conflicts: int = 0
    pairs_agree: float = 0.0
    krippendorff_alpha: float | None = None


class PositionEffect(Struct, frozen=True, kw_only=True):
    """In which places the labels of first votes stood.

    `first` is how many chose the label that stood first, `p` the two-sided chance of one so far from `expected`.
    """

    rows: int = 0
    first: int = 0
    share: float = 0.0
    low: float = 0.0
    high: float = 1.0
    expected: float = 0.0
    p: float = 1.0
    places: list[int] = field(default_factory=list)


class AuditEstimate(Struct, frozen=True, kw_only=True):
    """Accuracy of all `rows` by those that people judged, with its 95 % interval; `drawn` were to be judged."""

    rows: int = 0
    drawn: int = 0
    judged: int = 0
    accuracy: float = 0.0
    low: float = 0.0
    high: float = 1.0


class VoterAccuracy(Struct, frozen=True, kw_only=True):
    """How often a voter says the true label, as was learned; `vote` where each vote of a model is a voter."""

    model: str = ""
    vote: int | None = None
    accuracy: float = 0.0


class ProbabilityBin(Struct, frozen=True, kw_only=True):
    """Gold rows whose label has a probability from `low` to `high`: their mean probability, and how many are right."""

    low: float = 0.0
    high: float = 1.0
    rows: int = 0
    mean: float = 0.0
    right: int = 0
    accuracy: float = 0.0


class ProbabilityScores(Struct, frozen=True, kw_only=True):
    """How far probabilities can be believed, on rows with gold: mean squared error (Brier), and by size."""

    rows: int = 0
    mean: float = 0.0
    accuracy: float = 0.0
    brier: float = 0.0
    bins: list[ProbabilityBin] = field(default_factory=list)


class VoteWeights(Struct, frozen=True, kw_only=True):
    """By what votes were weighed, and what that changed.

    `asked` is the job's `label.weigh`; `by` is what was done, `gold`, `agreement`, or None where each vote counts one;
    `why` says why it is another. `sharpness` is below 1 where votes repeat one another's mistakes. `shares` are those
    of the labels over all rows. Of `gold_rows` so many are right with one count a vote, and weighed (by what other rows
    show).
    """

    asked: str = "none"
    by: str | None = None
    why: str | None = None
    rows_learned_from: int = 0
    gold_rows_learned_from: int = 0
    voters: list[VoterAccuracy] = field(default_factory=list)
    sharpness: float | None = None
    shares: dict[str, float] = field(default_factory=dict)
    rows: int = 0
    changed: int = 0
    gold_rows: int = 0
    right_unweighed: int = 0
    right_weighed: int = 0
    probability: ProbabilityScores | None = None


class LabelQuality(Struct, frozen=True, kw_only=True):
    """Labels, votes, agreement, what people said, and scores against gold where there is any.

    `accuracy` is by basis. `corrections_digest` tells whether people have said more since.
    """

    corrections: int = 0
    corrections_digest: str | None = None
    people: AnnotatorAgreement | None = None
    review: int = 0
    review_left_out: int = 0
    review_kinds: dict[str, int] = field(default_factory=dict)
    suspected_gold_errors: int = 0
    rows: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    rows_without_label: int = 0
    votes: int = 0
    votes_a_row: float | None = None
    agreement: VoteAgreement = VoteAgreement()
    gold: GoldScores | None = None
    accuracy: dict[str, Accuracy] = field(default_factory=dict)
    escalation: Escalation | None = None
    position: PositionEffect | None = None
    audit: AuditEstimate | None = None
    # Only of a job that weighs votes.
    weighing: VoteWeights | UnsetType = UNSET
