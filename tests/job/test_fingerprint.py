"""A job's identity is made of the keys that say they are part of it, and of no others."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from rowmill.schemas.job import Job
from rowmill.schemas.label import Label
from rowmill.schemas.section import Affects, ForAnswers, Later, Part, affects, identity
from rowmill.tasks.job.fingerprint import job_fingerprint

EXTRACTION: dict[str, Any] = {
    "model": "gemini-3-pro", "input": "rows.jsonl", "output": "out", "id": "ticket", "prompt": "Read: {{ body }}",
    "system": "Be precise.", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
    "attachments": ["photo"], "media_root": "/media", "keep": ["customer"],
    "tools": [{"name": "find", "parameters": {"type": "object"}}],
    "params": {"thinking": "low", "temperature": 0.2, "max_output_tokens": 512, "stream": True, "extra": {"seed": 7}},
    "limits": {"rpm": 600}, "retries": {"content": 1}, "max_cost_usd": "5",
}  # fmt: skip
LABELLING: dict[str, Any] = {
    "model": "gemini-3-flash", "input": "rows.jsonl", "output": "out", "prompt": "{{ text }}",
    "label": {
        "labels": ["spam", "ham"], "votes": 3, "gold": "truth", "min_accuracy": 0.9, "review_below": 0.4,
        "escalate": {"model": "gemini-3-pro"}, "guidelines": "Mind the links.",
    },
}  # fmt: skip

# How an output that was begun before labels had an order for each row goes on.
BEGUN_LABELLING = {**LABELLING, "label": {**LABELLING["label"], "order": "vote"}}


@pytest.mark.parametrize(
    ("keys", "sandbox", "fingerprint"),
    [
        (EXTRACTION, False, "0a0b4b6d55ac52ce9173eadeeb460461"),
        (EXTRACTION, True, "60a4ddd7575f0b6f67512d92f501af50"),
        (BEGUN_LABELLING, False, "dd622e8ff54ecab48c34ae71b5add463"),
        (BEGUN_LABELLING, True, "8c07514e185687044b8da687f4ff522b"),
        (LABELLING, False, "444e05f534c3de2486082396c5b60856"),
    ],
)
def test_outputs_that_were_made_before_are_known_again(keys, sandbox, fingerprint):
    """The fingerprints stay what they are, so that outputs go on with the jobs that made them."""
    assert job_fingerprint(Job(**keys), sandbox=sandbox)[0] == fingerprint


def unclassified(section: type[BaseModel], around: Affects | None = None) -> list[str]:
    """The keys of a section that do not say what a change of them makes new, nor have it said of their section."""
    found = []
    for name, field in section.model_fields.items():
        mark = affects(field) or around
        inner = next((kind for kind in _kinds(field.annotation) if issubclass(kind, Part)), None)
        if mark is None and inner is None:
            found.append(f"{section.__name__}.{name}")
        elif inner is not None:
            found.extend(unclassified(inner, mark))
    return found


def _kinds(annotation: Any) -> list[type]:
    if isinstance(annotation, type):
        return [annotation]
    return [kind for part in getattr(annotation, "__args__", ()) for kind in _kinds(part)]


def test_every_key_says_whether_it_is_part_of_the_identity():
    """A new key without its class fails here, in whatever section it stands."""
    assert unclassified(Job) == []

    class Section(Part):
        known: ForAnswers[int] = 1
        new: int = 2

    class Holder(Part):
        section: Section = Section()

    assert unclassified(Holder) == ["Section.new"]


CHANGED: dict[str, Any] = {
    "name": "other", "model": "gemini-3-flash", "input": "other.jsonl", "output": "other", "id": None, "prompt": "x",
    "system": None, "output_schema": None, "structured": "prompt", "attachments": [], "media_root": "/other",
    "keep": [], "tools": [], "max_cost_usd": "7", "max_run_cost_usd": "2", "on_spend_limit": "wait",
    "runner": "dask", "api_key_block": "b", "catalogue": "c.toml", "limits": {"rpm": 5}, "retries": {"content": 0},
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_key_is_another_job_where_it_says_so(name):
    """Keys of answers and of results change the fingerprint; all others leave it as it is."""
    field = Job.model_fields[name]
    before = job_fingerprint(Job(**EXTRACTION), sandbox=False)[0]
    after = job_fingerprint(Job(**{**EXTRACTION, field.alias or name: CHANGED[name]}), sandbox=False)[0]
    assert (before != after) == (affects(field) in (Affects.ANSWERS, Affects.RESULTS))


def test_a_later_key_counts_only_where_it_is_set():
    """A key that came after the first version leaves the jobs that do not use it as they were."""

    class Section(Part):
        old: ForAnswers[int] = 1
        new: Later[ForAnswers[int]] = 2

    assert identity(Section(), {Affects.ANSWERS}) == {"old": 1}
    assert identity(Section(new=3), {Affects.ANSWERS}) == {"old": 1, "new": 3}
    keys = [job_fingerprint(Job(**EXTRACTION, validator=f"{folder}m:Model"), sandbox=False) for folder in ("", "/a/")]
    assert keys[0] == keys[1] != job_fingerprint(Job(**EXTRACTION), sandbox=False)


def test_what_only_the_scores_need_is_not_part_of_a_request():
    """A gold column makes another job, not other requests; thresholds make neither."""
    label = Job(**LABELLING).label
    assert label is not None
    assert label.identity() == identity(label, {Affects.ANSWERS}) | {"order": "row"}
    assert set(Label.model_fields) - set(label.identity()) == {
        "column", "gold", "min_accuracy", "min_recall", "min_kappa", "hierarchy", "review_below", "review", "weigh",
            "enum",
    }  # fmt: skip
