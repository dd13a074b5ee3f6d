"""A full disk, on a small real file system: nothing acknowledged is lost, and nothing is sent that could not be stored."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rowmill.flows.cli import main
from tests.conftest import Bench, assert_balanced


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MB, where this machine lets us mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_read_only_output_is_refused(bench: Bench, sandboxes, small_disk: Path) -> None:
    """An output on a read-only file system is exit 2 before any call, in one line."""
    sandbox = sandboxes()
    bench.rows([{"text": "t"}])
    bench.job(output=str(small_disk / "out"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "-q")
    assert ended.code == 2
    assert "Read-only file system" in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert sandbox.books()["calls"] == 0


def test_an_output_that_is_deleted_while_it_is_written_ends_its_run(bench: Bench, sandboxes) -> None:
    """No call is sent whose answer would be written nowhere: the run ends at once, and says that answers were deleted."""
    sandbox = sandboxes(latency_ms=200)
    bench.rows([{"text": f"t{n}"} for n in range(100)])
    bench.job(limits={"concurrency": 4})
    process = bench.start(sandbox.base_url, "run", "job.yaml", "--direct", "-q")
    while (before := sandbox.books()["calls"]) < 8:
        time.sleep(0.02)
    shutil.rmtree(bench.folder / "out")
    _, err = process.communicate(timeout=60)
    assert sandbox.books()["calls"] <= before + 4 * 4
    assert process.returncode == 2
    assert "what a deleted output held is asked anew" in err
    assert "Traceback" not in err


def test_a_read_only_output_is_read_and_what_would_be_written_is_told(
    bench: Bench, sandboxes, small_disk: Path, capsys
) -> None:
    """What only reads an output works on a read-only disk; what writes there is exit 2 and one line, never a traceback."""
    sandbox = sandboxes()
    bench.rows([{"text": "t"}])
    out, elsewhere = small_disk / "out", bench.folder / "elsewhere"
    job = str(bench.job(output=str(out)))
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "-q")
    assert ended.code == 0, ended.err
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for name in ("csv", "jsonl", "parquet", "xlsx"):
        assert main(["export", str(out), f"{elsewhere}.{name}"]) == 0
        assert main(["export", str(out), str(out / f"table.{name}")]) == 2
        assert f"table.{name}: the export cannot be written: Read-only file system." in told_in_one_line(capsys)
    assert main(["status", str(out), "--verify"]) == main(["compare", str(out), str(out)]) == 0
    assert main(["report", str(out)]) == 2
    assert "report.html cannot be written: Read-only file system." in told_in_one_line(capsys)
    assert main(["estimate", job]) == 2
    assert "estimate.json cannot be written: Read-only file system." in told_in_one_line(capsys)


def told_in_one_line(capsys) -> str:
    told = capsys.readouterr().err
    assert len(told.strip().splitlines()) == 1
    return told


def test_a_file_that_cannot_be_read_is_told_by_its_name(bench: Bench, sandboxes, capsys) -> None:
    """What the machine does not give of an output is exit 2 and a line that names it, in whatever command."""
    sandbox = sandboxes()
    bench.rows([{"text": "t"}])
    bench.job()
    assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "-q").code == 0
    out, table = str(bench.folder / "out"), str(bench.folder / "table.csv")
    capsys.readouterr()
    for name, commands in (
        ("ledger.jsonl", [["status", out]]),
        ("run.json", [["status", out], ["report", out], ["export", out, table], ["compare", out, out]]),
        ("results/part-000000.parquet", [["status", out], ["report", out], ["export", out, table]]),
    ):
        path = bench.folder / "out" / name
        path.rename(bench.folder / "kept")
        path.mkdir()
        for command in commands:
            assert main(command) == 2, command
            told = "".join(capsys.readouterr())
            assert name in told
            assert "Traceback" not in told
        path.rmdir()
        (bench.folder / "kept").rename(path)


def fill(place: Path, leave: int) -> Path:
    """Fill the disk but for `leave` bytes."""
    ballast = place / "ballast"
    free = os.statvfs(place)
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - leave)
    return ballast


def test_a_full_disk_is_refused_before_any_call(bench: Bench, sandboxes, small_disk: Path) -> None:
    """Where no answer could be stored nothing is asked: exit 2, one line, no call; with room the same command runs."""
    sandbox = sandboxes()
    bench.rows([{"id": f"r{n}", "text": f"t{n}"} for n in range(50)])
    bench.job(id="id", output=str(small_disk / "out"))
    for leave in (0, 64 * 1024, 1024 * 1024):
        ballast = fill(small_disk, leave)
        ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "-q")
        assert ended.code == 2, ended.err
        assert "Traceback" not in ended.err
        assert "No space left" in ended.err
        assert sandbox.books()["calls"] == 0
        ballast.unlink()
    assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "-q").code == 0


def test_a_disk_that_fills_up_midway_loses_nothing_acknowledged(bench: Bench, sandboxes, small_disk: Path) -> None:
    """When room runs out dispatch stops, exit and message are clear, and freeing space and running again completes."""
    sandbox = sandboxes(latency_ms=30)
    long = {"type": "object", "properties": {"text": {"type": "string", "minLength": 16_000}}, "required": ["text"]}
    bench.rows([{"id": f"r{n}", "text": f"t{n} lorem ipsum dolor"} for n in range(900)])
    bench.job(id="id", schema=long, output=str(small_disk / "out"), limits={"concurrency": 16})
    ballast = fill(small_disk, 16 * 2**20)
    ended = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json")
    assert ended.code == 2, ended.err
    assert ended.manifest["termination"]["kind"] == "storage"
    assert "No space left" in ended.err
    assert "Traceback" not in ended.err
    paid = sandbox.books()["billed_calls"]
    assert 100 < paid < 900
    assert ended.manifest["ledger"]["ok"] == paid
    ballast.unlink()
    done = bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "--json")
    assert done.code == 0, done.err
    assert sandbox.books()["billed_calls"] == 900
    results = bench.results(str(small_disk / "out"))
    assert_balanced(done.manifest, results)
    assert results["row_id"].to_list() == [f"r{n}" for n in range(900)]
