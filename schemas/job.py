"""Job: what a user asks for. The job file's model and the flow's parameter are this one class."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from rowmill.schemas.input_sections import Query
from rowmill.schemas.job_keys import JobKeys
from rowmill.schemas.label import Escalate, Label

# Fields of a body that say what one answer looks like, which a call for several rows does itself.
PACK_FIELDS = frozenset(
    {"n", "stop", "response_format", "messages", "contents", "functions", "tools", "generationConfig", "cachedContent"}
)


class Job(JobKeys):
    """A batch: rows in, one typed answer per row out. Paths are relative to the job file."""

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
