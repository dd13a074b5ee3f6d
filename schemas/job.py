"""Job: what a user asks for. The job file's model and the flow's parameter are this one class."""

from __future__ import annotations

import codecs
import re
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rowmill.schemas.fields import FieldGold, FieldVotes, gold_of, votes_of
from rowmill.schemas.label import Escalate, Label
from rowmill.schemas.part_of import PartOf
from rowmill.schemas.price import MONEY_MOST
from rowmill.schemas.quote import Quote
from rowmill.schemas.safeguards import HOURS_MOST, BudgetPerDay, Canary, StopWhen, TimeOfDay
from rowmill.schemas.section import ForAnswers, ForNothing, ForResults, Later, Part
from rowmill.schemas.time_zone import TimeZone

# Sections and keys that say how a row is asked, and that a variant may set.
VARIED = ("prompt", "system", "schema", "structured", "label", "params", "evidence")

Thinking = Literal["low", "high"]
Structured = Literal["auto", "native", "prompt"]
PACK_MOST = 100
# Fields of a body that say what one answer looks like, which a call for several rows does itself.
PACK_FIELDS = frozenset(
    {"n", "stop", "response_format", "messages", "contents", "functions", "tools", "generationConfig", "cachedContent"}
)


class Params(Part):
    """What each call asks of the model. Only what is set here (and `stream`) is sent beside the documented defaults."""

    thinking: ForAnswers[Thinking | None] = Field(
        None, description="Reasoning effort; the gateway's default is high on gemini-3-pro"
    )
    include_thoughts: ForAnswers[bool] = Field(
        False, description="Ask for the reasoning text and keep it in a `thoughts` column"
    )
    temperature: ForAnswers[float | None] = Field(
        None, ge=0, le=2, description="Sampling temperature, sent only when set"
    )
    max_output_tokens: ForAnswers[int | None] = Field(
        None, gt=0, description="Bound of one answer; narrows the worst-case cost"
    )
    search: ForAnswers[bool] = Field(False, description="Google Search grounding; cannot be combined with functions")
    stream: ForNothing[bool] = Field(
        False, description="Receive answers as server-sent events; the rows come out the same"
    )
    extra: ForAnswers[dict[str, Any]] = Field(
        default_factory=dict, description="Further fields of the request body, sent as they stand"
    )


class Limits(Part):
    """How fast to go. `rpm` and `tpm` are the key's limits per minute; unset means no limit of ours."""

    concurrency: int = Field(32, gt=0, le=10_000, description="Most calls in flight at a time")
    rpm: float | None = Field(None, gt=0, description="Requests per minute")
    tpm: float | None = Field(None, gt=0, description="Tokens per minute, input and output together")
    window: Literal["even", "sliding"] = Field(
        "even",
        description="even: spread over each minute, which every gateway takes; sliding: as fast as a sliding minute "
        "allows, for a gateway known to count that way",
    )
    shared: bool = Field(
        False, description="Share rpm and tpm with all runs of the same key, through the Redis of ROWMILL_REDIS_URL"
    )
    timeout_s: float = Field(180, gt=0, description="Seconds without a byte after which a call is given up")
    call_s: float = Field(1_800, gt=0, description="Seconds after which a call is given up though bytes still come")
    max_line_bytes: int = Field(32 * 2**20, gt=0, description="Longest input line; a longer one is `unreadable`")
    max_media_bytes: int = Field(14 * 2**20, gt=0, description="Most bytes of media in one row; the rest is refused")

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        if self.shared and self.rpm is None and self.tpm is None:
            raise ValueError("shared limits need rpm or tpm: the key's limits, which all runs share")
        if self.shared and self.window == "sliding":
            raise ValueError("shared limits go evenly: use window: even")
        return self


class Csv(Part):
    """How CSV and TSV files are written, where it is not as their beginning shows."""

    separator: str | None = Field(None, min_length=1, max_length=1, description="Between two fields; else seen")
    encoding: str | None = Field(None, description="utf-8, cp1252, utf-16, shift_jis, ...; else seen")
    quote: str | None = Field(
        None, max_length=1, description='Around a field that holds separators or line breaks, "" for none; else seen'
    )
    escape: str | None = Field(
        None, max_length=1, description="Before a quote inside a quoted field, where that is not doubled; else seen"
    )
    header: bool | tuple[str, ...] | None = Field(
        None,
        description="true: the first line names the columns, as it does unless this is set; false: it is a row, the "
        "columns are column_1, column_2, ...; or their names",
    )

    @field_validator("separator", "quote", "escape")
    @classmethod
    def _one_of_ascii(cls, value: str | None) -> str | None:
        if value and (not value.isascii() or value in "\r\n"):
            raise ValueError(f"{value!r} cannot be one: take a character of ASCII that ends no line")
        return value

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        try:
            return None if value is None else codecs.lookup(value).name
        except LookupError:
            raise ValueError(f"the encoding {value!r} is not known: name one such as utf-8, cp1252, utf-16") from None

    @field_validator("header")
    @classmethod
    def _names(cls, value: bool | tuple[str, ...] | None) -> bool | tuple[str, ...] | None:
        if isinstance(value, tuple) and (not value or len(set(value)) < len(value) or "" in value):
            raise ValueError("the columns need names, each another one")
        return value

    @model_validator(mode="after")
    def _apart(self) -> Self:
        given = [one for one in (self.separator, self.quote, self.escape) if one]
        if len(set(given)) < len(given):
            raise ValueError("separator, quote and escape are three different characters")
        return self


# What opens a database; SQLAlchemy's names of drivers behind a + are left out.
CONNECTIONS = ("duckdb", "sqlite", "postgresql", "postgres")
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_SECRET = re.compile(r"(?:^|[?&; ])(?:password|passwd|pwd|token|motherduck_token|secret)=(?!\$\{)[^&; ]", re.IGNORECASE)


class Query(Part):
    """Rows of a database: what a query gives, taken once into the output, so that a resumed run reads the same."""

    query: str = Field(min_length=1, description="One SELECT; give it an ORDER BY, or the job an `id`")
    connection: str | None = Field(
        None,
        description="duckdb:///x.db, sqlite:///x.db, postgresql://user:${PGPASSWORD}@host/db; ${NAME} is of the "
        "environment. Without one DuckDB reads files: SELECT * FROM 'data/*.parquet'",
    )
    folder: str | None = Field(None, description="Where paths in the query begin; else the job file's folder")

    @field_validator("connection")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is None or value.startswith("${"):
            return value
        scheme, found, rest = value.partition("://")
        if not found or scheme.partition("+")[0] not in CONNECTIONS:
            raise ValueError(
                f"{scheme if found else 'this'} is no connection of ours: write duckdb:///x.db, sqlite:///x.db or "
                "postgresql://user@host/db; of another database, export the rows to Parquet or CSV"
            )
        user, at, _ = rest.partition("/")[0].rpartition("@")
        password = user.partition(":")[2] if at else ""
        if (password and not _VARIABLE.search(password)) or _SECRET.search(value):
            raise ValueError(
                "the connection holds a password, which would be written down with the job: put it into the "
                "environment, and its name here, as in postgresql://user:${PGPASSWORD}@host/db"
            )
        return value


class Retries(Part):
    """How often one row may be tried again, by what went wrong."""

    transport: int = Field(5, ge=0, description="After 500, 503, timeouts, disconnects, truncated bodies")
    content: int = Field(2, ge=0, description="After an answer that breaks the schema or was cut")
    outage_s: float = Field(60, ge=0, description="Seconds of outage after which the run stops with exit 6")


class Tool(Part):
    """A function the model may ask for; its calls come back typed in `tool_calls`, nothing is executed."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$", description="Its name, as it comes back")
    description: str = Field("", description="What it is for, shown to the model")
    parameters: dict[str, Any] = Field(default_factory=dict, description="JSON Schema of the arguments")


class Job(Part):
    """A batch: rows in, one typed answer per row out. Paths are relative to the job file."""

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
    output_schema: ForAnswers[str | dict[str, Any] | None] = Field(
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

    @property
    def input_name(self) -> str:
        """The input as people call it."""
        if isinstance(self.input, Query):
            return f"the query of {self.input.connection or 'DuckDB'}"
        return "standard input" if self.input == "-" else self.input

    @property
    def pack_size(self) -> int:
        """Rows in one call; one where that is not decided yet."""
        return 1 if self.rows_per_call == "auto" else self.rows_per_call

    @property
    def is_capped(self) -> bool:
        """Whether each call's worst case must fit a sum of money."""
        return self.max_cost_usd is not None or self.max_run_cost_usd is not None or self.budget is not None

    @field_validator("max_cost_usd", "max_run_cost_usd", mode="before")
    @classmethod
    def _exact(cls, value: object) -> object:
        # YAML gives 0.1 as a float; its shortest text is what the user wrote.
        return str(value) if isinstance(value, float) else value

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

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.tools and self.structured == "native":
            raise ValueError("tools and structured: native cannot be used together: use structured: auto or prompt")
        if self.rows_per_call != 1:
            self._can_be_packed()
        if self.params.search and self.structured == "native" and self.output_schema is not None:
            raise ValueError(
                "params.search and structured: native cannot be used together: use structured: auto or prompt"
            )
        if self.evidence:
            self._can_have_evidence()
        for key in ("evidence_columns", "require_evidence"):
            if getattr(self, key) and not self.evidence:
                raise ValueError(f"{key} is about the quotes of `evidence`: set evidence, or drop {key}")
        if self.label is not None:
            self._can_be_labelled(self.label)
        self._has_fields()
        if self.gateway_block is not None and self.api_key_block is not None:
            raise ValueError("gateway_block holds the API key already: drop api_key_block")
        if self.runner != "local" and self.limits.window == "sliding":
            raise ValueError(f"runner: {self.runner} divides the limits evenly: use limits.window: even")
        if self.part_of is not None and self.runner != "local":
            raise ValueError(f"part_of and runner: {self.runner} cannot be used together: workers share a whole job")
        if self.runner == "local" and self.scheduler is not None:
            raise ValueError("scheduler names a cluster, and runner: local uses none: set runner to dask or ray")
        return self

    def _has_fields(self) -> None:
        """Raises ValueError for gold or votes of fields where there are none."""
        for key, section in (("gold", self.gold), ("votes", self.votes)):
            if section is None:
                continue
            if self.label is not None:
                raise ValueError(f"label and {key} cannot be used together: label.{key} is the one for labels")
            if self.output_schema is None:
                raise ValueError(f"{key} needs a schema, whose fields it is about: add schema, or drop {key}")
        if self.gold is not None and self.gold.column in self.attachments:
            raise ValueError(
                f"the gold column {self.gold.column!r} is never shown to the model: take it out of attachments"
            )
        if self.has_votes and self.params.temperature == 0:
            raise ValueError(
                "votes with params.temperature: 0 pays for one answer many times: raise the temperature, or drop votes"
            )
        if self.has_votes and self.tools:
            raise ValueError("votes and tools cannot be used together: calls of functions have no majority, drop one")

    @property
    def has_votes(self) -> bool:
        """Whether fields are answered by several votes."""
        return self.votes is not None and self.votes.most > 1

    @property
    def most_votes(self) -> int:
        """Answers that a row may need of the job's model."""
        if self.label is not None:
            return self.label.votes
        return self.votes.most if self.votes is not None else 1

    @property
    def fewest_votes(self) -> int:
        """Answers after which a row can be settled at the earliest."""
        if self.label is not None:
            return self.label.fewest_votes
        return self.votes.fewest if self.votes is not None else 1

    @property
    def escalate(self) -> Escalate | None:
        """The stronger model for rows in doubt."""
        section = self.label or self.votes
        return section.escalate if section is not None else None

    @property
    def gold_column(self) -> str | None:
        """The column that is never shown to the model."""
        if self.label is not None:
            return self.label.gold
        return self.gold.column if self.gold is not None else None

    def _can_have_evidence(self) -> None:
        if self.label is not None:
            raise ValueError("label and evidence cannot be used together: a label is no value that a text states")
        if self.output_schema is None:
            raise ValueError("evidence needs a schema: without one an answer has no fields")
        if self.tools:
            raise ValueError("tools and evidence cannot be used together: a call of a function has no quotes, drop one")
        if self.params.search:
            raise ValueError(
                "params.search and evidence cannot be used together: what a search found stands in no column, drop one"
            )
        for name in self.evidence_columns:
            if name == self.gold_column:
                raise ValueError(f"evidence_columns names {name!r}, the gold column: the model is never shown it")
            if name in self.attachments:
                raise ValueError(f"evidence_columns names {name!r}, an attachment: quotes are looked up in text alone")

    def _can_be_labelled(self, label: Label) -> None:
        for key, value in (("schema", self.output_schema), ("tools", self.tools)):
            if value:
                raise ValueError(f"label and {key} cannot be used together: the schema is made from label, drop {key}")
        if label.votes > 1 and not label.shuffle and self.params.temperature == 0:
            raise ValueError(
                "label.votes with params.temperature: 0 and label.shuffle: false pays for one answer many times: "
                "leave shuffle on, or raise the temperature"
            )
        if label.gold is not None and label.gold in self.attachments:
            raise ValueError(f"the gold column {label.gold!r} is never shown to the model: take it out of attachments")

    def _can_be_packed(self) -> None:
        """Raises ValueError for what belongs to one row's call alone."""
        alone = "ask one row a call (rows_per_call: 1)"
        if self.attachments:
            raise ValueError(f"rows_per_call: rows with attachments cannot share a call: {alone}, or leave them out")
        if self.tools:
            raise ValueError(f"rows_per_call: a function is called for one row: {alone}, or drop the tools")
        if self.params.search:
            raise ValueError(f"rows_per_call: a search is made for one row: {alone}, or drop params.search")
        if self.prompt is None:
            raise ValueError(
                f"rows_per_call: rows that bring their own requests cannot share a call: {alone}, "
                'or name a prompt, such as prompt: "{{ prompt }}"'
            )
        if self.rows_per_call == "auto" and self.gold_column is None:
            raise ValueError(
                "rows_per_call: auto is decided on rows whose right answer is known: name the gold column "
                "(gold, or label.gold), or say how many rows share a call"
            )
        if taken := sorted(PACK_FIELDS & self.params.extra.keys()):
            raise ValueError(f"rows_per_call: params.extra.{taken[0]} shapes one row's answer: {alone}, or drop it")
