"""Labelling: the labels of a run in words, for the summary and for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowmill.flows.text.forecast import usd

LABELS_SHOWN = 12
# A position effect is reported where chance alone would produce one this rarely.
NOTED_BELOW = 0.01
BASES = {
    "gold_column": "against gold",
    "audit": "on the rows of the audit that people labelled",
    "chosen_by_people": "on rows that people chose to look at (no sample: it says nothing of the others)",
}
Pairs = list[tuple[str, str]]
Table = tuple[str, list[str], list[list[str]]]


def label_lines(labels: Mapping[str, Any]) -> list[str]:
    """Lines for the summary at a run's end."""
    counts = sorted(labels["labels"].items(), key=lambda one: -one[1])
    shown = ", ".join(f"{name} {count:,}" for name, count in counts[:LABELS_SHOWN])
    more = f", and {len(counts) - LABELS_SHOWN} more labels" if len(counts) > LABELS_SHOWN else ""
    lines = [f"labels: {shown}{more}"]
    if labels["votes"] > labels["rows"]:
        agreement = labels["agreement"]
        alike = f", agreement {agreement['mean']:.1%}" if agreement["mean"] is not None else ""
        alpha = agreement["krippendorff_alpha"]
        chance = f" (α {alpha:.2f} over the first {agreement['votes_compared']})" if alpha is not None else ""
        lines.append(f"votes: {labels['votes']:,}, {labels['votes_a_row']:.2f} per row{alike}{chance}")
    lines += _accuracy_lines(labels)
    if (position := labels.get("position")) is not None and position["p"] < NOTED_BELOW:
        lines.append(
            f"position: the label shown first was chosen on {position['share']:.1%} of {position['rows']:,} rows, not "
            f" {position['expected']:.1%} (p {position['p']:.1g}); the orders are balanced over all rows"
        )
    if (escalation := labels["escalation"]) is not None:
        lines.append(_escalation(escalation))
    if labels["corrections"]:
        lines.append(f"corrected by people: {labels['corrections']:,} (gold.jsonl)")
    if (people := labels.get("people")) is not None:
        alpha = people["krippendorff_alpha"]
        chance = f", α {alpha:.2f}" if alpha is not None else ""
        lines.append(
            f"{people['annotators']:,} people labelled the same {people['rows']:,} rows: {people['pairs_agree']:.1%} "
            f"of pairs agree{chance}; {people['conflicts']:,} rows are undecided"
        )
    if suspects := labels.get("suspected_gold_errors"):
        lines.append(
            f"suspected gold errors: {suspects:,} rows whose votes all contradict gold (`kind: gold` in review.jsonl)"
        )
    if labels["review"]:
        more = f" (the most doubtful; {labels['review_left_out']:,} more)" if labels.get("review_left_out") else ""
        lines.append(
            f"to review: {labels['review']:,} rows in review.jsonl{more}; fill in `gold` and run again with --gold FILE"
        )
    return lines


def _accuracy_lines(labels: Mapping[str, Any]) -> list[str]:
    """The accuracy on each basis by its name: a sample's with its interval, that of chosen rows without one."""
    gold = labels["gold"]
    if gold is None:
        return []
    basis = gold.get("basis", "gold_column")
    lines = [
        f"{BASES[name]}: {_accuracy(scores)}{_kappa(gold) if name == basis else ''}"
        for name, scores in (labels.get("accuracy") or {basis: gold}).items()
    ]
    if (at_parent := gold.get("at_parent")) is not None:
        lines.append(f"at the parent label: {_accuracy(at_parent)}")
    if (audit := labels.get("audit")) is not None:
        lines.append(
            f"estimated from the audit for all {audit['rows']:,} answered rows: {audit['accuracy']:.1%} correct, 95 % "
            f"interval {audit['low']:.1%} to {audit['high']:.1%} ({audit['judged']:,} of {audit['drawn']:,} drawn rows "
            f"are labelled)"
        )
    return lines


def _accuracy(gold: Mapping[str, Any]) -> str:
    share = f"{gold['right']:,} of {gold['rows']:,} correct ({gold['accuracy']:.1%}"
    return f"{share})" if gold["low"] is None else f"{share}, 95 % interval {gold['low']:.1%} to {gold['high']:.1%})"


def _kappa(gold: Mapping[str, Any]) -> str:
    return "" if gold["cohen_kappa"] is None else f", Cohen's κ {gold['cohen_kappa']:.2f}"


def _escalation(escalation: Mapping[str, Any]) -> str:
    model = escalation["model"]
    line = f"escalated: {escalation['rows']:,} rows to {model}, {escalation['changed']:,} labels changed"
    if escalation["gold_rows"]:
        before, after = f"{escalation['right_before']:,}", f"{escalation['right_after']:,}"
        line += f"; of {escalation['gold_rows']:,} gold rows {before} were correct before, {after} after"
    if (saved := escalation["saved_usd"]) is not None:
        line += f"; about {usd(abs(saved))} {'less' if saved >= 0 else 'more'} than asking {model} for every row"
    return line


def label_pairs(labels: Mapping[str, Any]) -> Pairs:
    """Named figures for the report."""
    agreement = labels["agreement"]
    pairs = [
        ("rows answered", f"{labels['rows']:,}"),
        ("without a label", f"{labels['rows_without_label']:,}"),
        ("votes per row", _number(labels["votes_a_row"])),
        ("agreement of the votes", _share(agreement["mean"])),
        ("Krippendorff's α", _number(agreement["krippendorff_alpha"])),
        ("Fleiss' κ", _number(agreement["fleiss_kappa"])),
        ("to review", f"{labels['review']:,}"),
        ("corrected by people", f"{labels['corrections']:,}"),
    ]
    if (audit := labels.get("audit")) is not None:
        pairs.append(("accuracy by the audit", f"{audit['accuracy']:.1%} ({audit['low']:.1%} to {audit['high']:.1%})"))
    if (gold := labels["gold"]) is not None:
        pairs += [
            ("gold rows", f"{gold['rows']:,}"),
            ("accuracy", f"{gold['accuracy']:.1%}"),
            ("95 % interval", "none: no sample" if gold["low"] is None else f"{gold['low']:.1%} to {gold['high']:.1%}"),
            ("Cohen's κ", _number(gold["cohen_kappa"])),
            ("macro F1", _number(gold["macro_f1"])),
        ]
        if "jaccard" in gold:
            pairs += [("micro F1", _number(gold["micro_f1"])), ("Jaccard", _number(gold["jaccard"]))]
    return pairs


def label_tables(labels: Mapping[str, Any]) -> list[Table]:
    """Tables for the report: title, head and rows of each."""
    tables: list[Table] = []
    gold = labels["gold"]
    if gold is None:
        rows = [[name, f"{count:,}"] for name, count in labels["labels"].items()]
        return [("Labels", ["label", "rows"], rows), *_escalation_table(labels)]
    each = [
        [one["label"], f"{labels['labels'].get(one['label'], 0):,}", f"{one['gold_rows']:,}", _share(one["precision"]),
         _share(one["recall"]), _number(one["f1"])]
        for one in gold["labels"]
    ]  # fmt: skip
    tables.append(("By label", ["label", "rows", "gold rows", "precision", "recall", "F1"], each))
    tables.append(_confusion(gold))
    calibration = [
        [f"{one['agreement']:.0%}", f"{one['rows']:,}", _share(one["accuracy"])] for one in gold["calibration"]
    ]
    tables.append(("Calibration: accuracy by agreement", ["agreement", "gold rows", "correct"], calibration))
    return [*tables, *_escalation_table(labels)]


def _confusion(gold: Mapping[str, Any]) -> Table:
    """Gold labels down, assigned labels across; with many labels the pairs that were confused most often."""
    names = [one["label"] for one in gold["labels"]]
    wrong = sorted((one for one in gold["confusion"] if one["gold"] != one["label"]), key=lambda one: -one["rows"])
    counts = {(one["gold"], one["label"]): one["rows"] for one in gold["confusion"]}
    if len(names) > LABELS_SHOWN or not {one["gold"] for one in gold["confusion"]} <= set(names):
        rows = [[one["gold"].replace("\n", ", "), (one["label"] or "(none)").replace("\n", ", "), f"{one['rows']:,}"]
                for one in wrong[:30]]  # fmt: skip
        return "Most frequent confusions", ["gold", "labelled", "rows"], rows
    across: list[str | None] = [*names, *([None] if any(said is None for _, said in counts) else [])]
    rows = [[name, *(f"{counts.get((name, said), 0):,}" for said in across)] for name in names]
    return "Confusion matrix: gold down, labelled across", ["", *(said or "(none)" for said in across)], rows


def _escalation_table(labels: Mapping[str, Any]) -> list[Table]:
    found = labels["escalation"]
    if found is None:
        return []
    alone = "–" if found["stronger_alone_usd"] is None else usd(found["stronger_alone_usd"])
    saved = found["saved_usd"]
    rows = [
        [f"rows asked of {found['model']}", f"{found['rows']:,}"],
        ["labels it changed", f"{found['changed']:,}"],
        ["gold rows among them", f"{found['gold_rows']:,}"],
        ["of these correct before, and after", f"{found['right_before']:,}, {found['right_after']:,}"],
        ["paid to the first model", usd(found["cost_usd"]["first"])],
        [f"paid to {found['model']}", usd(found["cost_usd"]["stronger"])],
        [f"asking {found['model']} for every row, about", alone],
        [
            "extra cost, about" if saved is not None and saved < 0 else "saved, about",
            "–" if saved is None else usd(abs(saved)),
        ],
    ]
    return [("Escalation", ["", ""], rows)]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
