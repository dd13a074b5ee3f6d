"""Work: one shard as it is given to a worker, and what comes back. Everything needed is in it, the API key excepted."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from rowmill.schemas.catalogue import Model
from rowmill.schemas.job import Job
from rowmill.schemas.row import Shard
from rowmill.schemas.termination import Termination
from rowmill.tasks.gateway.admission.deadline import Deadline
from rowmill.tasks.run.manifest_builder import rowmill_version


@dataclass(frozen=True, slots=True)
class StoredInput:
    """Rows that are stored in an output: their file there, its size and blake2b-128, and the name under which the
    coordinator knows it.
    """

    file: str
    size: int
    digest: str
    known_as: str


@dataclass(frozen=True, slots=True)
class ShardWork:
    """Rows of one shard to ask, as `ranges` of positions (both ends inclusive), under the lease `token`.

    `models` are all that the job may ask, with their prices; `group` tells that a worker has the same key. Where the
    output stands in a bucket, `address` is its, and the shard's journal so far is of `base` bytes: `before` where they
    are few, else in the objects `journal`; `conditional` where that bucket holds to the conditions of a write. `stored`
    are the rows there, where the input cannot be read twice. Where a lease of the run has ended before, `begins_wide`
    tells that nothing is to be felt out once more, but for the `window` of calls that failures left, where they did.
    """

    run_id: str
    token: str
    job: Job
    sandbox: bool
    base_url: str
    group: str
    models: Mapping[str, Model]
    fingerprint: str
    keep_types: Mapping[str, pa.DataType]
    shard: Shard
    ranges: tuple[tuple[int, int], ...]
    deadline: Deadline | None = None
    address: str | None = None
    journal: tuple[str, ...] = ()
    base: int = 0
    before: bytes | None = field(default=None, repr=False)
    conditional: bool = True
    stored: StoredInput | None = None
    begins_wide: bool = False
    window: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """How the work of a lease ended. `refused` tells why this worker cannot do it, `taken` that another process had
    taken the lease up before; `spent` is the lease's cost and what it may have cost, in 10⁻¹² USD; `window` is what
    failures left of the calls in flight. One that is not `whole` could not store what its last calls brought.
    """

    worker: str
    refused: str | None = None
    taken: bool = False
    halt: Termination | None = None
    spent: int = 0
    verified: bool = False
    window: int | None = None
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Parcel:
    """A piece of work as the engine carries it: opened only where the same version of rowmill stands."""

    version: str
    content: bytes = field(repr=False)


def packed(work: ShardWork) -> Parcel:
    return Parcel(rowmill_version(), pickle.dumps(work))


def unpacked(parcel: Parcel) -> ShardWork:
    work = pickle.loads(parcel.content)
    assert isinstance(work, ShardWork)
    return work
