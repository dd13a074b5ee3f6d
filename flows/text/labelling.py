"""Labelling: the labels of a run in words, for the summary and for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowmill.flows.text.forecast import usd

LABELS_SHOWN = 12
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
    if (gold := labels["gold"]) is not None:
        lines.append(f"against gold: {_accuracy(gold)}{_kappa(gold)}")
    if (escalation := labels["escalation"]) is not None:
        lines.append(_escalation(escalation))
    if labels["corrections"]:
        lines.append(f"corrected by people: {labels['corrections']:,} (gold.jsonl)")
    if labels["review"]:
        lines.append(
            f"to review: {labels['review']:,} rows in review.jsonl; fill in `gold` and run again with --gold FILE"
        )
    return lines


def _accuracy(gold: Mapping[str, Any]) -> str:
    return (
        f"{gold['right']:,} of {gold['rows']:,} correct ({gold['accuracy']:.1%}, 95 % interval {gold['low']:.1%} to "
        f"{gold['high']:.1%})"
    )


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
    if (gold := labels["gold"]) is not None:
        pairs += [
            ("gold rows", f"{gold['rows']:,}"),
            ("accuracy", f"{gold['accuracy']:.1%}"),
            ("95 % interval", f"{gold['low']:.1%} to {gold['high']:.1%}"),
            ("Cohen's κ", _number(gold["cohen_kappa"])),
            ("macro F1", _number(gold["macro_f1"])),
        ]
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
