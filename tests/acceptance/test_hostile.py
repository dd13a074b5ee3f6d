"""Hostile text: each has a decided outcome, and nothing outside the job is ever reached."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.acceptance.test_run import direct
from tests.conftest import KEY, PERSON, assert_balanced
from tests.http_thread import served

USAGE = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}


class Gateway(ThreadingHTTPServer):
    """Answers each prompt with the raw bytes that the test set for it, and counts every request."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.requests: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def say(self, row: str, content: str | None = None, raw: bytes | None = None) -> None:
        told = {"choices": [{"message": {"content": content}, "finish_reason": "stop"}], "usage": USAGE}
        self.answers[row] = raw if raw is not None else json.dumps(told).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.respond(404, b"{}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        row = body["messages"][0]["content"].split()[1]
        self.respond(200, self.server.answers[row])  # type: ignore[attr-defined]

    def respond(self, status: int, content: bytes) -> None:
        self.server.requests.append(self.path)  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with served(Gateway()) as server:
        yield server


def name(text: str) -> str:
    return json.dumps({"name": text, "n": 1}, ensure_ascii=False)


def test_hostile_answers_have_decided_outcomes(bench, gateway):
    """NUL, lone surrogates, control and bidi characters, 10 MB, depth, huge numbers, duplicate keys: each decided."""
    bidi = "a\u202eb\u2066c\u0007d"
    cases: dict[str, tuple[Any, str, Any]] = {
        "nul": (name("a\0b"), "ok", "a\0b"),
        "bidi": (name(bidi), "ok", bidi),
        "emoji": (name("😀 ñ 漢"), "ok", "😀 ñ 漢"),
        "surrogate": ('{"name": "x\\ud800y", "n": 1}', "ok", "x\ufffdy"),
        "large": (name("x" * 10_000_000), "ok", "x" * 10_000_000),
        "deep": ("[" * 100_000 + "]" * 100_000, "invalid", None),
        "deep_cut": ("[" * 100_000, "invalid", None),
        "bigint": ('{"name": "x", "n": 123456789012345678901234567890}', "invalid", None),
        "exponent": ('{"name": "x", "n": 1e999}', "invalid", None),
        "whole_float": ('{"name": "x", "n": 3.0}', "ok", "x"),
        "nan": ('{"name": "x", "n": NaN}', "invalid", None),
        "twice": ('{"name": "first", "name": "second", "n": 1}', "invalid", None),
        "script": (name("<script>alert(1)</script>"), "ok", "<script>alert(1)</script>"),
        "formula": (name('=HYPERLINK("x")'), "ok", '=HYPERLINK("x")'),
        "empty": ("", "invalid", None),
        "key": (name(f"your key is {KEY}"), "ok", "your key is [key redacted]"),
    }
    for row, (content, _, _) in cases.items():
        gateway.say(row, content)
    raw = {
        "not_json": b"\xff\xfe garbage",
        "list": b"[1]",
        "no_message": b'{"choices": [{}]}',
        "odd_usage": json.dumps(
            {"choices": [{"message": {"content": name("u")}}], "usage": {"prompt_tokens": -1, "completion_tokens": "x"}}
        ).encode(),
        "raw_surrogate": b'{"choices": [{"message": {"content": "{\\"name\\": \\"\\ud800\\", \\"n\\": 1}"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}',
        "deep_body": b'{"choices": ' + b"[" * 200_000,
    }
    for row, content in raw.items():
        gateway.say(row, raw=content)
    bench.rows([{"id": row, "text": row} for row in [*cases, *raw]])
    bench.job(id="id", schema=PERSON, retries={"content": 0, "transport": 0})
    ended = direct(bench, gateway.url)
    assert ended.code == 3, ended.err
    assert "Traceback" not in ended.err
    rows = {row["row_id"]: row for row in bench.results().iter_rows(named=True)}
    for row, (_, status, expected) in cases.items():
        assert rows[row]["status"] == status, (row, rows[row]["error_message"])
        assert (rows[row]["output"] or {}).get("name") == expected, row
    failed = {row: rows[row]["status"] for row in raw}
    assert failed == dict.fromkeys(raw, "failed") | {"odd_usage": "ok", "raw_surrogate": "ok"}
    assert rows["odd_usage"]["cost_unknown"]
    assert rows["not_json"]["error_kind"] == "unreadable_body"
    assert_balanced(ended.manifest, bench.results())
    for path in bench.folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_hostile_prompts_are_sent_or_refused(bench, gateway):
    """Prompts with NUL, control and bidi characters are sent as they are; a lone surrogate becomes U+FFFD."""
    texts = ["nul \0", "bidi \u202e\u2066", "ctrl \u0001\u001b[31m", "quote \"'\\{}", "tpl {{ 7 * 7 }} {% raw %}"]
    for text in texts:
        gateway.say(text.split()[0], name(text.split()[0]))
    gateway.say("lone", name("lone"))
    lines = [json.dumps({"id": text.split()[0], "text": text}) for text in texts]
    lines.append('{"id": "lone", "text": "lone \\ud800 end"}')
    (bench.folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    bench.job(id="id", schema=PERSON)
    ended = direct(bench, gateway.url)
    assert ended.code == 0, ended.err
    assert bench.results()["output"].struct.field("name").to_list() == [*(text.split()[0] for text in texts), "lone"]


def test_references_are_never_fetched(bench, gateway):
    """A schema that points to an address or a file is refused, and the server it points to is never asked."""
    for ref in (f"{gateway.url}/schema.json", "file:///etc/hostname", "other.json#/x"):
        bench.rows([{"text": "x"}])
        bench.job(schema={"$ref": ref})
        ended = direct(bench, gateway.url)
        assert ended.code == 2
        assert "$ref" in ended.err
    assert gateway.requests == []
