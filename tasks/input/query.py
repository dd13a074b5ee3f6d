"""Query: the rows that a database gives, with their types, without ever holding all of them."""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from rowmill.schemas.errors import InputError
from rowmill.schemas.input_sections import Query
from rowmill.tasks.input.typed_columns import Table, typed

BATCH_ROWS = 10_000
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
EXTRA = "pip install 'rowmill[sql]'"
# What PostgreSQL sends in a form of its own that Arrow has no type for, or (money) without its decimals.
_NOT_MONEY = "money"


@contextmanager
def query_table(query: Query, environment: Mapping[str, str] = os.environ) -> Iterator[Table]:
    """The rows of a query. Raises InputError, in which no value of the environment stands."""
    connection, secrets = _filled(query.connection or "", environment)
    scheme = connection.partition("://")[0].partition("+")[0] or "duckdb"
    if scheme not in _SOURCES:
        raise InputError(
            "the connection begins with none of duckdb://, sqlite://, postgresql://",
            where=query.connection or "",
            hint="see docs/guides/inputs.md",
        )
    path = connection.partition("://")[2]
    try:
        with _SOURCES[scheme](query, path) as table:
            yield table
    except (ValueError, OSError, RuntimeError, sqlite3.Error, pa.ArrowException, _OfDriver) as error:
        raise InputError(
            f"the query failed: {_without(str(error), secrets)}",
            where=query.connection or "duckdb",
            hint="try it in the database's own shell",
        ) from None


class _OfDriver(Exception):
    """What a driver's own error says."""


def _filled(connection: str, environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """The connection with the variables it names, and what of it must be told to nobody. Raises InputError."""
    names = _VARIABLE.findall(connection)
    for name in names:
        if name not in environment:
            raise InputError(
                f"the connection names {name}, which is not in the environment",
                where=connection,
                hint=f"export {name}=...",
            )
    if connection == "".join(f"${{{name}}}" for name in names):
        return "".join(environment[name] for name in names), [*_secrets(environment), *(environment[n] for n in names)]
    filled = _VARIABLE.sub(lambda match: quote(environment[match.group(1)], safe=""), connection)
    given = [environment[name] for name in names]
    return filled, [*_secrets(environment), *given, *(quote(one, safe="") for one in given)]


def _secrets(environment: Mapping[str, str]) -> list[str]:
    return [environment[name] for name in ("PGPASSWORD", "motherduck_token") if environment.get(name)]


def _without(text: str, secrets: list[str]) -> str:
    text = " ".join(text.split())
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text[:500]


@contextmanager
def _of_duckdb(query: Query, path: str) -> Iterator[Table]:
    try:
        import duckdb
    except ImportError:
        raise InputError("queries need DuckDB", where=query.connection or "input", hint=EXTRA) from None
    database = _database(query, path)
    if database and not Path(database).is_file():
        raise InputError("no such database", where=database, hint="`connection` is relative to the job file")
    try:
        with (
            tempfile.TemporaryDirectory(prefix="rowmill-") as scratch,
            closing(duckdb.connect(database or ":memory:", read_only=bool(database))) as connection,
        ):
            settings = {"python_enable_replacements": False, "temp_directory": scratch}
            for name, value in {**settings, "file_search_path": query.folder or "."}.items():
                connection.execute(f"SET {name} = ?", [value])
            relation = connection.sql(query.query)
            if relation is None:
                raise _no_rows(query)
            batches = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch
            yield _table(batches(BATCH_ROWS))
    except duckdb.Error as error:
        raise _OfDriver(str(error)) from None


@contextmanager
def _of_sqlite(query: Query, path: str) -> Iterator[Table]:
    database = _database(query, path)
    if not Path(database).is_file():
        raise InputError("no such database", where=database, hint="`connection` is relative to the job file")
    with closing(sqlite3.connect(f"file:{quote(database)}?mode=ro", uri=True)) as connection:
        connection.text_factory = _text_or_bytes
        found = connection.execute(query.query)
        if found.description is None:
            raise _no_rows(query)
        with typed([column[0] for column in found.description], found) as table:
            yield table


def _text_or_bytes(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


@contextmanager
def _of_postgresql(query: Query, path: str) -> Iterator[Table]:
    try:
        from adbc_driver_manager import Error
        from adbc_driver_postgresql import dbapi
    except ImportError:
        raise InputError("PostgreSQL needs its driver", where=query.connection or "", hint=EXTRA) from None
    try:
        with closing(dbapi.connect(f"postgresql://{path}")) as connection, closing(connection.cursor()) as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute(query.query)
            if cursor.description is None:
                raise _no_rows(query)
            reader = cursor.fetch_record_batch()
            for field in reader.schema:
                _refuse_foreign(field, query)
            yield _table(reader)
    except Error as error:
        raise _OfDriver(str(error)) from None


def _refuse_foreign(field: pa.Field, query: Query) -> None:
    """Raises InputError for a column whose values Arrow has no type for."""
    told = (field.metadata or {}).get(b"POSTGRESQL:type", b"").decode()
    is_foreign = getattr(field.type, "extension_name", "") == "arrow.opaque" and field.type.storage_type == pa.binary()
    if is_foreign or told == _NOT_MONEY:
        cast = "numeric" if told == _NOT_MONEY else "text"
        raise InputError(
            f"the column {field.name!r} is of PostgreSQL's type {told or field.type}, which has no other form",
            where=query.connection or "",
            hint=f"cast it in the query: {field.name}::{cast}",
        )


def _table(reader: Any) -> Table:
    """The batches of a reader without the names of types that only its driver knows."""
    fields = [pa.field(field.name, _plain(field.type)) for field in reader.schema]
    schema = pa.schema(fields)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            arrays = [
                column.storage
                if isinstance(column.type, pa.BaseExtensionType) and column.type != field.type
                else column
                for column, field in zip(batch.columns, fields, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return Table(schema, batches())


def _plain(type_: pa.DataType) -> pa.DataType:
    is_named = isinstance(type_, pa.BaseExtensionType) and type_.extension_name != "arrow.uuid"
    return type_.storage_type if is_named else type_


def _database(query: Query, path: str) -> str:
    """The file of a connection, as SQLAlchemy has it: three slashes and a relative path, four and an absolute one."""
    name = path.removeprefix("/")
    return "" if name in ("", ":memory:") else str(Path(query.folder or ".", name))


def _no_rows(query: Query) -> InputError:
    return InputError("the query gives no rows", where=query.connection or "duckdb", hint="write a SELECT")


_SOURCES: Mapping[str, Callable[[Query, str], AbstractContextManager[Table]]] = {
    "duckdb": _of_duckdb,
    "sqlite": _of_sqlite,
    "postgresql": _of_postgresql,
    "postgres": _of_postgresql,
}
