"""What a flow shows in Prefect: names and artifacts by job, keys of a job file changed, parameters that a server takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from rowmill.flows.extract import PARAMETERS_MOST, job_of, shown_job
from rowmill.flows.orchestration.prefect_view import artifact_key
from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job


@pytest.mark.parametrize(
    ("job", "key"),
    [
        ("Support Tickets", "rowmill-run-support-tickets"),
        ("Größe/№ 7", "rowmill-run-groe-no-7"),
        ("チケット", "rowmill-run-"),
        ("x" * 500, "rowmill-run-" + "x" * 100),
    ],
)
def test_each_job_has_artifacts_of_its_own(job: str, key: str) -> None:
    """A key is lowercase letters, digits and dashes, made from the job's name; one without any gets a digest."""
    made = artifact_key("rowmill-run", job)
    assert made.startswith(key)
    assert all(sign in "abcdefghijklmnopqrstuvwxyz0123456789-" for sign in made)
    assert artifact_key("rowmill-run", "チケット") != artifact_key("rowmill-run", "ticket")


def test_keys_of_a_job_file_can_be_changed_for_one_run(tmp_path: Path) -> None:
    """Dotted keys replace what the file says; beside a whole job they are refused, unknown ones by name."""
    path = tmp_path / "job.yaml"
    path.write_text("model: gemini-3-pro\ninput: a.jsonl\noutput: out\nprompt: x\nlimits: {rpm: 10}\n")
    job = job_of(None, str(path), {"limits.rpm": 600, "max_cost_usd": 5})
    assert (job.limits.rpm, job.max_cost_usd) == (600, 5)
    with pytest.raises(JobError, match="overrides"):
        job_of(job, None, {"limits.rpm": 1})
    with pytest.raises(JobError, match="limits.rpn"):
        job_of(None, str(path), {"limits.rpn": 1})


def test_a_large_job_is_shown_in_part() -> None:
    """A job with a megabyte of text travels to Prefect's server as what it takes; a small one as it is."""
    small = Job(model="gemini-3-pro", input="i", output="o", prompt="x")
    assert shown_job(small) is small
    large = small.model_copy(update={"system": "word " * 200_000, "output_schema": {"description": "y" * 500_000}})
    assert len(shown_job(large).model_dump_json()) < PARAMETERS_MOST
