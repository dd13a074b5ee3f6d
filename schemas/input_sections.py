"""Input sections: how delimited files are written, and the query that gives a job its rows."""

from __future__ import annotations

import codecs
import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from rowmill.schemas.section import Part


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

    @field_validator("separator", mode="before")
    @classmethod
    def _tab(cls, value: object) -> object:
        # As it is written without quotes in YAML.
        return "\t" if value == "\\t" else value

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
