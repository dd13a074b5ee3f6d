"""Registries: what a job or a catalogue may name is what the registry of its kind has, and each kind has one registry."""

from __future__ import annotations

from typing import get_args

import pytest

from rowmill.sandbox.settings import Settings
from rowmill.schemas.catalogue import Protocol, builtin_catalogue, in_sandbox
from rowmill.schemas.job import Job
from rowmill.tasks.cluster.backends.registry import BACKENDS
from rowmill.tasks.cluster.runners import RUNNERS
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS
from rowmill.tasks.input.formats import FORMATS
from rowmill.tasks.output.bucket.stores import OUTPUT_STORES
from rowmill.tasks.system.buckets import STORES

JOB = {"model": "gemini-3-pro", "input": "x.jsonl", "output": "out", "prompt": "{{ a }}"}


def choices(key: str) -> set[str]:
    """What a key of the job may say."""
    return {name for one in Job.model_json_schema()["properties"][key]["anyOf"] for name in one.get("enum", ())}


def test_what_can_be_named_is_what_is_registered():
    """An entry that is added to a registry, or to a key, and not to the other, is told here."""
    assert set(get_args(Protocol)) == set(PROTOCOLS)
    assert {in_sandbox(model).protocol for model in builtin_catalogue().values()} == set(PROTOCOLS)
    # A workbook is stored as Parquet before it is read.
    assert choices("input_format") == {*FORMATS, "xlsx"}
    assert set(Job.model_json_schema()["properties"]["runner"]["enum"]) == set(RUNNERS) == {"local", *BACKENDS}
    assert set(STORES) == set(OUTPUT_STORES)


@pytest.mark.parametrize("runner", BACKENDS)
def test_each_kind_of_cluster_says_where_its_address_is_looked_for(runner):
    """Names of variables differ, so that one machine may know clusters of both kinds."""
    assert [kind for kind, backend in BACKENDS.items() if backend.variable == BACKENDS[runner].variable] == [runner]
    assert Job(**JOB, runner=runner).runner == runner


def test_each_protocol_has_columns_of_its_own():
    """By its column a row's own request is known, so no two protocols share one."""
    names = [name for codec in PROTOCOLS.values() for name in (codec.TURNS_COLUMN, codec.BATCH_COLUMN)]
    assert len(names) == len(set(names)) == 2 * len(PROTOCOLS)
    for name in PROTOCOLS:
        assert Settings(models={"mine": name}).models == {"mine": name}
