"""Files of an output are their owner's; its lock holds whatever becomes of the file."""

from __future__ import annotations

import os
import signal
import stat
import time


def test_files_of_an_output_are_readable_by_their_owner_alone(bench, sandboxes):
    """Whatever a run leaves (parts, journal, manifest, report) is 0600, its folders 0700; a narrower umask holds too."""
    sandbox = sandboxes()
    bench.rows([{"text": f"t{n}"} for n in range(3)])
    bench.job()
    assert bench.run(sandbox.base_url, "run", "job.yaml", "--direct", "-q").code == 0
    assert bench.run("", "report", "out").code == 0
    for path in [bench.folder / "out", *(bench.folder / "out").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path} is {mode:o}"


def test_a_second_run_is_refused_though_the_lock_file_was_deleted(bench, sandboxes):
    """Deleting .lock while a run lives lets nobody else in: its rows are not paid for twice."""
    sandbox = sandboxes(latency_ms=300)
    bench.rows([{"text": f"t{n}"} for n in range(60)])
    bench.job(limits={"concurrency": 2})
    first = bench.start(sandbox.base_url, "run", "job.yaml", "--direct", "-q")
    while not (bench.folder / "out" / "run.json").exists():
        time.sleep(0.02)
    (bench.folder / "out" / ".lock").unlink()
    second = bench.run(sandbox.base_url, "run", "job.yaml", "--direct")
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert second.code == 2, second.err
    assert "another run works on this output" in second.err
