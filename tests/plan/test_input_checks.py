"""What a job and its model cannot do together is refused before the first call."""

from __future__ import annotations

from dataclasses import replace

from rowmill.schemas.catalogue import builtin_catalogue
from rowmill.schemas.job import Job
from rowmill.schemas.job_sections import Retries
from rowmill.schemas.label import Label
from rowmill.schemas.price import Price, Rates
from rowmill.tasks.plan.input_checks import impossible


def test_a_row_that_results_could_not_hold_is_refused_before_a_call():
    """Where all attempts of a row together could cost a million, in USD or credits, the job is refused in words."""
    model = builtin_catalogue()["gemini-3-pro"]
    job = Job(model=model.name, input="i", output="o", prompt="x")
    assert list(impossible(job, model)) == []
    assert list(impossible(job.model_copy(update={"retries": Retries(content=10**6)}), model)) != []
    for rates in (Rates(10**12, 0, 0, 0, 10**12, 0), Rates(0, 0, 0, 10**15, 0, 0)):
        price = Price(rates)
        [error] = impossible(job, replace(model, price=price))
        assert "results cannot hold" in str(error)


def test_a_prompt_that_names_the_gold_column_is_refused_as_that():
    """Of labels as of fields: it is in the input, so it was told as an unknown column, which it is not."""
    model = builtin_catalogue()["gemini-3-pro"]
    label = Label.model_validate({"labels": ["a", "b"], "gold": "truth"})
    job = Job(model=model.name, input="i", output="o", prompt="{{ text }} {{ truth }}", label=label)
    [error] = impossible(job, model)
    assert "names the gold column 'truth', which is never shown" in error.what
    assert error.hint.endswith("under label.gold")
