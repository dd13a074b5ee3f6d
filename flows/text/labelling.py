"""Labelling: the labels of a run in words, for the summary and for the report."""

from __future__ import annotations

from msgspec import UNSET

from rowmill.flows.text.numbers import NOTHING, interval, number, share
from rowmill.schemas.accuracy import Accuracy
from rowmill.schemas.display_text import Pairs, Table, counted
from rowmill.schemas.label_quality import Escalation, GoldScores, Interval, LabelQuality, VoteWeights
from rowmill.schemas.price import usd

LABELS_SHOWN = 12
WEIGHED_BY = {"gold": "by gold rows", "agreement": "by how far they agree, as if each erred by itself"}
# A position effect is reported where chance alone would produce one this rarely.
NOTED_BELOW = 0.01
BASES = {
    "gold_column": "against gold",
    "audit": "on the rows of the audit that people labelled",
    "chosen_by_people": "on rows that people chose to look at (no sample: it says nothing of the others)",
}


def label_lines(quality: LabelQuality) -> list[str]:
    """Lines for the summary at a run's end."""
    counts = sorted(quality.labels.items(), key=lambda one: -one[1])
    shown = ", ".join(f"{name} {count:,}" for name, count in counts[:LABELS_SHOWN])
    more = f", and {len(counts) - LABELS_SHOWN} more labels" if len(counts) > LABELS_SHOWN else ""
    lines = [f"labels: {shown}{more}"]
    if quality.votes > quality.rows:
        agreement = quality.agreement
        alike = f", agreement {share(agreement.mean)}" if agreement.mean is not None else ""
        alpha = agreement.krippendorff_alpha
        chance = f" (α {alpha:.2f} over the first {agreement.votes_compared})" if alpha is not None else ""
        lines.append(f"votes: {quality.votes:,}, {number(quality.votes_a_row)} per row{alike}{chance}")
    lines += _accuracy_lines(quality)
    if quality.weighing is not UNSET:
        lines.append(_weighing(quality.weighing))
    if (position := quality.position) is not None and position.p < NOTED_BELOW:
        lines.append(
            f"position: the label shown first was chosen on {position.share:.1%} of "
            f"{counted(position.rows, 'row')}, not "
            f" {position.expected:.1%} (p {position.p:.1g}); the orders are balanced over all rows"
        )
    if (escalation := quality.escalation) is not None:
        lines.append(_escalation(escalation))
    if quality.corrections:
        lines.append(f"corrected by people: {quality.corrections:,} (gold.jsonl)")
    if (people := quality.people) is not None:
        alpha = people.krippendorff_alpha
        chance = f", α {alpha:.2f}" if alpha is not None else ""
        lines.append(
            f"{people.annotators:,} people labelled the same {counted(people.rows, 'row')}: {people.pairs_agree:.1%} "
            f"of pairs agree{chance}; {counted(people.conflicts, 'row')} undecided"
        )
    if suspects := quality.suspected_gold_errors:
        lines.append(
            f"suspected gold errors: {counted(suspects, 'row')} whose votes all contradict gold (`kind: gold` "
            f"in review.jsonl)"
        )
    if quality.review:
        more = f" (the most doubtful; {quality.review_left_out:,} more)" if quality.review_left_out else ""
        lines.append(
            f"to review: {counted(quality.review, 'row')} in review.jsonl{more}; fill in `gold` and run again "
            f"with --gold FILE"
        )
    return lines


def _accuracy_lines(quality: LabelQuality) -> list[str]:
    """The accuracy on each basis by its name: a sample's with its interval, that of chosen rows without one."""
    gold = quality.gold
    if gold is None:
        return []
    lines = [
        f"{BASES[name]}: {_accuracy(scores)}{_kappa(gold) if name == gold.basis else ''}"
        for name, scores in (quality.accuracy or {gold.basis: gold}).items()
    ]
    if gold.at_parent:
        lines.append(f"at the parent label: {_accuracy(gold.at_parent)}")
    if (audit := quality.audit) is not None:
        lines.append(
            f"estimated from the audit for all {counted(audit.rows, 'answered row')}: {audit.accuracy:.1%} "
            f"correct, 95 % "
            f"interval {interval(audit)} ({audit.judged:,} of {counted(audit.drawn, 'drawn row')} "
            f"are labelled)"
        )
    return lines


def _accuracy(scores: Accuracy) -> str:
    between = "" if scores.low is None else f", 95 % interval {interval(scores)}"
    return f"{scores.right:,} of {scores.rows:,} correct ({share(scores.accuracy)}{between})"


def _kappa(gold: GoldScores) -> str:
    return "" if gold.cohen_kappa is None else f", Cohen's κ {gold.cohen_kappa:.2f}"


def _weighing(weights: VoteWeights) -> str:
    """What votes counted, and what that changed; or why each counted one."""
    why = f" ({weights.why})" if weights.why else ""
    if weights.by is None:
        return f"votes are not weighed{why}"
    line = f"votes weighed {WEIGHED_BY.get(weights.by, '')}{why}: {counted(weights.changed, 'label')} changed"
    if weights.gold_rows:
        line += (
            f"; of {counted(weights.gold_rows, 'row')} with gold {weights.right_unweighed:,} were correct with "
            f"one count a "
            f"vote, {weights.right_weighed:,} are weighed by what other rows show"
        )
    if (found := weights.probability) is not None:
        line += f"; on gold rows the mean probability is {share(found.mean)}, and {share(found.accuracy)} are correct"
    return line


def _escalation(escalation: Escalation) -> str:
    model = escalation.model
    line = f"escalated: {counted(escalation.rows, 'row')} to {model}, {counted(escalation.changed, 'label')} changed"
    if escalation.gold_rows:
        before, after = f"{escalation.right_before:,}", f"{escalation.right_after:,}"
        line += f"; of {counted(escalation.gold_rows, 'gold row')} {before} were correct before, {after} after"
    if (saved := escalation.saved_usd) is not None:
        line += f"; about {usd(abs(saved))} {'less' if saved >= 0 else 'more'} than asking {model} for every row"
    return line


def label_pairs(quality: LabelQuality) -> Pairs:
    """Named figures for the report."""
    agreement = quality.agreement
    pairs = [
        ("rows answered", f"{quality.rows:,}"),
        ("without a label", f"{quality.rows_without_label:,}"),
        ("votes per row", number(quality.votes_a_row)),
        ("agreement of the votes", share(agreement.mean)),
        ("Krippendorff's α", number(agreement.krippendorff_alpha)),
        ("Fleiss' κ", number(agreement.fleiss_kappa)),
        ("to review", f"{quality.review:,}"),
        ("corrected by people", f"{quality.corrections:,}"),
    ]
    if (audit := quality.audit) is not None:
        pairs.append(("accuracy by the audit", f"{audit.accuracy:.1%} ({interval(audit)})"))
    if (gold := quality.gold) is not None:
        pairs += [
            ("gold rows", f"{gold.rows:,}"),
            ("accuracy", share(gold.accuracy)),
            ("95 % interval", interval(gold, none="none: no sample")),
            ("Cohen's κ", number(gold.cohen_kappa)),
            ("macro F1", number(gold.macro_f1)),
        ]
        if gold.jaccard is not UNSET and gold.micro_f1 is not UNSET:
            pairs += [("micro F1", number(gold.micro_f1)), ("Jaccard", number(gold.jaccard))]
    return pairs


def label_tables(quality: LabelQuality) -> list[Table]:
    """Tables for the report: title, head and rows of each."""
    tables: list[Table] = []
    gold = quality.gold
    if gold is None:
        rows = [[name, f"{count:,}"] for name, count in quality.labels.items()]
        return [("Labels", ["label", "rows"], rows), *_weighing_tables(quality), *_escalation_table(quality)]
    between = {one.label: one for one in gold.intervals} if gold.low is not None else {}
    each = [
        [one.label, f"{quality.labels.get(one.label, 0):,}", f"{one.gold_rows:,}",
         _with_interval(one.precision, between[one.label].precision if one.label in between else None),
         _with_interval(one.recall, between[one.label].recall if one.label in between else None), number(one.f1)]
        for one in gold.labels
    ]  # fmt: skip
    tables.append(("By label", ["label", "rows", "gold rows", "precision (95 %)", "recall (95 %)", "F1"], each))
    tables.append(_confusion(gold))
    calibration = [[f"{one.agreement:.0%}", f"{one.rows:,}", share(one.accuracy)] for one in gold.calibration]
    tables.append(("Calibration: accuracy by agreement", ["agreement", "gold rows", "correct"], calibration))
    return [*tables, *_weighing_tables(quality), *_escalation_table(quality)]


def _with_interval(value: float | None, between: Interval | None) -> str:
    return share(value) + (f" ({between[0]:.0%} to {between[1]:.0%})" if value is not None and between else "")


def _weighing_tables(quality: LabelQuality) -> list[Table]:
    """Who votes and how well, and how often labels of a probability are right."""
    weights = quality.weighing
    if weights is UNSET or weights.by is None:
        return []
    voters = [
        [one.model if one.vote is None else f"{one.model}, vote {one.vote + 1}", share(one.accuracy)]
        for one in weights.voters
    ]
    voters.append(["a vote counts, where votes repeat one another", number(weights.sharpness)])
    tables: list[Table] = [
        (f"Votes weighed {WEIGHED_BY.get(weights.by, '')}", ["voter", "says the true label"], voters)
    ]
    if (found := weights.probability) is not None:
        bins = [
            [f"{one.low:.0%} to {one.high:.0%}", f"{one.rows:,}", share(one.mean), share(one.accuracy)]
            for one in found.bins
        ]
        head = ["probability", "gold rows", "mean probability", "correct"]
        tables.append((f"Calibration: accuracy by probability (Brier score {found.brier:.3f})", head, bins))
    return tables


def _confusion(gold: GoldScores) -> Table:
    """Gold labels down, assigned labels across; with many labels the pairs that were confused most often."""
    names = [one.label for one in gold.labels]
    wrong = sorted((one for one in gold.confusion if one.gold != one.label), key=lambda one: -one.rows)
    counts = {(one.gold, one.label): one.rows for one in gold.confusion}
    if len(names) > LABELS_SHOWN or not {one.gold for one in gold.confusion} <= set(names):
        rows = [[one.gold.replace("\n", ", "), (one.label or "(none)").replace("\n", ", "), f"{one.rows:,}"]
                for one in wrong[:30]]  # fmt: skip
        return "Most frequent confusions", ["gold", "labelled", "rows"], rows
    across: list[str | None] = [*names, *([None] if any(said is None for _, said in counts) else [])]
    rows = [[name, *(f"{counts.get((name, said), 0):,}" for said in across)] for name in names]
    return "Confusion matrix: gold down, labelled across", ["", *(said or "(none)" for said in across)], rows


def _escalation_table(quality: LabelQuality) -> list[Table]:
    found = quality.escalation
    if found is None:
        return []
    alone = NOTHING if found.stronger_alone_usd is None else usd(found.stronger_alone_usd)
    saved = found.saved_usd
    rows = [
        [f"rows asked of {found.model}", f"{found.rows:,}"],
        ["labels it changed", f"{found.changed:,}"],
        ["gold rows among them", f"{found.gold_rows:,}"],
        ["of these correct before, and after", f"{found.right_before:,}, {found.right_after:,}"],
        ["paid to the first model", usd(found.cost_usd.first)],
        [f"paid to {found.model}", usd(found.cost_usd.stronger)],
        [f"asking {found.model} for every row, about", alone],
        [
            "extra cost, about" if saved is not None and saved < 0 else "saved, about",
            NOTHING if saved is None else usd(abs(saved)),
        ],
    ]
    return [("Escalation", ["", ""], rows)]
