"""Gold and votes of fields as a job writes them, and what a change of them makes new."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from rowmill.schemas.job import Job
from rowmill.tasks.job.fingerprint import job_fingerprint

MINIMAL = {"model": "m", "input": "i", "output": "o", "schema": {"type": "object"}}


def told(**keys: object) -> Job:
    return Job.model_validate({**MINIMAL, **keys})


def fingerprint(**keys: object) -> str:
    return job_fingerprint(told(**keys), sandbox=False)[0]


def test_short_forms_and_sections_are_one():
    """A column's name and a number stand for their sections; a job is read back as it was dumped."""
    job = told(gold="truth", votes=3)
    assert job == told(gold={"column": "truth"}, votes={"most": 3})
    assert Job.model_validate(job.model_dump(mode="json", by_alias=True, exclude_defaults=True)) == job
    assert told(votes=1) == told()


def test_gold_and_thresholds_make_nothing_new():
    """They score and sort answers that stand; how often is asked, and of whom, makes other answers."""
    assert fingerprint(gold="truth") == fingerprint(gold={"column": "t", "tolerance": 0.1}) == fingerprint()
    assert fingerprint(votes=3) == fingerprint(votes={"most": 3, "review_below": 0.9, "review_most": 5})
    assert len({fingerprint(), fingerprint(votes=2), fingerprint(votes=3),
                fingerprint(votes={"most": 3, "escalate": {"model": "x"}})}) == 4  # fmt: skip


@pytest.mark.parametrize(
    "keys",
    [
        {"gold": ""}, {"gold": 5}, {"gold": {"column": "t", "tolerance": -1}}, {"gold": {"column": "t", "tolerance": "1"}},
        {"gold": {"column": "t", "tolerance": {"a": "x%"}}}, {"gold": {"column": "t", "exakt": True}}, {"votes": 100},
        {"votes": "3 times"}, {"votes": {"most": 1, "escalate": {"model": "x"}}}, {"votes": {}},
    ],
)  # fmt: skip
def test_slips_are_refused(keys):
    """An unknown key, a tolerance that is none, more votes than may be."""
    with pytest.raises(ValidationError):
        told(**keys)
