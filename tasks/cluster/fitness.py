"""Fitness: whether a process can work for a run: the same rowmill, key, output and rows as its coordinator's."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rowmill.schemas.errors import InputError
from rowmill.tasks.cluster.mailbox import GRANTS, LeaseGrants
from rowmill.tasks.cluster.messages import Parcel, ShardWork, unpacked
from rowmill.tasks.cluster.worker_input import input_of
from rowmill.tasks.cluster.worker_output import mailbox_of, refused_by
from rowmill.tasks.gateway.admission.shared_limits import group_of
from rowmill.tasks.gateway.credentials import SANDBOX_KEY
from rowmill.tasks.input.files import InputFile
from rowmill.tasks.input.shard_cut import digest_of
from rowmill.tasks.run.manifest_builder import rowmill_version


def unfit(parcel: Parcel, environment: Mapping[str, str] = os.environ) -> str | None:
    """Why this process cannot work for that run; None where it can."""
    if (reason := unlike(parcel, environment)) is not None:
        return reason
    work = unpacked(parcel)
    if (reason := refused_by(work)) is not None:
        return reason
    grants = mailbox_of(work).read(GRANTS, LeaseGrants)
    return None if grants is not None and grants.run == work.run_id else elsewhere(work)


def unlike(parcel: Parcel, environment: Mapping[str, str]) -> str | None:
    """What differs here from the run, of what a process knows without asking anyone; None where nothing does."""
    version = rowmill_version()
    if parcel.version != version:
        return f"rowmill {version} is installed there, and this run is of {parcel.version}: install the same"
    if key_of(unpacked(parcel), environment) is None:
        told = "another one" if environment.get("ROWMILL_API_KEY") else "not set"
        return f"ROWMILL_API_KEY is {told} there: give every worker the run's key in its environment"
    return None


def elsewhere(work: ShardWork) -> str:
    """Why a process that does not find the coordinator's grants cannot work for its run."""
    if work.address is not None:
        return f"{work.address} is another bucket there: give every worker the coordinator's address of its server"
    return f"{work.job.output} is another folder there: name an output on a file system that all machines mount"


def files_of(work: ShardWork) -> list[InputFile] | None:
    """The input's files, where the shard's rows in them are those of the run.

    Raises InputError, OutputError where the rows that the output stores cannot be had.
    """
    if work.stored is not None:
        return _with_its_rows(work, input_of(work))
    try:
        return _with_its_rows(work, input_of(work))
    except (InputError, ValueError, OSError):
        return None


def _with_its_rows(work: ShardWork, files: list[InputFile]) -> list[InputFile] | None:
    return files if digest_of(work.shard, files, work.job.limits.max_line_bytes) == work.shard.digest else None


def key_of(work: ShardWork, environment: Mapping[str, str]) -> str | None:
    """The run's key, where this process has it."""
    # A run whose models need no key has an empty one.
    known = (environment.get("ROWMILL_API_KEY", "").strip(), SANDBOX_KEY if work.sandbox else "")
    return next((key for key in known if group_of(work.base_url, key) == work.group), None)
