"""The JSON Schema of a job file."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from rowmill.flows.commands.schema import schema_text

ROOT = Path(__file__).resolve().parents[2]
JOBS = sorted((ROOT / "sample_data").rglob("*.yaml"))


@pytest.mark.parametrize("path", JOBS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_sample_job_is_valid(path):
    """An editor that checks by the schema finds nothing wrong with the jobs that run."""
    validator = jsonschema_rs.Draft202012Validator(json.loads(schema_text()))
    assert validator.is_valid(yaml.safe_load(path.read_text()))


def test_a_misspelt_key_is_not():
    """An unknown key is underlined."""
    validator = jsonschema_rs.Draft202012Validator(json.loads(schema_text()))
    assert not validator.is_valid({"model": "gemini-3-pro", "input": "a", "output": "b", "promt": "x"})
