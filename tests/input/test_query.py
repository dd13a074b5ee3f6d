"""Rows of a real PostgreSQL server, where this machine has one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import date
from glob import glob
from pathlib import Path
from typing import Any

import pytest

from rowmill.schemas.errors import InputError
from tests.input.test_stored import taken

BIN = max(glob("/usr/lib/postgresql/*/bin"), default="")
PASSWORD = "s3cret@pw/1"
pytestmark = pytest.mark.skipif(not BIN, reason="no PostgreSQL server is installed")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server, without its password."""
    # The server refuses to be root's.
    user: Any = {"user": "postgres"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="rowmill-pg-"))
    if user:
        shutil.chown(folder, "postgres")
    (folder / "pw").write_text(PASSWORD)
    (folder / "pw").chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    asked = ["-D", f"{folder}/data"]
    subprocess.run(
        [f"{BIN}/initdb", *asked, "-A", "scram-sha-256", "-U", "tester", f"--pwfile={folder}/pw"],
        check=True, capture_output=True, cwd=folder, **user,
    )  # fmt: skip
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
    subprocess.run(
        [f"{BIN}/pg_ctl", *asked, "-o", options, "-l", f"{folder}/log", "-w", "start"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        **user,
    )
    try:
        yield f"127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            [f"{BIN}/pg_ctl", *asked, "-m", "immediate", "stop"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            **user,
        )
        shutil.rmtree(folder)


def query(server: str, sql: str) -> dict[str, str]:
    return {"query": sql, "connection": f"postgresql://tester:${{PG_SECRET}}@{server}"}


def test_rows_come_with_their_types_and_no_password_is_written(server, tmp_path, monkeypatch):
    """Text stays text, whole numbers whole, decimals as they are written; the password stands in no file."""
    monkeypatch.setenv("PG_SECRET", PASSWORD)
    sql = """SELECT '007' AS id, 7::bigint AS n, 1.50::numeric AS d, '{"a": 1}'::jsonb AS j, date '2026-01-05' AS day,
        ARRAY['a', 'b'] AS l, NULL::text AS nothing, gen_random_uuid() AS u, interval '1 day' AS span"""
    [row] = taken(tmp_path, query(server, sql))
    assert row is not None
    assert len(row.pop("u")) == 36
    assert isinstance(row.pop("span"), str)
    assert row == {"id": "007", "n": 7, "d": "1.50", "j": '{"a": 1}', "day": date(2026, 1, 5), "l": ["a", "b"], "nothing": None}  # fmt: skip
    for path in (tmp_path / "out").iterdir():
        assert PASSWORD.encode() not in path.read_bytes()
        assert b"s3cret" not in path.read_bytes()


def test_many_rows_come_in_their_order(server, tmp_path, monkeypatch):
    """Batch by batch, so that their number does not matter."""
    monkeypatch.setenv("PG_SECRET", PASSWORD)
    rows = taken(tmp_path, query(server, "SELECT n FROM generate_series(1, 250000) AS n ORDER BY n"))
    assert [row["n"] for row in rows if row] == list(range(1, 250_001))


@pytest.mark.parametrize(
    ("sql", "secret", "told"),
    [
        ("SELECT * FROM nope", PASSWORD, 'relation "nope" does not exist'),
        ("SELECT 1", "wr0ng-one", "password authentication failed"),
        ("CREATE TABLE t (a int)", PASSWORD, "read-only transaction"),
        ("SELECT '10.0.0.1'::inet AS ip", PASSWORD, "'ip' is of PostgreSQL's type inet.*ip::text"),
        ("SELECT 3.2::money AS m", PASSWORD, "'m' is of PostgreSQL's type money.*m::numeric"),
        ("SELECT 's3cret@pw/1'::int", PASSWORD, r"\*\*\*"),
    ],
)
def test_what_fails_says_why_without_the_password(server, tmp_path, monkeypatch, sql, secret, told):
    """The server's own words, whatever they repeat."""
    monkeypatch.setenv("PG_SECRET", secret)
    with pytest.raises(InputError, match=told) as refused:
        taken(tmp_path, query(server, sql))
    assert secret not in str(refused.value)
