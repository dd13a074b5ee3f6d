"""Vote planners: who votes about a row, and the planner of each of their votes."""

from __future__ import annotations

from collections.abc import Mapping

from rowmill.schemas.catalogue import Model, find_model
from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job
from rowmill.tasks.plan.input_checks import refuse_impossible
from rowmill.tasks.plan.label_prompt import as_asked
from rowmill.tasks.plan.planner import Planner

Votes = dict[str, tuple[Model, list[Planner]]]


def planned_votes(job: Job, model: Model, catalogue: Mapping[str, Model], *, sandbox: bool) -> Votes:
    """Who votes, and a planner for each vote, by model name; empty for a job of one answer a row.

    Raises JobError, CatalogueError for a stronger model that is unknown or cannot be asked this.
    """
    if job.label is None and not job.has_votes:
        return {}
    voters = [(model, job.most_votes)]
    if (escalate := job.escalate) is not None:
        voters.append((_stronger(escalate.model, model, catalogue, job=job), escalate.votes))
    found: Votes = {}
    for voter, votes in voters:
        its_job = job.model_copy(update={"model": voter.name})
        refuse_impossible(as_asked(its_job), voter)
        found[voter.name] = (
            voter,
            [Planner(as_asked(its_job, vote), voter, sandbox=sandbox, vote=vote) for vote in range(votes)],
        )
    return found


def _stronger(name: str, model: Model, catalogue: Mapping[str, Model], *, job: Job) -> Model:
    if name == model.name:
        raise JobError(
            f"the rows on which {name} disagrees cannot be escalated to {name} itself",
            where="votes.escalate.model" if job.label is None else "label.escalate.model",
            hint="name a stronger model, or ask for more votes",
        )
    return find_model(name, catalogue)
