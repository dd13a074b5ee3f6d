"""Ready: how long a run over a large settled output takes until its first call, and what memory it has used by then.

The output is made, not run: its first part is asked, the others are that part with other ids, places and requests. Then
the input grows by one percent, and the run is ended when its first call arrives.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import ROOT, measured, rowmill, stub
from rowmill.schemas.row import Cursor
from rowmill.tasks.input.listing import input_files
from rowmill.tasks.input.shard_cut import digest_of
from rowmill.tasks.output.part_footer import FOOTER, read_footer
from rowmill.tasks.output.part_notes import DIGESTS, LINES
from rowmill.tasks.output.part_writer import GROUP_ROWS, writing

ROWS, ASKED, PART = 1_000_000, 1_000, 10_000
LINE_MOST = 1 << 20


def settled(folder: Path, count: int) -> Path:
    """An output in which so many rows of an input are settled; the input."""
    input_ = folder / "ready.jsonl"
    input_.write_text("".join(map(_line, range(ASKED))))
    with stub(0) as port:
        measured(rowmill(folder, input_, "out", concurrency=256), port)
    results = folder / "out" / "results"
    (made,) = results.iterdir()
    table = pa.concat_tables([pq.read_table(made)] * (GROUP_ROWS // ASKED)).combine_chunks()
    footer, metadata, schema = read_footer(made), pq.read_metadata(made).metadata, pq.read_schema(made)
    made.unlink()
    with open(input_, "w") as file:
        for n in range(count):
            file.write(_line(n))
    files, starts = input_files(str(input_)), _starts(input_)
    tally = {**footer.tally, "rows": PART, "by_status": {"ok": PART}}
    for number in range(count // PART):
        first = number * PART
        start = Cursor(footer.shard.start.file, starts[number], first)
        shard = replace(footer.shard, number=number, first_row=first, rows=PART, start=start)
        shard = replace(shard, digest=digest_of(shard, list(files), LINE_MOST))
        told = msgspec.json.encode(replace(footer, shard=shard, tally=tally))
        path = results / f"part-{number:06d}.parquet"
        with writing(path, schema.with_metadata({**(schema.metadata or {}), FOOTER.encode(): told})) as writer:
            for at in range(first, first + PART, GROUP_ROWS):
                writer.write_table(_moved(table, at))
            notes = {key: value for key, value in metadata.items() if key.startswith(b"rowmill.") and key != FOOTER}
            notes |= {
                DIGESTS: b64encode(secrets.token_bytes(8 * PART)),
                LINES: b64encode(secrets.token_bytes(16 * PART)),
            }
            writer.add_key_value_metadata(notes)
    return input_


def _line(n: int) -> str:
    return f'{{"id": "r{n}", "text": "person number {n} {"lorem ipsum " * 8}"}}\n'


def _starts(path: Path) -> list[int]:
    found, at = [], 0
    with open(path, "rb") as file:
        for number, line in enumerate(file):
            if number % PART == 0:
                found.append(at)
            at += len(line)
    return found


def _moved(table: pa.Table, first: int) -> pa.Table:
    rows = np.arange(first, first + len(table))
    ids = pa.array([f"r{n}" for n in rows])
    held = secrets.token_hex(16 * len(rows))
    keys = pa.array([held[at : at + 32] for at in range(0, len(held), 32)])
    for name, column in (("row_index", pa.array(rows)), ("row_id", ids), ("id", ids), ("request_key", keys)):
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    return table


def ready(folder: Path, count: int = ROWS) -> None:
    """Seconds of wall and CPU until the first call over `count` settled rows and one percent more, and peak memory."""
    input_ = settled(folder, count)
    with open(input_, "a") as file:
        for n in range(count // 100):
            file.write(json.dumps({"id": f"n{n}", "text": f"somebody new, number {n}"}) + "\n")
    wall, cpu, peak = first_call(folder, input_)
    print(f"{count:,} settled rows and 1 %: ready to call after {wall:.1f} s ({cpu:.1f} s of CPU, "
          f"{cpu / count * 1e6:.1f} µs a row), peak {peak:.0f} MB")  # fmt: skip
    shutil.rmtree(folder / "out")


def first_call(folder: Path, input_: Path) -> tuple[float, float, float]:
    """Seconds of wall and CPU, and peak MB, that a run has taken when its first call arrives."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(900)
        environment = {**os.environ, "ROWMILL_API_KEY": "sk-bench-000000",
                       "ROWMILL_BASE_URL": f"http://127.0.0.1:{server.getsockname()[1]}"}  # fmt: skip
        command = [word for word in rowmill(folder, input_, "out", concurrency=256) if word != "--fresh"]
        began = time.perf_counter()
        with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
            _until_called(server)
            wall = time.perf_counter() - began
            with open(f"/proc/{process.pid}/status") as status:
                peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
            with open(f"/proc/{process.pid}/stat") as stat:
                ticks = stat.read().rsplit(")", 1)[1].split()
            process.kill()
    return wall, (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK"), peak


def _until_called(server: socket.socket) -> None:
    """Answer no request but the first call, which gets none."""
    while True:
        with server.accept()[0] as connection:
            if connection.recv(1 << 16).startswith(b"POST"):
                return
            connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="rowmill-bench-") as name:
        ready(Path(name), int(sys.argv[1]))
