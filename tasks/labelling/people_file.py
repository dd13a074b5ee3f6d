"""People's file: what people hand back (a table, lines of JSON, a Label Studio export) → its entries and their places.

It is read by what it holds, not by its ending: encoding, separator and form are found, or it is refused as a whole.
"""

from __future__ import annotations

import codecs
import csv
import io
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rowmill.schemas.errors import InputError
from rowmill.schemas.json_text import JsonTextError, decode_json
from rowmill.tasks.labelling.label_studio import task_entries

log = logging.getLogger("rowmill")
JSON_ENDINGS = frozenset({".json", ".jsonl", ".ndjson"})
TABLE_ENDINGS = frozenset({".csv", ".tsv", ".tab"})
SEPARATORS = (",", ";", "\t", "|")
# UTF-32 first: its mark begins like that of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
# An export puts an apostrophe before what a spreadsheet would run as a formula; it is taken away again.
_SHIELDED = re.compile(r"'+[=+\-@\t\r]")
_SEPARATOR_LINE = re.compile(r"\Asep=(.)\r?\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a file tells of one row: its values by column, and where they stand. Names of columns are plain ones."""

    where: str
    values: Mapping[str, Any]


def plain_name(name: str) -> str:
    """A column's name without case, blanks and hyphens: people write `Row ID` for row_id."""
    return re.sub(r"[\s_-]+", "_", name.strip().lstrip("\ufeff")).strip("_").lower()


@dataclass(frozen=True, slots=True)
class PeopleFile:
    """A file that people handed back. `columns` are those it has, with rows or without."""

    entries: tuple[Entry, ...]
    columns: frozenset[str]


def read_people_file(path: Path, known: Sequence[str]) -> PeopleFile:
    """A file with all its entries. `known` are the names of columns that matter, by which a table's separator is found.

    Raises InputError for a file that cannot be read as a whole.
    """
    text = _text_of(path)
    suffix, start = path.suffix.lower(), text.lstrip()[:1]
    if suffix in JSON_ENDINGS or (start in ("{", "[") and suffix not in TABLE_ENDINGS):
        entries = tuple(_json_entries(text, path))
        return PeopleFile(entries, frozenset(name for entry in entries for name in entry.values))
    return _table(text, path, known)


def _unshielded(text: str) -> str:
    return text[1:] if _SHIELDED.match(text) else text


def _text_of(path: Path) -> str:
    """A file's text. Windows-1252 is what is left where it is no UTF-8: spreadsheets write it without a mark."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=str(path), hint="--gold names a file of labels"
        ) from None
    if raw.startswith(WORKBOOKS):
        raise InputError("this is an Excel workbook", where=str(path), hint="save it as CSV UTF-8, and hand that in")
    encoding = next((name for mark, name in MARKS if raw.startswith(mark)), None) or _unmarked(raw)
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(
            f"not valid {encoding.removesuffix('-sig').upper()}: byte {raw[error.start]:#04x}",
            where=f"{path}, line {line}",
            hint="save it as CSV UTF-8, or as UTF-8 text",
        ) from None
    if "\0" in text:
        raise InputError("this is no text file", where=str(path), hint="hand in CSV, JSON or JSON lines")
    if encoding == "cp1252":
        log.warning("%s is not UTF-8; it was read as Windows-1252", path)
    return text.removeprefix("\ufeff")


def _unmarked(raw: bytes) -> str:
    """The encoding of a file without a mark."""
    head = raw[:4_096]
    if head[1::2].count(0) > len(head) // 4 and not head[::2].count(0):
        return "utf-16-le"
    if head[::2].count(0) > len(head) // 4 and not head[1::2].count(0):
        return "utf-16-be"
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _json_entries(text: str, path: Path) -> Iterator[Entry]:
    if text.lstrip().startswith("["):
        yield from _array_entries(text, path)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                value = decode_json(line)
            except JsonTextError as error:
                raise InputError(f"not valid JSON: {error}", where=where, hint="each line is one JSON object") from None
            if not isinstance(value, dict):
                raise InputError("a JSON object is expected", where=where, hint="each line needs `row_id` and `gold`")
            yield from _object_entries(value, where)


def _array_entries(text: str, path: Path) -> Iterator[Entry]:
    try:
        tasks = decode_json(text)
    except JsonTextError as error:
        raise InputError(
            f"not valid JSON: {error}", where=str(path), hint="export as JSON, or use .jsonl or .csv"
        ) from None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise InputError("a list of tasks is expected", where=str(path), hint="export as JSON")
    for number, task in enumerate(tasks, 1):
        yield from _object_entries(task, f"{path}, entry {number}")


def _object_entries(value: Mapping[str, Any], where: str) -> Iterator[Entry]:
    if "data" in value and ("annotations" in value or "completions" in value or "predictions" in value):
        for found in task_entries(value, where):
            yield Entry(where, _by_plain_name(found.items(), where))
    else:
        yield Entry(where, _by_plain_name(value.items(), where))


def _table(text: str, path: Path, known: Sequence[str]) -> PeopleFile:
    entries: list[Entry] = []
    skipped = 0
    if (told := _SEPARATOR_LINE.match(text)) is not None:
        text, skipped = text[told.end() :], 1
    separator = told[1] if told else _separator(text, known)
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = next((cells for cells in reader if any(map(str.strip, cells))), [])
        for cells in reader:
            where = f"{path}, line {reader.line_num + skipped}"
            if not any(map(str.strip, cells)):
                continue
            if any(map(str.strip, cells[len(header) :])):
                raise InputError(
                    f"{len(cells)} cells under {len(header)} columns",
                    where=where,
                    hint="put cells that hold the separator in quotes, as spreadsheets do",
                )
            filled = [*cells, *[""] * (len(header) - len(cells))]
            entries.append(Entry(where, _by_plain_name(zip(header, map(_unshielded, filled), strict=False), where)))
    except csv.Error as error:
        raise InputError(
            f"not readable as a table: {error}",
            where=f"{path}, line {reader.line_num + skipped}",
            hint="save it as CSV from a spreadsheet",
        ) from None
    return PeopleFile(tuple(entries), frozenset(filter(None, map(plain_name, header))))


def _separator(text: str, known: Sequence[str]) -> str:
    """The separator under which the header names most columns that matter; of equals the one that parts it most."""
    lines = text.lstrip("\r\n")
    best = (0, 0, ",")
    for separator in SEPARATORS:
        try:
            header = next(csv.reader(io.StringIO(lines, newline=""), delimiter=separator), [])
        except csv.Error:
            continue
        names = {plain_name(name) for name in header}
        seen = (len(names & set(known)), len(header), separator)
        if seen[:2] > best[:2]:
            best = seen
    return best[2]


def _by_plain_name(values: Any, where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values:
        plain = plain_name(str(name))
        if plain and found.get(plain, value) != value:
            raise InputError(
                f"two columns are named {plain!r} and differ", where=where, hint="rename or delete one of the two"
            )
        found[plain] = value
    return found
