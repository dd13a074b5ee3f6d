"""Label Studio: its tasks (JSON) as entries of people, and rows as its tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rowmill.schemas.errors import InputError
from rowmill.schemas.label import Label

# The names that a Label Studio interface for our tasks uses.
FROM, TO = "label", "text"
# Columns of its short forms (JSON-MIN, CSV): there `id` is the task's number, never a row's.
# Controls that hold an answer which is no choice. Of a free text beside the labels nothing is lost.
OTHER_CONTROLS = ("taxonomy", "rating", "labels", "number", "ranker", "pairwise")
OWN_COLUMNS = frozenset({"annotation_id", "lead_time"})


def task_entries(task: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """One entry for each person who labelled a task. Cancelled annotations, drafts and predictions say nothing.

    Raises InputError for a task of another form.
    """
    told = task.get("data")
    data = dict(told) if isinstance(told, dict) else {}
    base = {key: data[key] for key in data if key != "annotator"} | {"gold": None}
    of_person: dict[str, Mapping[str, Any]] = {}
    annotations = task.get("annotations") or task.get("completions") or []
    if not isinstance(annotations, list):
        raise InputError("the annotations of a task are no list", where=where, hint="export as JSON from Label Studio")
    for number, annotation in enumerate(annotations):
        if not isinstance(annotation, dict):
            # Its other export option puts numbers here in place of annotations.
            raise InputError("a task's annotations are not in the file", where=where, hint="export as JSON")
        if annotation.get("was_cancelled") or annotation.get("skipped"):
            continue
        person = _person(annotation) or f"#{number + 1}"
        before = of_person.get(person)
        if before is None or str(before.get("updated_at") or "") <= str(annotation.get("updated_at") or ""):
            of_person[person] = annotation
    if not of_person:
        yield base
    for person, annotation in of_person.items():
        choices = _choices_of(annotation.get("result"), where)
        yield base | {
            "gold": choices,
            "annotator": person,
            "ground_truth": bool(annotation.get("ground_truth")) and len(of_person) > 1,
        }


def _person(annotation: Mapping[str, Any]) -> str | None:
    told = annotation.get("completed_by")
    if isinstance(told, dict):
        told = told.get("email") or told.get("id")
    return None if told is None else str(told)


def _choices_of(results: Any, where: str) -> list[Any]:
    """What was chosen under the control of ours, or under the only one; nothing where none was chosen."""
    found: dict[str, list[Any]] = {}
    others: list[str] = []
    for result in results if isinstance(results, list) else ():
        value = result.get("value") if isinstance(result, dict) else None
        choices = value.get("choices") if isinstance(value, dict) else None
        if isinstance(choices, list):
            found.setdefault(str(result.get("from_name", FROM)), []).extend(choices)
        elif isinstance(value, dict):
            others += [kind for kind in OTHER_CONTROLS if kind in value]
    if FROM in found:
        return found[FROM]
    if len(found) > 1:
        raise InputError(
            f"labels of several controls ({', '.join(sorted(found))})",
            where=where,
            hint=f"name the control that holds the labels `{FROM}`",
        )
    if others and not found:
        raise InputError(
            f"an answer by {others[0]} and none by choices",
            where=where,
            hint="label with <Choices> (`rowmill export OUT tasks.json` writes such an interface)",
        )
    return next(iter(found.values()), [])


def as_task(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row to export as a task: what the votes chose as a prediction, gold as an annotation."""
    data = {name: row[name] for name in ("row_id", "text", "why")}
    task: dict[str, Any] = {"data": data, "predictions": [], "annotations": []}
    if row["suggested"] is not None:
        model = row["votes"][-1]["model"] if row["votes"] else "rowmill"
        task["predictions"] = [
            {
                "model_version": model,
                "score": row.get("probability", row["agreement"]),
                "result": [_as_choices(row["suggested"])],
            }
        ]
    if row["gold"] is not None:
        task["annotations"] = [{"ground_truth": True, "result": [_as_choices(row["gold"])]}]
    return task


def _as_choices(labels: str | Sequence[str]) -> dict[str, Any]:
    chosen = [labels] if isinstance(labels, str) else list(labels)
    return {"from_name": FROM, "to_name": TO, "type": "choices", "value": {"choices": chosen}}


def interface(label: Label) -> str:
    """The XML of a Label Studio project that shows the text and offers the labels."""
    from xml.sax.saxutils import quoteattr

    choices = "\n".join(
        f"    <Choice value={quoteattr(one.name)}"
        + (f" hint={quoteattr(one.description)}" if one.description else "")
        + "/>"
        for one in label.labels or ()
    )
    kind = "multiple" if label.multi else "single-radio"
    return (
        f'<View>\n  <Text name="{TO}" value="$text"/>\n  <Choices name="{FROM}" toName="{TO}" choice="{kind}">\n'
        f"{choices}\n  </Choices>\n</View>\n"
    )
