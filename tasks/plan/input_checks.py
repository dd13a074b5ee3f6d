"""Input checks: what a job and its model, and a job and its input, cannot do together; found before the first call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rowmill.schemas.catalogue import Model
from rowmill.schemas.errors import InputError, JobError
from rowmill.schemas.job import Job
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.price import ROW_MOST
from rowmill.schemas.request import AskOptions, Text, Turn
from rowmill.schemas.usage import Usage
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.input.files import InputFile, name_of
from rowmill.tasks.input.kept_types import column_names, is_typed
from rowmill.tasks.input.reader import without_id
from rowmill.tasks.input.survey import Survey
from rowmill.tasks.plan.evidence_plan import impossible_evidence
from rowmill.tasks.plan.named_columns import columns_named, names_column
from rowmill.tasks.plan.planner import Planner
from rowmill.tasks.plan.worst_case import refusal

# Columns in which a row carries its own request.
OWN_REQUEST = frozenset({"prompt", "messages", "contents", "body", "request", "custom_id", "key"})


def refuse_impossible(job: Job, model: Model) -> None:
    """Raises JobError for what this model does not offer, or what a cap needs and the catalogue is missing."""
    for error in impossible(job, model):
        raise error


def impossible(job: Job, model: Model) -> Iterator[JobError]:
    """All of that at once."""
    if job.params.search and job.tools and not model.search_with_functions:
        yield JobError(f"search and functions cannot be used together on {model.name}", where="tools", hint="drop one")
    if job.is_capped and model.price is None:
        yield JobError(
            f"the price of {model.name} is unknown, so the cap cannot be held",
            where=next(key for key in ("max_cost_usd", "max_run_cost_usd", "budget") if getattr(job, key) is not None),
            hint="add the price to your catalogue, or run without a cap: cost is then null",
        )
    limit = job.params.max_output_tokens
    if limit is not None and limit > model.max_output_tokens:
        yield JobError(
            f"{model.name} gives at most {model.max_output_tokens:,} output tokens, {limit:,} are asked for",
            where="params.max_output_tokens",
            hint=f"ask for {model.max_output_tokens:,} or fewer, or leave it out",
        )
    if job.params.thinking is not None and job.params.thinking not in model.thinking_levels:
        yield JobError(
            f"{model.name} has no thinking level {job.params.thinking!r}",
            where="params.thinking",
            hint=f"it has: {', '.join(model.thinking_levels) or 'none'}",
        )
    yield from impossible_evidence(job)
    if (refused := _refused_params(job, model)) is not None:
        yield refused
    if (shown := _gold_shown(job)) is not None:
        yield shown
    if _row_may_cost_too_much(job, model):
        yield JobError(
            f"at the prices of {model.name} one row may cost 1,000,000 or more, which the results cannot hold",
            where="catalogue",
            hint="check the prices, which are per million tokens, and lower the retries or votes",
        )


def _row_may_cost_too_much(job: Job, model: Model) -> bool:
    """Whether all attempts that a row may take, each at its worst, cost more than a results column holds."""
    if model.price is None:
        return False
    attempts = (1 + job.retries.content + job.retries.transport) * job.most_votes
    dearest = model.price.of(Usage(input=attempts * model.context_window, output=attempts * model.max_output_tokens))
    return max(dearest.usd, dearest.credits) >= ROW_MOST


def _gold_shown(job: Job) -> JobError | None:
    """Gold that the model would see: it would score itself."""
    if (column := job.gold_column) is None:
        return None
    key = "gold" if job.gold is not None else "label.gold"
    if job.prompt is not None and names_column(job.prompt, column):
        return JobError(
            f"the prompt names the gold column {column!r}, which is never shown to the model",
            where="prompt",
            hint=f"take it out of the prompt, or name another column under {key}",
        )
    if job.prompt is None and column in OWN_REQUEST:
        return JobError(
            f"the column {column!r} is a part of the rows' own requests, so it cannot be gold",
            where=key,
            hint=f"name another column under {key}",
        )
    return None


def _refused_params(job: Job, model: Model) -> JobError | None:
    """What `params.extra` adds to every body and no body may have: one error, not one for each row."""
    if not job.params.extra:
        return None
    ask = AskOptions(params=job.params, tools=tuple(job.tools))
    codec = PROTOCOLS[model.protocol]
    body = codec.body([Turn("user", (Text("a prompt"),))], ask, model)
    reason = codec.excluded(body, model) or refusal(model, body, capped=job.is_capped)
    if reason is None:
        return None
    return JobError(reason, where="params.extra", hint="params.extra is part of every request body")


def refuse_bad_input(survey: Survey, job: Job, planner: Planner) -> None:
    """Raises InputError for what a whole input has wrong: ids that stand twice, unknown columns, no row to ask."""
    for error in bad_input(survey, job, planner):
        raise error


def refuse_unaskable(survey: Survey, planner: Planner) -> None:
    """Raises InputError where none of the rows that were looked at can be asked, however many there are beyond."""
    if (nothing := _no_row_can_be_asked(survey, planner)) is not None:
        raise nothing


def bad_input(survey: Survey, job: Job, planner: Planner) -> Iterator[InputError]:
    """All of that at once."""
    if survey.duplicates:
        yield _duplicates(survey, job)
    first = survey.first_unreadable
    if not survey.sample:
        if job.id is not None and first is not None and first.reason == without_id(job.id):
            yield InputError(
                f"id names the column {job.id!r}, which no row has",
                where=first.place,
                hint="name a column that every row has, or leave `id` out: the row's position is then its id",
            )
        return
    for key, names in named_columns(job).items():
        for name in names:
            if name not in survey.columns:
                yield InputError(
                    f"{key} names the column {name!r}, which no row has",
                    where=job.input_name,
                    hint=f"the rows have: {', '.join(sorted(survey.columns)[:30])}",
                )
    if (nothing := _no_row_can_be_asked(survey, planner)) is not None:
        yield nothing


def named_columns(job: Job) -> dict[str, list[str]]:
    """The columns that a job names, by the key that names them."""
    return {
        "id": [job.id] if job.id else [],
        "keep": job.keep,
        "attachments": job.attachments,
        "evidence_columns": job.evidence_columns,
        "gold": [job.gold.column] if job.gold is not None else [],
    }


def refuse_doubled(job: Job, files: Sequence[InputFile]) -> None:
    """Raises InputError for a column that the job names and that stands twice in a typed file: nobody knows which is
    meant. Those of `keep` are refused where their types are told.
    """
    if not is_typed(files):
        return
    named = {key: names for key, names in named_columns(job).items() if key != "keep"}
    named["prompt"] = list(columns_named(job.prompt) or ()) if job.prompt is not None else []
    for file in files:
        count = Counter(column_names(file))
        for key, names in named.items():
            for name in names:
                if count[name] > 1:
                    raise InputError(
                        f"{key} names the column {name!r}, which stands {count[name]} times in this file",
                        where=name_of(file),
                        hint="rename one of them",
                    )


def refuse_emptied(survey: Survey, job: Job, rows_before: int) -> None:
    """Raises InputError for an input that lost all its rows: what was paid for would stand for none."""
    if survey.rows == 0 and rows_before:
        raise InputError(
            f"the input holds no row any more, and this output has {rows_before:,}",
            where=job.input_name,
            hint="put its rows back, or name another output; --fresh moves the results aside",
        )


def _no_row_can_be_asked(survey: Survey, planner: Planner) -> InputError | None:
    first: Outcome | None = None
    for row in survey.sample:
        planned = planner.plan(row)
        if not isinstance(planned, Outcome) or planned.status is not Status.FAILED:
            return None
        first = first or planned
    if first is None:
        return None
    row = survey.sample[0]
    return InputError(
        f"no request can be made of these rows: {first.error_message}",
        where=row.place,
        hint="fix the prompt or the input",
    )


def _duplicates(survey: Survey, job: Job) -> InputError:
    second, first = min(survey.duplicates.items())
    more = f", and {len(survey.duplicates) - 1:,} more" if len(survey.duplicates) > 1 else ""
    return InputError(
        f"the id column {job.id!r} is not unique: row {second + 1} has the id of row {first + 1}{more}",
        where=job.input_name,
        hint="name a column that is unique, or leave `id` out: the row's position is then its id",
    )
