"""The JSON Schema of a job file accepts what a job file may hold, and names every key."""

from __future__ import annotations

from pathlib import Path

import jsonschema_rs
import pytest

from rowmill.schemas.job import Job
from rowmill.tasks.job.job_file import load_job
from rowmill.tasks.job.job_schema import job_schema
from rowmill.tasks.job.yaml_text import read_yaml

ROOT = Path(__file__).parents[2]
JOBS = sorted(ROOT.glob("sample_data/**/job*.yaml"))
MINIMAL = {"model": "m", "input": "i", "output": "o"}


def is_valid(job: object) -> bool:
    return bool(jsonschema_rs.Draft202012Validator(job_schema()).is_valid(job))


@pytest.mark.parametrize("path", JOBS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_job_of_the_samples_is_valid(path):
    """An editor finds no fault with a job that runs."""
    assert is_valid(read_yaml(path.read_text(encoding="utf-8")).value)


def test_every_key_is_described_and_none_is_missing():
    """Each key of a job and of its sections has words that an editor can show."""
    schema = job_schema()
    assert JOBS
    assert set(schema["properties"]) == {field.alias or name for name, field in Job.model_fields.items()} | {"$schema"}
    for section in (schema, *schema["$defs"].values()):
        for name, key in section["properties"].items():
            assert key.get("description"), name
        assert section["additionalProperties"] is False


def test_slips_are_refused_and_short_forms_are_not():
    """A misspelt key, a wrong type and a missing one are faults; lists and mappings of labels are both right."""
    assert is_valid(MINIMAL)
    for labels in (["a", "b"], [{"name": "a", "description": "x"}, "b"], {"a": "x", "b": None}):
        assert is_valid({**MINIMAL, "label": {"labels": labels}})
        assert Job(**MINIMAL, label={"labels": labels})
    assert is_valid({**MINIMAL, "max_cost_usd": 5, "max_run_cost_usd": "0.10", "schema": {"type": "object"}})
    for wrong in ({"promt": "x"}, {"limits": {"rmp": 1}}, {"structured": "natve"}, {"keep": "a"}, {"label": {"labels": 5}}):  # fmt: skip
        assert not is_valid({**MINIMAL, **wrong})
    assert not is_valid({"model": "m"})


def test_a_job_file_may_name_its_schema(tmp_path):
    """Editors of JSON find the schema by a key of the file itself, which is no key of the job."""
    (tmp_path / "job.json").write_text('{"$schema": "job.schema.json", "model": "m", "input": "i", "output": "o"}')
    assert load_job(tmp_path / "job.json").model == "m"
