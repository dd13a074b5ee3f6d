"""Listing: the files of an input, in order, each with its format and the columns that its folders name."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from rowmill.schemas.display_text import counted
from rowmill.schemas.errors import InputError
from rowmill.schemas.input_sections import Csv
from rowmill.schemas.job import Job
from rowmill.schemas.part_of import InputPlace, PartOf
from rowmill.tasks.input.files import AS_SEEN, InputFile, Place, name_of
from rowmill.tasks.input.formats import FORMATS, format_of, format_of_ending, reading_of
from rowmill.tasks.input.patterns import files_matching
from rowmill.tasks.input.stored import is_stored, stored_file
from rowmill.tasks.system.buckets import bucket_files, scheme_of

KINDS = ".jsonl, .json, .csv, .tsv (each also .gz or .zst), .parquet or .arrow"
# What Hive writes for a null.
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_PARTITION = re.compile(r"([^=/]+)=([^/]*)")
# Files of these kinds have always been read together; of the others a folder holds one kind.
MIXED = {"jsonl", "parquet"}
NOTES_MOST = 3
RELATIVE = "`input` is relative to the job file, -i to the working directory"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a job says of how its files are read, where that is not what they show."""

    format: str = ""
    csv: Csv = AS_SEEN


AS_FOUND = Reading()


def job_files(job: Job, root: Path | None = None) -> list[InputFile]:
    """The files of a job's input: what is stored of it in its output's folder (`root`) where it cannot be read twice.

    Raises InputError.
    """
    if is_stored(job):
        path = stored_file(Path(job.output) if root is None else root)
        return [InputFile(path, format_of(InputFile(path, "")), csv=job.csv)]
    assert isinstance(job.input, str)
    files = input_files(job.input, Reading(job.input_format or "", job.csv))
    return files if job.part_of is None else files_of_part(files, job.part_of)


def files_of_part(files: list[InputFile], part: PartOf) -> list[InputFile]:
    """The files that hold the rows of one part of a job, the first and the last of them perhaps in part.

    Raises InputError where the file is gone at which a part begins.
    """
    names = [name_of(file) for file in files]
    end = len(files)
    if part.end is not None:
        end = _place(names, part.end, part)
        if part.end.line:
            files = [*files[:end], replace(files[end], end=part.end.line)]
            end += 1
    if part.first is None:
        return files[:end]
    first = _place(names, part.first, part)
    begun = replace(files[first], offset=part.first.offset, skipped=part.first.line)
    return [begun, *files[first + 1 : end]]


def _place(names: Sequence[str], at: InputPlace, part: PartOf) -> int:
    if at.file not in names:
        raise InputError(
            f"{part.title} reaches from or to this file, which is not in the input any more",
            where=at.file,
            hint="put it back, or split the job into another output",
        )
    return names.index(at.file)


def input_files(pattern: str, reading: Reading = AS_FOUND) -> list[InputFile]:
    """The files of an input, in sorted order. Raises InputError where there is none or one is of no known kind."""
    if scheme_of(pattern) is not None:
        return _in_bucket(pattern, reading)
    if "://" in pattern:
        raise _no_address(pattern)
    path = Path(pattern)
    if path.is_dir():
        return _in_folder(path, reading)
    if path.is_file():
        return _read_as([path], reading)
    if not glob.has_magic(pattern):
        raise InputError("no such file or folder", where=pattern, hint=RELATIVE)
    places = [Path(name) for name in files_matching(pattern)]
    if not places:
        raise InputError("no file matches this pattern", where=pattern, hint=RELATIVE)
    return _read_as(places, reading)


def _in_folder(path: Path, reading: Reading) -> list[InputFile]:
    places = [p for p in sorted(path.rglob("*")) if p.is_file() and _is_known(p, reading) and not _is_hidden(p, path)]
    if not places:
        raise InputError(f"the folder holds no {KINDS} file", where=str(path), hint="name another folder, or a file")
    return _alike(_read_as(places, reading), str(path))


def _in_bucket(pattern: str, reading: Reading) -> list[InputFile]:
    places = [file for file in bucket_files(pattern) if _is_known(file, reading)]
    if not places:
        raise InputError(f"no {KINDS} object is there", where=pattern, hint="name another object or prefix")
    return _alike(_read_as(places, reading), pattern)


def _no_address(pattern: str) -> InputError:
    scheme = pattern.partition("://")[0]
    if scheme in ("http", "https"):
        # A page may say something else each time, and a run must be able to read its rows again.
        name = PurePosixPath(urlsplit(pattern).path).name or "rows.jsonl"
        hint = f"download it first: curl -fLo {name} '{pattern}', and name {name}"
        return InputError("an input is not read from the web", where=pattern, hint=hint)
    others = {"gcs": "gs://", "abfs": "az://", "abfss": "az://", "wasbs": "az://", "s3a": "s3://", "s3n": "s3://"}
    if scheme == "file":
        return InputError("a path is written without file://", where=pattern, hint="leave it out")
    if scheme in ("postgresql", "postgres", "duckdb", "sqlite", "mysql"):
        hint = 'write it as input: {query: "SELECT ...", connection: ...}'
        return InputError("a database gives rows by a query", where="input", hint=hint)
    hint = f"write it as {others[scheme]}..." if scheme in others else "inputs are at s3://, gs://, az:// or on disk"
    return InputError(f"{scheme}:// is no address of an input", where=pattern, hint=hint)


def _is_known(place: Place, reading: Reading) -> bool:
    return bool(reading.format) or format_of_ending(place.name) is not None


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.relative_to(root).parts)


def _read_as(places: Sequence[Place], reading: Reading) -> list[InputFile]:
    files = [InputFile(place, reading.format, partition_of(place), reading.csv) for place in places]
    return [replace(file, format=format_of(file)) for file in files]


def _alike(files: list[InputFile], where: str) -> list[InputFile]:
    """The files of a folder, which hold rows of one kind: a file beside its own copy in another is not meant."""
    kinds = Counter(file.format for file in files)
    if len(kinds) > 1 and set(kinds) - MIXED:
        told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
        raise InputError(
            f"the folder holds files of several kinds ({told})", where=where,
            hint="name those of one by a pattern, such as data/*.csv",
        )  # fmt: skip
    return files


def partition_of(place: Place) -> tuple[tuple[str, str | None], ...]:
    """The columns that the folders right above a file name, as in `year=2026/month=01/part.parquet`."""
    parts = place.parent.parts
    found: list[tuple[str, str | None]] = []
    for part in reversed(parts):
        match = _PARTITION.fullmatch(part)
        if match is None:
            break
        name, value = map(unquote, match.groups())
        found.append((name, None if value == NO_VALUE else value))
    return tuple(dict(reversed(found)).items())


def reading_notes(files: Sequence[InputFile]) -> list[str]:
    """How files are read where that was seen in their beginning, a sentence each. Raises InputError, OSError."""
    seen = [file for file in files if FORMATS[file.format].reading is not None]
    told = ((file, reading_of(file)) for file in seen[:NOTES_MOST])
    found = [f"{file.name} is read with {reading.sentence}" for file, reading in told if reading is not None]
    more = (
        [f"{counted(len(seen) - NOTES_MOST, 'more file')}, each as its beginning shows"]
        if len(seen) > NOTES_MOST
        else []
    )
    return [*found, *more]
