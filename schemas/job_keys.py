"""Job keys: what a job file may say, each key with what a change of it makes new."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, field_validator

from rowmill.schemas.fields import FieldGold, FieldVotes, gold_of, votes_of
from rowmill.schemas.input_sections import Csv, Query
from rowmill.schemas.job_sections import Limits, Params, Retries, Tool
from rowmill.schemas.label import Label
from rowmill.schemas.part_of import PartOf
from rowmill.schemas.price import MONEY_MOST
from rowmill.schemas.quote import Quote
from rowmill.schemas.safeguards import HOURS_MOST, BudgetPerDay, Canary, StopWhen, TimeOfDay
from rowmill.schemas.section import ForAnswers, ForNothing, ForResults, Later, Part
from rowmill.schemas.time_zone import TimeZone

# Sections and keys that say how a row is asked, and that a variant may set.
VARIED = ("prompt", "system", "schema", "structured", "label", "params", "evidence")

Structured = Literal["auto", "native", "prompt"]
PACK_MOST = 100


class JobKeys(Part):
    """The keys of a job; a value that is wrong by itself is refused here."""

    name: ForNothing[str] = Field("rowmill", min_length=1, description="Shown in Prefect and in the report")
    model: ForAnswers[str] = Field(description="gemini-3-pro, gemini-3-flash, or a model of your own catalogue")
    input: ForNothing[str | Query] = Field(
        description="JSONL, JSON, CSV or TSV (.gz, .zst), Parquet, Arrow, Excel: a file, a folder, a glob; also at "
        "s3://, gs:// or az://; `-` is standard input; or {query, connection}"
    )
    input_format: Later[ForNothing[Literal["jsonl", "json", "csv", "parquet", "arrow", "xlsx"] | None]] = Field(
        None, description="What the input's files are, where neither their endings nor their content show it"
    )
    sheet: Later[ForNothing[str | None]] = Field(None, description="Sheet of an Excel workbook; else the first one")
    csv: Later[ForNothing[Csv]] = Field(
        default_factory=Csv,  # type: ignore[arg-type]
        description="How CSV and TSV files are written, where it is not as their beginning shows",
    )
    output: ForNothing[str] = Field(
        description="Folder for results, manifest and journal, on disk, or at s3://, gs:// or az://bucket/folder"
    )
    id: ForResults[str | None] = Field(
        None, description="Column that names each row; unique. Without it the position is the id"
    )
    prompt: ForAnswers[str | None] = Field(None, description="Jinja2 template over the row's columns")
    system: ForAnswers[str | None] = Field(None, description="System text for every row")
    output_schema: ForAnswers[str | dict[str, Any] | StrictBool | None] = Field(
        None, alias="schema", description="JSON Schema file, inline schema, or package.module:PydanticModel"
    )
    validator: Later[ForAnswers[str | None]] = Field(
        None,
        pattern=r"^[^:]*[^:/]:[^:/]+$",
        description="[FOLDER/]package.module:PydanticModel whose own validators judge each answer that meets the "
        "schema; `schema: package.module:PydanticModel` sets it",
    )
    evidence: Later[ForAnswers[bool | list[str]]] = Field(
        False,
        description="Fields of the answer (JSON pointers, * for each item of a list), or true for every value, that "
        "come with a verbatim quote, which is looked up in the row's own columns",
    )
    evidence_columns: Later[ForResults[list[str]]] = Field(
        default_factory=list,
        description="Columns that quotes must stand in; without it those that the prompt names",
    )
    require_evidence: Later[ForResults[bool]] = Field(
        False, description="A row with a field whose quote stands nowhere is `invalid` once its re-asks are spent"
    )
    structured: ForAnswers[Structured] = Field("auto", description="How the schema reaches the model")
    attachments: ForAnswers[list[str]] = Field(default_factory=list, description="Columns that hold media")
    media_root: ForNothing[str | None] = Field(
        None, description="Folder, or address in a bucket (s3://, gs://, az://), below which media paths must lie"
    )
    keep: ForNothing[list[str]] = Field(default_factory=list, description="Input columns carried into the results")
    tools: ForAnswers[list[Tool]] = Field(default_factory=list, description="Functions the model may call")
    label: Label | None = Field(None, description="Label each row: the schema and the system text are made from it")
    gold: Later[ForNothing[FieldGold | None]] = Field(
        None,
        description="Column with the right output of each row (an object, or JSON text), or a section: every field is "
        "held against it. Never shown to the model",
    )
    variants: Later[ForNothing[dict[str, dict[str, Any]]]] = Field(
        default_factory=dict,
        description="Other ways of asking, for rowmill tune to compare: name → job keys and their values, dotted where "
        "they stand in a section (prompt, system, label.guidelines, label.examples, params.temperature)",
    )
    quote: Later[ForNothing[Quote | None]] = Field(
        None, description="What rowmill tune found of this job on gold rows: its runs tell what they came to beside it"
    )
    rows_per_call: Later[ForAnswers[Annotated[int, Field(ge=1, le=PACK_MOST)] | Literal["auto"]]] = Field(
        1,
        description="So many rows in one call: cheaper where most of a prompt is common to all rows; auto: the most "
        "that gold rows show to be no worse than one row a call",
    )
    votes: Later[FieldVotes | None] = Field(
        None, description="Most answers asked for a row, or a section: each field by majority"
    )
    params: Params = Field(default_factory=Params, description="What each call asks of the model")  # type: ignore[arg-type]
    limits: ForNothing[Limits] = Field(default_factory=Limits, description="How fast to go")  # type: ignore[arg-type]
    retries: ForNothing[Retries] = Field(default_factory=Retries, description="How often a row is tried again")  # type: ignore[arg-type]
    max_cost_usd: ForNothing[Decimal | None] = Field(
        None,
        gt=0,
        le=MONEY_MOST,
        description="Cap on all that is ever spent for this output: no call is sent that could pass it",
    )
    max_run_cost_usd: ForNothing[Decimal | None] = Field(
        None, gt=0, le=MONEY_MOST, description="Cap on what one run spends, for a job that runs every night"
    )
    budget: Later[ForNothing[BudgetPerDay | None]] = Field(
        None,
        description="A day's money, shared by all runs that name it: in the Redis of ROWMILL_REDIS_URL, or in a "
        "file beside the outputs",
    )
    stop_when: Later[ForNothing[StopWhen | None]] = Field(
        default_factory=StopWhen,  # type: ignore[arg-type]
        description="Stop (exit 3, kind `quality`) where nearly every row that is asked is not ok; null turns it off",
    )
    canary: Later[ForNothing[Canary | None]] = Field(
        None, description="Ask some settled rows again first; stop (exit 3, kind `drift`) where the model has changed"
    )
    stop_at: Later[ForNothing[TimeOfDay | None]] = Field(
        None, description='Time of day ("06:00") from which no call is sent; a run that begins later stops the next day'
    )
    max_hours: Later[ForNothing[float | None]] = Field(
        None, gt=0, le=HOURS_MOST, description="Hours after the run's start from which no call is sent"
    )
    time_zone: Later[ForNothing[TimeZone | None]] = Field(
        None, description="Zone of stop_at and of the budget's day, as Europe/Berlin; else the machine's own (TZ)"
    )
    on_spend_limit: ForNothing[Literal["stop", "wait"]] = Field(
        "stop", description="What a spend limit of the key does"
    )
    runner: ForNothing[Literal["local", "dask", "ray"]] = Field(
        "local", description="Where shards are settled: in this process, or by the workers of a Dask or Ray cluster"
    )
    scheduler: ForNothing[str | None] = Field(
        None, description="Address of that cluster; else DASK_SCHEDULER_ADDRESS or RAY_ADDRESS tells"
    )
    api_key_block: ForNothing[str | None] = Field(
        None, description="Name of a Prefect Secret block that holds the API key"
    )
    gateway_block: Later[ForNothing[str | None]] = Field(
        None, description="Name of a Prefect block (Rowmill Gateway) that holds address, API key and catalogue together"
    )
    catalogue: ForNothing[str | None] = Field(None, description="TOML file with models and prices of your own")
    part_of: Later[ForNothing[PartOf | None]] = Field(
        None,
        description="What makes this job one part of a larger one: rowmill split writes it. max_cost_usd then caps "
        "all parts together",
    )

    @field_validator("max_cost_usd", "max_run_cost_usd", mode="before")
    @classmethod
    def _exact(cls, value: object) -> object:
        # YAML gives 0.1 as a float; its shortest text is what the user wrote.
        return str(value) if isinstance(value, float) else value

    @field_validator("output_schema", mode="before")
    @classmethod
    def _schema(cls, value: object) -> object:
        # The file of a schema may hold `true`, which a job carries as it does any other schema.
        if value is not None and not isinstance(value, (str, Mapping, bool)):
            raise ValueError("a schema's file, an inline schema, or package.module:PydanticModel is expected")
        return value

    @field_validator("gold", mode="before", json_schema_input_type=FieldGold | str | None)
    @classmethod
    def _gold_of(cls, value: Any) -> Any:
        return gold_of(value)

    @field_validator("votes", mode="before", json_schema_input_type=FieldVotes | int | None)
    @classmethod
    def _votes_of(cls, value: Any) -> Any:
        return votes_of(value)

    @field_validator("evidence", mode="before")
    @classmethod
    def _fields(cls, value: object) -> object:
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            raise ValueError(f"true, false, or a list of fields is expected: write `evidence: [{value}]`")
        if isinstance(value, (list, tuple)):
            if not value:
                raise ValueError("it names no field: name some, or drop the key")
            for name in value:
                if value.count(name) > 1:
                    raise ValueError(f"the field {name!r} stands twice")
        return value

    @field_validator("variants")
    @classmethod
    def _variants(cls, told: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, keys in told.items():
            for key in keys:
                if key.split(".")[0] not in VARIED:
                    raise ValueError(f"{name}: {key} is nothing that a variant may set: {', '.join(VARIED)}")
        return told

    @field_validator("keep", "attachments", "evidence_columns")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        for name in value:
            if value.count(name) > 1:
                raise ValueError(f"the column {name!r} stands twice")
        return value
