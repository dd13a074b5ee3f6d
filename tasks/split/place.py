"""Split place: where the parts of a job stand, and what is written down of the split beside them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import msgspec

from rowmill.schemas.errors import DamageError, OutputError
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Manifest
from rowmill.schemas.part_of import InputPlace
from rowmill.tasks.input.divide import Extent
from rowmill.tasks.job.yaml_scalars import yaml_of
from rowmill.tasks.output.bucket.objects import Objects
from rowmill.tasks.output.layout import MANIFEST, PARTS, SPLIT
from rowmill.tasks.output.location import in_bucket
from rowmill.tasks.output.manifest_file import manifest_in, read_manifest
from rowmill.tasks.system.durable import private_folder, write_file


class Split(msgspec.Struct, frozen=True):
    """How a job is split: into which ranges of its input (`asked` is how many were wanted), and for how many parts at a
    time its limits are divided. `job` is the whole job as JSON values.
    """

    name: str
    job: dict[str, Any]
    asked: int
    at_once: int
    extents: tuple[Extent, ...]

    @property
    def output(self) -> str:
        """Where the whole's output stands."""
        return str(self.job["output"])

    @property
    def whole(self) -> Job:
        """The job that is split."""
        return Job.model_validate(self.job)


def parts_of(output: str) -> str:
    """Where the parts of an output stand: within it on disk, beside it in a bucket, where it is one prefix."""
    output = output.rstrip("/")
    return f"{output}-{PARTS}" if in_bucket(output) else f"{output}/{PARTS}"


def part_name(number: int) -> str:
    """A part's name; names are in the order of the input."""
    return f"{number:04d}"


def part_output(output: str, number: int) -> str:
    """Where a part's own output stands."""
    return f"{parts_of(output)}/{part_name(number)}"


def run_command(output: str, number: int) -> str:
    """What runs a part, for people. The job files of an output in a bucket are beside the job that was split."""
    if in_bucket(output):
        return f"rowmill run {part_name(number)}.yaml where the job was split"
    return f"rowmill run {shlex.quote(part_output(output, number))}.yaml"


def merge_command(output: str) -> str:
    """What merges the parts, for people."""
    return f"rowmill merge {shlex.quote(output)}"


def read_split(output: str) -> Split | None:
    """How the job of an output is split; None where it is not. Raises DamageError, OutputError."""
    try:
        if in_bucket(output):
            content = Objects(parts_of(output)).get(SPLIT)
        else:
            content = (Path(parts_of(output)) / SPLIT).read_bytes()
        return msgspec.json.decode(content, type=Split, dec_hook=_decoded)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, ValueError) as error:
        raise DamageError(
            f"it cannot be read: {error}",
            where=f"{parts_of(output)}/{SPLIT}",
            hint="restore it, or set the parts aside and split the job again",
        ) from None
    except OSError as error:
        raise OutputError(
            f"it cannot be read: {error.strerror or error}", where=f"{parts_of(output)}/{SPLIT}", hint="try again"
        ) from None


def _decoded(kind: Any, told: Any) -> Any:
    return kind.model_validate(told)


def part_manifest(output: str, number: int) -> Manifest | None:
    """run.json of a part, None where it was never run. Raises DamageError, OutputError."""
    where = part_output(output, number)
    if not in_bucket(where):
        return read_manifest(Path(where))
    try:
        content = Objects(where).get(MANIFEST)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamageError(f"cannot be read: {error}", where=f"{where}/{MANIFEST}", hint="run the part again") from None
    return manifest_in(content, f"{where}/{MANIFEST}")


def write_split(split: Split) -> None:
    """Raises OutputError, StorageError."""
    content = msgspec.json.format(msgspec.json.encode(split, enc_hook=InputPlace.model_dump), indent=1)
    where = parts_of(split.output)
    try:
        if in_bucket(split.output):
            objects = Objects(where)
            try:
                before: str | None = objects.get_tagged(SPLIT)[1]
            except FileNotFoundError:
                before = None
            objects.put(SPLIT, content, over=before)
        else:
            private_folder(Path(where))
            write_file(Path(where) / SPLIT, content)
    except OSError as error:
        raise OutputError(
            f"it cannot be written: {error.strerror or error}", where=f"{where}/{SPLIT}", hint="try again"
        ) from None


def write_job(job: Job, path: Path) -> None:
    """A part's job as a file. Raises StorageError."""
    told = job.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    text = yaml_of(told, width=10**6)
    write_file(path, f"# {job.part_of.title if job.part_of else ''}, by rowmill split\n{text}".encode())
