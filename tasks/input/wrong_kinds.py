"""Wrong kinds: files that hold no rows as they are; what each is, and the line that makes rows of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WrongKind:
    """A kind of file by its endings and its first bytes. `way` is the line that converts {file}."""

    what: str
    endings: tuple[str, ...]
    magic: tuple[bytes, ...]
    way: str


_OFFICE = "libreoffice --headless --convert-to csv:'Text - txt - csv (StarCalc)':44,34,76 {file}"
_POLARS = "python -c \"import polars as pl; pl.read_{kind}('{file}').write_parquet('{stem}.parquet')\""
_PANDAS = "python -c \"import pandas as pd; pd.read_{kind}('{file}').to_parquet('{stem}.parquet')\""
_ARROW = (
    "python -c \"import pyarrow.{kind} as k, pyarrow.parquet as p; p.write_table(k.read_table('{file}'), "
    "'{stem}.parquet')\""
)

WRONG_KINDS = (
    WrongKind(
        "an Excel workbook of the old kind",
        (".xls", ".xlt"),
        (b"\xd0\xcf\x11\xe0",),
        f"save it as .xlsx, or: {_OFFICE}",
    ),
    WrongKind("a binary Excel workbook", (".xlsb",), (), f"save it as .xlsx, or: {_OFFICE}"),
    WrongKind("an OpenDocument sheet", (".ods",), (), f"save it as .xlsx, or: {_OFFICE}"),
    WrongKind("an Avro file", (".avro",), (b"Obj\x01",), _POLARS.replace("{kind}", "avro")),
    WrongKind("an ORC file", (".orc",), (b"ORC",), _ARROW.replace("{kind}", "orc")),
    WrongKind("a Feather file of version 1", (), (b"FEA1",), _ARROW.replace("{kind}", "feather")),
    WrongKind(
        "a SQLite database",
        (".sqlite", ".sqlite3", ".db3"),
        (b"SQLite format 3\x00",),
        'name a query in the job: input: {{query: "SELECT * FROM table", connection: "sqlite:///{file}"}}',
    ),
    WrongKind(
        "a DuckDB database",
        (".duckdb",),
        (),
        'name a query in the job: input: {{query: "SELECT * FROM table", connection: "duckdb:///{file}"}}',
    ),
    WrongKind(
        "a PDF document",
        (".pdf",),
        (b"%PDF-",),
        "pdftotext {file}, and write one JSON object a line; or name PDFs in a column of `attachments`",
    ),
    WrongKind(
        "a Word document", (".docx", ".doc", ".odt"), (), "pandoc -t plain {file}, then write one JSON object a line"
    ),
    WrongKind(
        "an HTML page",
        (".html", ".htm"),
        (b"<!DOCTYPE html", b"<html"),
        "take its rows out: pandas.read_html, then write Parquet or CSV",
    ),
    WrongKind("an XML document", (".xml",), (b"<?xml",), _PANDAS.replace("{kind}", "xml")),
    WrongKind("a YAML document", (".yaml", ".yml"), (), "yq -o=json -I=0 '.[]' {file} > {stem}.jsonl"),
    WrongKind(
        "an archive",
        (".zip", ".7z", ".rar"),
        (b"PK\x05\x06", b"7z\xbc\xaf", b"Rar!"),
        "unzip it, and name the folder or the file in it",
    ),
    WrongKind(
        "an archive",
        (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz"),
        (),
        "tar -xf {file}, and name the folder or the file in it",
    ),
    WrongKind("compressed by bzip2", (".bz2",), (b"BZh",), "bzip2 -d {file}; .gz and .zst are read as they are"),
    WrongKind("compressed by xz", (".xz",), (b"\xfd7zXZ",), "xz -d {file}; .gz and .zst are read as they are"),
    WrongKind(
        "compressed by lz4", (".lz4",), (b"\x04\x22\x4d\x18",), "lz4 -d {file}; .gz and .zst are read as they are"
    ),
    WrongKind(
        "a Stata, SPSS or SAS file",
        (".dta", ".sav", ".sas7bdat"),
        (),
        "read it by pandas (read_stata, read_spss, read_sas) and write Parquet",
    ),
    WrongKind(
        "a pickle, which may run code when it is read",
        (".pkl", ".pickle"),
        (),
        _PANDAS.replace("{kind}", "pickle") + ", if you trust it",
    ),
    WrongKind(
        "a picture",
        (".png", ".jpg", ".jpeg", ".gif", ".webp"),
        (b"\x89PNG", b"\xff\xd8\xff"),
        "name pictures in a column of `attachments`, one row each",
    ),
)


def wrong_kind(name: str, head: bytes) -> WrongKind | None:
    """What a file is, by its ending or its first bytes; None where neither tells it."""
    lower = name.lower()
    for kind in WRONG_KINDS:
        if lower.endswith(kind.endings) or head.startswith(kind.magic):
            return kind
    if head.startswith(b"PK\x03\x04"):
        return zipped_kind(head)
    return None


def zipped_kind(head: bytes) -> WrongKind | None:
    """What a ZIP file is, by the names in its beginning; None for an Excel workbook."""
    if b"xl/" in head or (b"[Content_Types].xml" in head and b"word/" not in head):
        return None
    of_name = {kind.what: kind for kind in WRONG_KINDS}
    if b"opendocument.spreadsheet" in head:
        return of_name["an OpenDocument sheet"]
    return (
        of_name["a Word document"]
        if b"word/" in head or b"opendocument.text" in head
        else next(kind for kind in WRONG_KINDS if ".zip" in kind.endings)
    )


def way_out(kind: WrongKind, path: str) -> str:
    """The line that converts this file."""
    stem = path.rsplit("/", 1)[-1].partition(".")[0] or "rows"
    return f"to get at its rows: {kind.way.format(file=path, stem=stem)}"
