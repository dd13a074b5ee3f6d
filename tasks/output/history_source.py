"""History source: what an output's history is read from, wherever the output stands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rowmill.schemas.errors import OutputError
from rowmill.schemas.history import RunRecord
from rowmill.schemas.manifest import Manifest
from rowmill.tasks.output.bucket.objects import Objects
from rowmill.tasks.output.history import HISTORY, records_in
from rowmill.tasks.output.layout import MANIFEST
from rowmill.tasks.output.location import in_bucket, output_to_read
from rowmill.tasks.output.manifest_file import manifest_in, manifest_of


def bucket_history(address: str) -> list[RunRecord] | None:
    """The runs of an output in a bucket, from two small objects; None where they do not tell of every run, or where no
    bucket is named: then the output itself has to be at hand. Raises OutputError, DamageError.
    """
    if not in_bucket(address):
        return None
    objects = Objects(address)
    try:
        manifest = manifest_in(objects.get(MANIFEST), f"{objects.url}/{MANIFEST}")
        records = records_in(objects.get(HISTORY), f"{objects.url}/{HISTORY}")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(str(error.strerror), where=address, hint="mend the bucket or its credentials") from None
    known = {record.run_id for record in records if record.shares is not None}
    # Of runs that found nothing to do one a day is on record.
    told = {one.run_id for one in manifest.sessions if not one.is_idle}
    return records if told <= known else None


@contextmanager
def history_at_hand(address: str) -> Iterator[tuple[Path, Manifest]]:
    """An output's folder and its run.json. Raises OutputError where there is no run, DamageError."""
    with output_to_read(address) as root:
        yield root, manifest_of(root)
