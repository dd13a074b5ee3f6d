"""Plans: the ways of asking that a job leaves open, each a job of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import PurePath
from typing import Any

from rowmill.schemas.catalogue import Model, builtin_catalogue
from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job
from rowmill.schemas.tuning import OWN
from rowmill.tasks.job.fingerprint import job_fingerprint
from rowmill.tasks.job.job_file import job_of
from rowmill.tasks.plan.input_checks import refuse_impossible
from rowmill.tasks.plan.label_prompt import as_asked

VOTES = (1, 3)
ROWS_PER_CALL = (1, 5, 10)
# Keys of a job that a plan may set, as they are written in its name.
SHORT = {
    "params.thinking": "thinking",
    "label.votes": "votes",
    "votes.most": "votes",
    "label.escalate.model": "escalate to",
    "votes.escalate.model": "escalate to",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A way of asking. `job` has an output of its own; `calls` is how many calls 1,000 rows take at the most. `is_own`
    where it asks what the job itself would ask.
    """

    name: str
    settings: Mapping[str, Any]
    job: Job
    calls: float
    impossible: str | None = None
    is_own: bool = False


def plans_of(job: Job, catalogue: Mapping[str, Model]) -> list[Plan]:
    """The plans of a job, those with the fewest calls and the cheapest model first. The job's own is among them.

    Models are those of the catalogue that the job's own model is from, if they have a price. What a model or a job
    rules out is left out; what only shows when everything is put together is a plan that is impossible.
    """
    models = _models(job, catalogue)
    found: dict[str, Plan] = {}
    for settings, variant in product(_settings(job, models), (None, *job.variants)):
        plan = _plan(job, settings if variant is None else {**settings, "variant": variant}, catalogue)
        found.setdefault(plan.name, plan)
    if not any(plan.is_own for plan in found.values()):
        # Such as one that leaves the level of thinking to the model.
        found[OWN] = _own(job, catalogue)
    return sorted(found.values(), key=lambda plan: (_dearness(catalogue[plan.job.model]), plan.calls, plan.name))


def _models(job: Job, catalogue: Mapping[str, Model]) -> list[Model]:
    builtin = builtin_catalogue()
    of_gateway = job.model in builtin
    chosen = [
        model
        for name, model in catalogue.items()
        if name == job.model or (model.price is not None and (name in builtin) == of_gateway)
    ]
    return sorted(chosen, key=_dearness)


def _dearness(model: Model) -> int:
    return model.price.output_usd if model.price is not None else 0


def _settings(job: Job, models: list[Model]) -> Iterator[dict[str, Any]]:
    strongest = models[-1]
    packed = sorted({*ROWS_PER_CALL, job.pack_size}) if _may_share_calls(job) else [1]
    for model in models:
        levels: tuple[str | None, ...] = model.thinking_levels or (None,)
        for level, rows, votes in product(levels, packed, _ways_to_vote(job, model, strongest)):
            yield {"model": model.name, "params.thinking": level, "rows_per_call": rows, **votes}


def _ways_to_vote(job: Job, model: Model, strongest: Model) -> Iterator[dict[str, Any]]:
    """One vote or several, several also with the strongest model where they disagree."""
    section, count_key = ("label", "label.votes") if job.label is not None else ("votes", "votes.most")
    own = job.label.votes if job.label is not None else job.votes.most if job.votes is not None else 1
    for votes in sorted({1, *VOTES, own}) if _may_vote(job) else [own]:
        if job.label is None and votes == 1:
            yield {"votes": None}
            continue
        yield {count_key: votes, f"{section}.escalate": None}
        if votes > 1 and model is not strongest:
            yield {count_key: votes, f"{section}.escalate": None, f"{section}.escalate.model": strongest.name}


def _may_vote(job: Job) -> bool:
    """Votes at temperature 0 with one order of labels are one answer many times; a text has no fields to vote on."""
    if job.label is not None:
        return job.params.temperature != 0 or job.label.shuffle
    return job.params.temperature != 0 and job.output_schema is not None


def _may_share_calls(job: Job) -> bool:
    return not (job.attachments or job.tools or job.params.search) and (job.prompt is not None or job.label is not None)


def _plan(job: Job, settings: Mapping[str, Any], catalogue: Mapping[str, Model]) -> Plan:
    shown = {key: value for key, value in settings.items() if value not in (None, 1)}
    name = " ".join(str(value) if key == "model" else f"{SHORT.get(key, key)}={value}" for key, value in shown.items())
    folder = "".join(sign if sign.isalnum() or sign in "-._=" else "_" for sign in name)
    votes, rows = settings.get("label.votes", settings.get("votes.most", 1)), settings["rows_per_call"]
    calls = 1_000 * votes / rows
    keys = job.model_dump(mode="json", by_alias=True, exclude={"variants"})
    for key, value in {**settings, **job.variants.get(settings.get("variant", ""), {})}.items():
        if key != "variant":
            _set(keys, key, value)
    keys["output"] = _below(job.output, folder)
    try:
        made = job_of(keys, name)
        refuse_impossible(as_asked(made), catalogue[made.model])
    except JobError as error:
        return Plan(name, shown, job.model_copy(update={"model": settings["model"]}), calls, error.what)
    return Plan(name, shown, made, calls, is_own=_asks_alike(made, job))


def _asks_alike(made: Job, own: Job) -> bool:
    """Whether a plan's answers are those of the job itself, whose number of rows a call may be left to be decided."""
    return job_fingerprint(made, sandbox=False)[0] == job_fingerprint(_sized(own), sandbox=False)[0]


def _sized(job: Job) -> Job:
    return job if job.rows_per_call != "auto" else job.model_copy(update={"rows_per_call": 1})


def _own(job: Job, catalogue: Mapping[str, Model]) -> Plan:
    """The job as it is, which no combination of settings equals."""
    made = _sized(job).model_copy(update={"variants": {}, "output": _below(job.output, OWN.replace(" ", "_"))})
    votes = job.label.votes if job.label is not None else job.votes.most if job.votes is not None else 1
    calls = 1_000 * votes / made.pack_size
    try:
        refuse_impossible(as_asked(made), catalogue[made.model])
    except JobError as error:
        return Plan(OWN, {}, made, calls, error.what, is_own=True)
    return Plan(OWN, {}, made, calls, is_own=True)


def _set(keys: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        if not isinstance(keys.get(section), dict):
            keys[section] = {}
        keys = keys[section]
    keys[last] = value


def _below(output: str, folder: str) -> str:
    return str(PurePath(output, "plans", folder))
