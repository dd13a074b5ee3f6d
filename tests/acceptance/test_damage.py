"""Damage is seen, named with its mend, and never silently skipped."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from rowmill.schemas.errors import DamageError
from rowmill.schemas.manifest import PartDigest
from rowmill.tasks.output.part_footer import verify_part
from tests.acceptance.test_run import direct, numbered
from tests.conftest import assert_balanced, money


def three_parts(bench, sandbox) -> None:
    bench.rows(numbered(30))
    bench.job(id="id")
    for rows in ("10", "20", "30"):
        assert direct(bench, sandbox.base_url, "-n", rows).code == 0


@pytest.mark.parametrize("number", [1, *(pytest.param(one, marks=pytest.mark.nightly) for one in (0, 2))])
def test_a_damaged_part_is_refused_by_name_and_made_afresh(bench, sandboxes, number):
    """A part that cannot be read stops the start, named; --fresh-part asks its rows again and no others."""
    sandbox = sandboxes()
    three_parts(bench, sandbox)
    part = bench.folder / f"out/results/part-00000{number}.parquet"
    whole = part.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:-3] + b"xyz"):
        part.write_bytes(damaged)
        refused = direct(bench, sandbox.base_url)
        assert refused.code == 2
        assert part.name in refused.err
        assert f"--fresh-part {number}" in refused.err
        assert "Traceback" not in refused.err
    assert sandbox.books()["calls"] == 30
    mended = direct(bench, sandbox.base_url, "--fresh-part", str(number))
    assert mended.code == 0, mended.err
    assert sandbox.books()["calls"] == 40
    assert_balanced(mended.manifest, bench.results())
    assert bench.results()["row_id"].to_list() == [f"r{n}" for n in range(30)]
    assert direct(bench, sandbox.base_url, "--fresh-part", "7").code == 2


def test_verify_sees_every_flipped_bit_of_a_part(bench, sandboxes):
    """`status --verify` finds a flipped bit anywhere in a part's columns or footer."""
    sandbox = sandboxes()
    bench.rows(numbered(40))
    bench.job(id="id")
    assert direct(bench, sandbox.base_url).code == 0
    assert bench.run("", "status", "out", "--verify").code == 0
    part, rng = bench.folder / "out/results/part-000000.parquet", random.Random(5)
    whole, digest = part.read_bytes(), PartDigest(**bench.manifest()["parts"][part.name])
    for _ in range(200):
        place = rng.randrange(4, len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << rng.randrange(8)
        part.write_bytes(flipped)
        with pytest.raises(DamageError, match="--fresh-part 0"):
            verify_part(part, digest)
    part.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    told = bench.run("", "status", "out", "--verify")
    assert told.code == 2
    assert "damaged" in told.out


def test_a_damaged_journal_is_refused_by_line(bench, sandboxes):
    """A flipped bit in the middle of a journal stops the start with file and line; nothing is asked again unasked."""
    sandbox = sandboxes(latency_ms=30)
    bench.rows(numbered(100))
    bench.job(id="id", limits={"concurrency": 8})
    process = bench.start(sandbox.base_url, "run", "job.yaml", "--direct", "-q")
    while sandbox.books()["billed_calls"] < 40:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    segment = bench.folder / "out/journal/shard-000000.jsonl"
    content = bytearray(segment.read_bytes())
    content[len(content.rstrip(b"\0")) // 2] ^= 1
    segment.write_bytes(content)
    while sandbox.books()["in_flight"]:
        time.sleep(0.02)
    calls = sandbox.books()["calls"]
    refused = direct(bench, sandbox.base_url)
    assert refused.code == 2
    assert "shard-000000.jsonl: line" in refused.err
    assert "--fresh-part 0" in refused.err
    assert sandbox.books()["calls"] == calls
    assert "damaged" in bench.run("", "status", "out").out
    assert direct(bench, sandbox.base_url, "--fresh-part", "0").code == 0
    assert bench.results().height == 100


def test_a_part_that_was_deleted_is_missed(bench, sandboxes):
    """The status of a complete output names the part that is not there, rather than call its rows not attempted."""
    sandbox = sandboxes()
    bench.rows([{"text": f"t{n}"} for n in range(3)])
    bench.job()
    assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "-q").code == 0
    (bench.folder / "out/results/part-000000.parquet").unlink()
    ended = bench.run("", "status", "out")
    assert ended.code == 2
    assert "part-000000.parquet: the part is not there any more" in ended.out


def test_a_lost_manifest_is_made_again(bench, sandboxes):
    """Without run.json the parts tell what stands: nothing is asked again, and the totals are the same."""
    sandbox = sandboxes()
    three_parts(bench, sandbox)
    totals = bench.manifest()["totals"]
    (bench.folder / "out/run.json").unlink()
    assert direct(bench, sandbox.base_url).code == 0
    assert bench.manifest()["totals"] == totals
    (bench.folder / "out/run.json").write_text("{")
    assert "run.json" in direct(bench, sandbox.base_url).err
    assert sandbox.books()["calls"] == 30


def test_a_balance_that_does_not_suffice_stops_or_warns_before_the_first_call(bench, sandboxes):
    """Below the first call's worst case the run stops, below the rough forecast it warns; silence means nothing."""
    sandbox = sandboxes(credits="0.1")
    bench.rows(numbered(50))
    bench.job(id="id", params={"max_output_tokens": 500})
    ended = direct(bench, sandbox.base_url)
    assert ended.code == 4
    assert ended.manifest["termination"]["kind"] == "insufficient_credits"
    assert "balance is 0.1000 credits" in ended.err
    assert sandbox.books()["calls"] == 0
    sandbox.change(credits="6")
    warned = direct(bench, sandbox.base_url)
    assert "rough guess" in warned.err
    assert warned.code == 4
    assert money(sandbox.books()["billed_credits"]) <= 6
    assert_balanced(warned.manifest, bench.results())
    sandbox.change(credits="1000")
    done = direct(bench, sandbox.base_url)
    assert done.code == 0
    assert "rough guess" not in done.err
