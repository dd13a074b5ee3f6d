"""Stage: the gateway, what starts runs, and where outputs stand. What costs much begins when the first walk needs it."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq

from tests.law.gateway import Gateway
from tests.law.runs import Runner

WORKERS = 2


def in_memory() -> str | None:
    """Where folders cost no disk; a kill of a process loses nothing of either."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


class Place(Protocol):
    """Where one output stands."""

    # As the job names it.
    address: str

    def environment(self, run: int) -> dict[str, str]:
        """What the walk's run of this number knows beside the gateway."""
        ...

    def manifest(self) -> dict[str, Any] | None:
        """run.json, where there is one."""
        ...

    def results(self) -> list[dict[str, Any]]:
        """All results rows in the order of the parts."""
        ...


class Disk:
    """An output in a folder."""

    address = "out"

    def __init__(self, folder: Path) -> None:
        self._out = folder / self.address

    def environment(self, run: int) -> dict[str, str]:
        return {}

    def manifest(self) -> dict[str, Any] | None:
        path = self._out / "run.json"
        return json.loads(path.read_bytes()) if path.exists() else None

    def results(self) -> list[dict[str, Any]]:
        return [row for part in sorted((self._out / "results").glob("part-*.parquet")) for row in _rows(part)]


class Bucket:
    """An output in a bucket, written by so many machines in turn: each has nothing but its own folder and the bucket."""

    def __init__(self, store: Store, folder: Path, machines: int) -> None:
        self._store, self._folder, self._machines = store, folder, machines
        self._prefix = f"{next(store.numbers)}/out/"
        self.address = f"s3://{store.bucket}/{self._prefix}"

    def environment(self, run: int) -> dict[str, str]:
        machine = self._folder / f"machine-{run % self._machines}"
        return {**self._store.environment, "ROWMILL_WORK_DIR": str(machine)}

    def manifest(self) -> dict[str, Any] | None:
        found = self._store.objects(f"{self._prefix}run.json")
        return json.loads(next(iter(found.values()))) if found else None

    def results(self) -> list[dict[str, Any]]:
        parts = self._store.objects(f"{self._prefix}results/part-")
        return [row for _, part in sorted(parts.items()) for row in _rows(io.BytesIO(part))]


def _rows(part: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(part, use_threads=False).to_pylist()
    return found


class Store:
    """A bucket on a server that speaks S3, by a client of it, and the numbers of the outputs in it."""

    def __init__(self, client: Any) -> None:
        from tests.buckets import BUCKET, environment_of

        self._client, self.bucket = client, BUCKET
        self.environment = environment_of(client.meta.endpoint_url)
        self.numbers = count()

    def objects(self, prefix: str) -> dict[str, bytes]:
        """The objects below a prefix by name."""
        from tests.buckets import objects_below

        return objects_below(self._client, prefix)


class Cluster:
    """A scheduler of Dask and its workers."""

    def __init__(self, runner: Runner, gateway: Gateway, environment: Mapping[str, str]) -> None:
        """`environment` is what its workers know, beside the key."""
        self._runner, self._gateway, self._environment = runner, gateway, environment
        self._folder = Path(tempfile.mkdtemp(dir=in_memory(), prefix="law-"))
        _, self.address = runner.start("scheduler", self._folder)

    def fill(self) -> None:
        """Start workers in the place of those that were killed."""
        workers = self._gateway.workers
        workers -= {pid for pid in workers if not _lives(pid)}
        while len(workers) < WORKERS:
            started = self._runner.start("worker", self._folder, self.address, environment=self._environment)
            workers.add(started[0])

    def close(self) -> None:
        self._gateway.workers.clear()
        shutil.rmtree(self._folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Stage:
    """All that walks need."""

    def __init__(self) -> None:
        self.gateway, self.runner = Gateway(), Runner()
        self._opened = ExitStack()

    @cached_property
    def store(self) -> Store:
        # A second that only walks in a bucket pay for.
        from tests.buckets import s3_bucket

        return Store(self._opened.enter_context(s3_bucket()))

    @cached_property
    def cluster(self) -> Cluster:
        cluster = Cluster(self.runner, self.gateway, self.store.environment)
        self._opened.callback(cluster.close)
        return cluster

    def close(self) -> None:
        self._opened.close()
        self.runner.close()
        self.gateway.close()


@contextmanager
def staged() -> Iterator[Stage]:
    stage = Stage()
    try:
        yield stage
    finally:
        stage.close()
