"""The right answer in the right row: what is kept of former answers is found by its request alone, and proves it."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import PERSON, Bench, Ended
from tests.gateways import Ask, Gateway, Reply, answer_to, assert_books

WRONG = Reply(text='{"name": 7}', good=False)
# What a results row says of itself rather than of its answer.
IDENTITY = ("row_id", "row_index", "request_key")


def direct(bench: Bench, url: str, *args: str, timeout: float = 120) -> Ended:
    ended = bench.run(url, "run", "job.yaml", "--direct", "--json", *args, timeout=timeout)
    assert "Traceback" not in ended.err, ended.err
    return ended


def rows_of(texts: Sequence[str], names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    return [{"id": name, "text": text} for name, text in zip(names or texts, texts, strict=True)]


def assert_own_answers(bench: Bench, gateway: Gateway, rows: Sequence[dict[str, Any]]) -> None:
    """Each row of the results holds an answer that was given to its own request, and no prompt was paid twice."""
    told = {row["row_id"]: row for row in bench.results().iter_rows(named=True)}
    assert list(told) == [row["id"] for row in rows]
    for row in rows:
        assert told[row["id"]]["status"] == "ok"
        assert told[row["id"]]["response_text"] == answer_to(f"Say {row['text']}"), row
    assert gateway.paid_again() == 0


def assert_verified(bench: Bench) -> None:
    ended = bench.run("", "status", "out", "--verify", "--json")
    assert ended.code == 0, ended.out + ended.err


def settle(bench: Bench, gateway: Gateway, rows: list[dict[str, Any]], *args: str, limit: int | None = None) -> None:
    """One complete run over these rows, and what must hold after it."""
    bench.rows(rows)
    limited = [] if limit is None else ["-n", str(limit)]
    ended = direct(bench, gateway.url, *limited, *args)
    assert ended.code == 0, ended.err
    assert_books(bench, gateway, exact=True)
    assert_own_answers(bench, gateway, rows[:limit])


def test_a_row_edited_back_has_the_answer_to_its_own_text(bench, gateways):
    """A row edited a0, a1, a2 and back to a1, then to a0, holds the answer to what it says now, paid once each."""
    gateway = gateways()
    bench.job(id="id")
    for text in ("a0", "a1", "a2", "a1", "a0"):
        settle(bench, gateway, rows_of([text, "b", "c"], ["a", "b", "c"]))
    assert len(gateway.asks) == 5
    assert_verified(bench)


def test_rows_that_return_to_a_rolling_window_have_their_own_answers(bench, gateways):
    """A window that moves on and back: every row that returns has its own answer, for nothing."""
    gateway = gateways()
    bench.job(id="id")
    texts = [f"t{n}" for n in range(8)]
    for first in (0, 2, 4, 1, 3, 0):
        settle(bench, gateway, rows_of(texts[first : first + 4]))
    assert len(gateway.asks) == 8
    assert_verified(bench)


@pytest.mark.nightly
def test_rows_that_return_within_a_limit_have_their_own_answers(bench, gateways):
    """-n over a file whose order changes: each row within the limit has its own answer, whatever stood there before."""
    gateway = gateways()
    bench.job(id="id")
    for order in ("xyz", "yzx", "zxy", "yxz", "xzy"):
        settle(bench, gateway, rows_of(list(order)), limit=1)
    assert len(gateway.asks) == 3
    settle(bench, gateway, rows_of(list("zyx")), limit=2)
    settle(bench, gateway, rows_of(list("xyz")))
    assert len(gateway.asks) == 3
    assert_verified(bench)


def test_rows_that_trade_places_and_texts_have_their_own_answers(bench, gateways):
    """Insertions, deletions, a reversed order and an id that takes another row's text: each row holds its own answer."""
    gateway = gateways()
    bench.job(id="id")
    steps: list[list[dict[str, Any]]] = [
        rows_of(["p", "q", "r"], ["1", "2", "3"]),
        rows_of(["s", "p", "q"], ["0", "1", "2"]),
        rows_of(["q", "t"], ["1", "2"]),
        rows_of(["r", "q", "p"], ["3", "2", "1"]),
        rows_of(["t", "s", "r", "q", "p"], ["1", "2", "3", "4", "5"]),
    ]
    for rows in steps:
        settle(bench, gateway, rows)
    assert len(gateway.asks) == 5
    assert_verified(bench)


def rewrite(bench: Bench, change: Callable[[pa.Table], pa.Table]) -> None:
    """The first part with other values, as sound as before: its checksums and the manifest's digest are made anew."""
    path = next((bench.folder / "out" / "results").glob("part-*.parquet"))
    with pq.ParquetFile(path) as part:
        table, metadata = change(part.read()), part.metadata.metadata
    with pq.ParquetWriter(path, table.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({key: value for key, value in metadata.items() if key.startswith(b"rowmill.")})
    content, manifest = path.read_bytes(), bench.folder / "out" / "run.json"
    told = json.loads(manifest.read_text())
    if path.name in told.get("parts", {}):
        size = len(told["parts"][path.name]["blake2b"]) // 2
        told["parts"][path.name] = {"bytes": len(content), "blake2b": blake2b(content, digest_size=size).hexdigest()}
        manifest.write_text(json.dumps(told))


def exchanged(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The table in which the second and the third row have each other's values of these columns."""
    order = pa.array([0, 2, 1, *range(3, table.num_rows)])
    for name in columns:
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), table.column(at).take(order))
    return table


def test_verify_finds_an_answer_in_the_wrong_row(bench, gateways):
    """`status --verify` holds each row's answer against its own request: an exchange of two rows is named."""
    gateway = gateways()
    bench.job(id="id")
    settle(bench, gateway, rows_of([f"t{n}" for n in range(6)]))
    rewrite(bench, lambda table: table)
    assert_verified(bench)
    # The texts alone; then the rest as well, so that the two whole answers have changed places.
    for columns in (["response_text", "output"], None):
        rewrite(bench, lambda table, told=columns: exchanged(table, told or others(table)))
        ended = bench.run("", "status", "out", "--verify")
        assert ended.code == 2, ended.out
        assert "Traceback" not in ended.err
        said = (ended.out + ended.err).replace(str(bench.folder), "")
        assert "t1" in said
        assert "t4" not in said


def others(table: pa.Table) -> list[str]:
    """All that a row holds of its answer, but the text."""
    return [name for name in table.column_names if name not in (*IDENTITY, "response_text", "output")]


def wrong_for_some(ask: Ask) -> Reply:
    """Every third person gets no right answer; the others get it at the second ask of the retry."""
    number = int(ask.prompt.rpartition(" ")[2])
    if number % 3 == 0 or ask.turns == 1:
        return WRONG
    return Reply(text=json.dumps({"name": ask.prompt, "n": ask.seen}))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_retry_cut_short_and_then_a_plain_run_keep_what_was_asked_again(bench, gateways, number):
    """--retry-failed stopped in the middle, then a plain run: answers and costs of what was asked again are kept."""
    gateway, concurrency = gateways(lambda _: WRONG), 6
    bench.rows([{"id": f"r{n}", "text": f"person {n}"} for n in range(45)])
    bench.job(id="id", schema=PERSON, retries={"content": 0}, limits={"concurrency": concurrency})
    assert direct(bench, gateway.url).code == 3
    bench.job(id="id", schema=PERSON, retries={"content": 2}, limits={"concurrency": concurrency})
    gateway.script, gateway.latency_s = wrong_for_some, 0.03
    process = bench.start(gateway.url, "run", "job.yaml", "--direct", "-q", "--retry-failed")
    gateway.wait_until(lambda: len(gateway.good_by_prompt) >= 10)
    os.killpg(process.pid, number)
    process.communicate(timeout=60)
    gateway.quiet()
    killed = number == signal.SIGKILL
    answered = set(gateway.good_by_prompt)
    assert 0 < len(answered) < 30
    gateway.latency_s = 0.0
    assert direct(bench, gateway.url).code == 3
    assert_books(bench, gateway, exact=not killed)
    assert gateway.paid_again() <= (concurrency if killed else 0)
    results = bench.results()
    assert results.height == 45
    texts = dict(results.filter(status="ok").select("row_id", "response_text").iter_rows())
    for row, text in texts.items():
        assert json.loads(text)["name"] == f"Say person {row[1:]}"
    lost = {prompt for prompt in answered if "r" + prompt.split()[2] not in texts}
    assert len(lost) <= (concurrency if killed else 0), lost


def test_rows_that_move_after_a_retry_that_ran_out_of_money_keep_what_was_asked_again(bench, gateways):
    """A retry in a file that grew stops for money; the file grows again: what was answered well meanwhile is ok."""
    gateway = gateways(lambda _: WRONG)
    rows = [{"id": f"r{n}", "text": f"person {n}"} for n in range(40)]
    bench.rows(rows)
    bench.job(id="id", schema=PERSON, retries={"content": 0}, limits={"concurrency": 4})
    assert direct(bench, gateway.url).code == 3

    def until_the_hour_is_spent(ask: Ask) -> Reply:
        if len(gateway.good_by_prompt) >= 10:
            return Reply(status=429, error=("spend_limit_exceeded", "the hour is spent", "billing_error"), billed=False)
        return Reply(text=json.dumps({"name": ask.prompt, "n": ask.seen}))

    gateway.script = until_the_hour_is_spent
    bench.rows([{"id": "top", "text": "person 100"}, *rows])
    assert direct(bench, gateway.url, "--retry-failed").code == 4
    answered = set(gateway.good_by_prompt)
    gateway.script = lambda _: WRONG
    bench.rows([{"id": "topmost", "text": "person 101"}, {"id": "top", "text": "person 100"}, *rows])
    assert direct(bench, gateway.url).code == 3
    assert_books(bench, gateway, exact=True)
    assert gateway.paid_again() == 0
    ok = bench.results().filter(status="ok")
    assert {json.loads(text)["name"] for text in ok["response_text"]} == answered


def test_a_signal_to_a_run_out_of_money_gives_no_call_in_flight_up(bench, gateways):
    """The first signal is the first whatever has ended the run: the answer that is on its way is settled."""

    def spent_beside_a_slow_one(ask: Ask) -> Reply:
        number = int(ask.prompt.rpartition(" ")[2])
        if number == 2:
            return Reply(status=429, error=("spend_limit_exceeded", "the hour is spent", "billing_error"), delay_s=0.2)
        return Reply(text=answer_to(ask.prompt), delay_s=2.0 * (number == 1))

    gateway = gateways(spent_beside_a_slow_one)
    bench.rows([{"text": f"person {n}"} for n in range(3)])
    bench.job(limits={"concurrency": 2})
    process = bench.start(gateway.url, "run", "job.yaml", "--direct", "-q")
    segment = bench.folder / "out" / "journal" / "shard-000000.jsonl"
    gateway.wait_until(lambda: segment.exists() and b"spend_limit_exceeded" in segment.read_bytes())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 4
    assert bench.results().filter(status="ok").height == 2
    assert_books(bench, gateway, exact=True)
    gateway.script = lambda ask: Reply(text=answer_to(ask.prompt))
    assert direct(bench, gateway.url).code == 0
    assert gateway.paid_again() == 0


def cpu_s() -> float:
    """Seconds of CPU that all commands so far have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_former_answers_are_taken_over_in_linear_time(tmp_path: Path, gateways):
    """Four times the rows that return take at most four times the work, and some slack; none of them is asked again."""
    took = {}
    for count in (1_000, 4_000):
        bench, gateway = Bench(tmp_path / str(count)), gateways()
        bench.folder.mkdir()
        bench.job(id="id", limits={"concurrency": 64})
        rows = rows_of([f"t{n}" for n in range(count)])
        bench.rows(rows)
        assert direct(bench, gateway.url).code == 0
        # All of them leave, so that what is kept of them is no part any more.
        bench.rows(rows_of(["another"]))
        assert direct(bench, gateway.url).code == 0
        asked, before = len(gateway.asks), cpu_s()
        bench.rows(rows[::-1])
        # A process of the tests' own, whose CPU is then told.
        process = bench.start(gateway.url, "run", "job.yaml", "--direct", "-q")
        process.communicate(timeout=30)
        assert process.returncode == 0
        took[count] = cpu_s() - before
        assert len(gateway.asks) == asked
        assert bench.results()["response_text"].to_list() == [answer_to(f"Say {row['text']}") for row in rows[::-1]]
    assert took[4_000] < 1.5 * 4 * took[1_000], took
