"""Label text: the labels of a run as people read them, in the summary and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowmill.flows.text.forecast import usd

LABELS_SHOWN = 12
# A position effect is told where chance alone would make one so seldom.
NOTED_BELOW = 0.01
BASES = {
    "gold_column": "against gold",
    "audit": "on the rows of the audit that people labelled",
    "chosen_by_people": "on rows that people chose to look at (no sample: it says nothing of the others)",
}
Pairs = list[tuple[str, str]]
Table = tuple[str, list[str], list[list[str]]]


def label_lines(told: Mapping[str, Any]) -> list[str]:
    """For the summary at a run's end."""
    counts = sorted(told["labels"].items(), key=lambda one: -one[1])
    shown = ", ".join(f"{name} {count:,}" for name, count in counts[:LABELS_SHOWN])
    more = f", and {len(counts) - LABELS_SHOWN} labels more" if len(counts) > LABELS_SHOWN else ""
    lines = [f"labels: {shown}{more}"]
    if told["votes"] > told["rows"]:
        agreement = told["agreement"]
        alike = f", agreement {agreement['mean']:.1%}" if agreement["mean"] is not None else ""
        alpha = agreement["krippendorff_alpha"]
        beyond = f" (α {alpha:.2f} among the first {agreement['votes_compared']})" if alpha is not None else ""
        lines.append(f"votes: {told['votes']:,}, {told['votes_a_row']:.2f} a row{alike}{beyond}")
    lines += _accuracy_lines(told)
    if (place := told.get("position")) is not None and place["p"] < NOTED_BELOW:
        lines.append(
            f"position: the label shown first was chosen on {place['share']:.1%} of {place['rows']:,} rows, where "
            f"{place['expected']:.1%} are due (p {place['p']:.1g}); over all rows the orders are balanced"
        )
    if (escalation := told["escalation"]) is not None:
        lines.append(_escalation(escalation))
    if told["corrections"]:
        lines.append(f"corrected by people: {told['corrections']:,} (gold.jsonl)")
    if (people := told.get("people")) is not None:
        alpha = people["krippendorff_alpha"]
        beyond = f", α {alpha:.2f}" if alpha is not None else ""
        lines.append(
            f"{people['annotators']:,} people on the same {people['rows']:,} rows: {people['pairs_agree']:.1%} of "
            f"pairs agree{beyond}; {people['conflicts']:,} rows are undecided"
        )
    if wrong := told.get("suspected_gold_errors"):
        lines.append(
            f"suspected gold errors: {wrong:,} rows whose votes all contradict gold (`kind: gold` in review.jsonl)"
        )
    if told["review"]:
        more = f" (the most doubtful; {told['review_left_out']:,} more)" if told.get("review_left_out") else ""
        lines.append(
            f"to review: {told['review']:,} rows in review.jsonl{more}; fill in `gold` and run with --gold FILE"
        )
    return lines


def _accuracy_lines(told: Mapping[str, Any]) -> list[str]:
    """The accuracy on each basis by its name: a sample's with its interval, that of chosen rows as what it is."""
    gold = told["gold"]
    if gold is None:
        return []
    each = told.get("accuracy") or {gold.get("basis", "gold_column"): gold}
    lines = [f"{BASES[name]}: {_accuracy(one)}{_kappa(gold) if name == gold.get('basis', name) else ''}"
             for name, one in each.items()]  # fmt: skip
    if (above := gold.get("at_parent")) is not None:
        lines.append(f"at the parent label: {_accuracy(above)}")
    if (audit := told.get("audit")) is not None:
        lines.append(
            f"estimated for {audit['rows']:,} rows by the audit ({audit['judged']:,} of the {audit['drawn']:,} "
            f"rows drawn are labelled): {audit['accuracy']:.1%} right, 95 % between "
            f"{audit['low']:.1%} and {audit['high']:.1%}"
        )
    return lines


def _accuracy(gold: Mapping[str, Any]) -> str:
    told = f"{gold['right']:,} of {gold['rows']:,} right ({gold['accuracy']:.1%}"
    return f"{told})" if gold["low"] is None else f"{told}, 95 % between {gold['low']:.1%} and {gold['high']:.1%})"


def _kappa(gold: Mapping[str, Any]) -> str:
    return "" if gold["cohen_kappa"] is None else f", Cohen's κ {gold['cohen_kappa']:.2f}"


def _escalation(told: Mapping[str, Any]) -> str:
    line = f"escalated: {told['rows']:,} rows to {told['model']}, {told['changed']:,} labels changed"
    if told["gold_rows"]:
        before, after = f"{told['right_before']:,}", f"{told['right_after']:,}"
        line += f"; of {told['gold_rows']:,} gold rows {before} were right before, {after} after"
    if (saved := told["saved_usd"]) is not None:
        line += f"; about {usd(abs(saved))} {'less' if saved >= 0 else 'more'} than {told['model']} for every row"
    return line


def label_pairs(told: Mapping[str, Any]) -> Pairs:
    """For the page: the figures."""
    agreement = told["agreement"]
    pairs = [
        ("rows answered", f"{told['rows']:,}"),
        ("without a label", f"{told['rows_without_label']:,}"),
        ("votes a row", _number(told["votes_a_row"])),
        ("agreement of the votes", _share(agreement["mean"])),
        ("Krippendorff's α", _number(agreement["krippendorff_alpha"])),
        ("Fleiss' κ", _number(agreement["fleiss_kappa"])),
        ("to review", f"{told['review']:,}"),
        ("corrected by people", f"{told['corrections']:,}"),
    ]
    if (audit := told.get("audit")) is not None:
        pairs.append(("accuracy by the audit", f"{audit['accuracy']:.1%} ({audit['low']:.1%} to {audit['high']:.1%})"))
    if (gold := told["gold"]) is not None:
        pairs += [
            ("gold rows", f"{gold['rows']:,}"),
            ("accuracy", f"{gold['accuracy']:.1%}"),
            ("95 % interval", "none: no sample" if gold["low"] is None else f"{gold['low']:.1%} to {gold['high']:.1%}"),
            ("Cohen's κ", _number(gold["cohen_kappa"])),
            ("macro F1", _number(gold["macro_f1"])),
            *(
                [("micro F1", _number(gold["micro_f1"])), ("Jaccard", _number(gold["jaccard"]))]
                if "jaccard" in gold
                else []
            ),
        ]
    return pairs


def label_tables(told: Mapping[str, Any]) -> list[Table]:
    """For the page: title, head and rows of each table."""
    tables: list[Table] = []
    gold = told["gold"]
    if gold is None:
        rows = [[name, f"{count:,}"] for name, count in told["labels"].items()]
        return [("Labels", ["label", "rows"], rows), *_escalation_table(told)]
    each = [
        [one["label"], f"{told['labels'].get(one['label'], 0):,}", f"{one['gold_rows']:,}", _share(one["precision"]),
         _share(one["recall"]), _number(one["f1"])]
        for one in gold["labels"]
    ]  # fmt: skip
    tables.append(("Label by label", ["label", "rows", "gold rows", "precision", "recall", "F1"], each))
    tables.append(_confusion(gold))
    calibration = [
        [f"{one['agreement']:.0%}", f"{one['rows']:,}", _share(one["accuracy"])] for one in gold["calibration"]
    ]
    tables.append(("Is the agreement to be trusted?", ["agreement", "gold rows", "of these right"], calibration))
    return [*tables, *_escalation_table(told)]


def _confusion(gold: Mapping[str, Any]) -> Table:
    """Gold labels down, votes across; with many labels the pairs that were confused most."""
    names = [one["label"] for one in gold["labels"]]
    wrong = sorted((one for one in gold["confusion"] if one["gold"] != one["label"]), key=lambda one: -one["rows"])
    counts = {(one["gold"], one["label"]): one["rows"] for one in gold["confusion"]}
    if len(names) > LABELS_SHOWN or not {one["gold"] for one in gold["confusion"]} <= set(names):
        rows = [[one["gold"].replace("\n", ", "), (one["label"] or "(none)").replace("\n", ", "), f"{one['rows']:,}"]
                for one in wrong[:30]]  # fmt: skip
        return "What was mistaken for what", ["gold", "labelled", "rows"], rows
    across: list[str | None] = [*names, *([None] if any(said is None for _, said in counts) else [])]
    rows = [[name, *(f"{counts.get((name, said), 0):,}" for said in across)] for name in names]
    return "Confusion: gold down, labelled across", ["", *(said or "(none)" for said in across)], rows


def _escalation_table(told: Mapping[str, Any]) -> list[Table]:
    found = told["escalation"]
    if found is None:
        return []
    alone = "–" if found["stronger_alone_usd"] is None else usd(found["stronger_alone_usd"])
    saved = found["saved_usd"]
    rows = [
        [f"rows asked of {found['model']}", f"{found['rows']:,}"],
        ["labels it changed", f"{found['changed']:,}"],
        ["gold rows among them", f"{found['gold_rows']:,}"],
        ["of these right before, and after", f"{found['right_before']:,}, {found['right_after']:,}"],
        ["paid to the first model", usd(found["cost_usd"]["first"])],
        [f"paid to {found['model']}", usd(found["cost_usd"]["stronger"])],
        [f"{found['model']} for every row, about", alone],
        [
            "dearer by, about" if saved is not None and saved < 0 else "saved, about",
            "–" if saved is None else usd(abs(saved)),
        ],
    ]
    return [("Escalation", ["", ""], rows)]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
