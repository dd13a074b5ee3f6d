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
    """Who votes, and a planner for each vote, by model name; empty for a job without labels.

    Raises JobError, CatalogueError for a stronger model that is unknown or cannot be asked this.
    """
    label = job.label
    if label is None:
        return {}
    voters = [(model, label.votes)]
    if label.escalate is not None:
        voters.append((_stronger(label.escalate.model, model, catalogue), label.escalate.votes))
    found: Votes = {}
    for voter, votes in voters:
        its_job = job.model_copy(update={"model": voter.name})
        refuse_impossible(as_asked(its_job), voter)
        found[voter.name] = (
            voter,
            [Planner(as_asked(its_job, vote), voter, sandbox=sandbox) for vote in range(votes)],
        )
    return found


def _stronger(name: str, model: Model, catalogue: Mapping[str, Model]) -> Model:
    if name == model.name:
        raise JobError(
            f"the rows on which {name} disagrees cannot be escalated to {name} itself",
            where="label.escalate.model",
            hint="name a stronger model, or ask for more votes",
        )
    return find_model(name, catalogue)
