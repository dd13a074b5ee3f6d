"""A loopback server that answers from wire.jsonl: a prompt with [[case:NAME:ROW]] gets that case, any other a plain answer."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WIRE = Path(__file__).resolve().parents[1] / "data/wild/wire.jsonl"
MARK = re.compile(r"\[\[case:([A-Za-z0-9_.\-]+):([^\]]+)\]\]")
LINGER_S, KEEPALIVE_S = 20, 0.2
OK = '{"ok": true}'


def wire_cases() -> dict[str, dict[str, Any]]:
    lines = WIRE.read_text(encoding="utf-8").splitlines()
    return {case["name"]: case for case in map(json.loads, lines)}


class WireServer:
    """Counts the calls of each case and row; everything else is counted under "-"."""

    def __init__(self, cases: dict[str, dict[str, Any]]) -> None:
        self.cases = cases
        self.calls: Counter[tuple[str, str]] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its response; whether the connection may be used again."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path = head[0].split(" ")[:2]
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        raw = await reader.readexactly(int(fields.get("content-length", 0)))
        if method != "POST":
            return await self._respond(writer, {"status": 200, "body_json": {"credits": 100_000}})
        return await self._respond(writer, self._choose(path, raw))

    def _choose(self, path: str, raw: bytes) -> dict[str, Any]:
        self.bodies.append(json.loads(raw))
        found = MARK.search(raw.decode())
        if found is None:
            self.calls["-", "-"] += 1
            return plain(path, self.bodies[-1])
        self.calls[found[1], found[2]] += 1
        responses = self.cases[found[1]]["responses"]
        return responses[min(self.calls[found[1], found[2]], len(responses)) - 1]

    async def _respond(self, writer: asyncio.StreamWriter, response: dict[str, Any]) -> bool:
        text = response["body"] if "body" in response else json.dumps(response["body_json"], ensure_ascii=False)
        data = text.encode("utf-8", "surrogatepass")
        headers = {"Content-Type": "application/json", **response.get("headers", {})}
        behaviour = response.get("behaviour")
        chunked = behaviour in ("keepalive-forever", "linger-after-done")
        if chunked or (headers["Content-Type"].startswith("text/event-stream") and behaviour is None):
            headers["Transfer-Encoding"], chunked = "chunked", True
        else:
            headers["Content-Length"] = str(len(data) + (64 if behaviour == "close-early" else 0))
        lines = [f"HTTP/1.1 {response['status']} Status", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (chunk(data) if chunked else data))
        await writer.drain()
        while behaviour == "keepalive-forever":
            await asyncio.sleep(KEEPALIVE_S)
            writer.write(chunk(b": waiting\n\n"))
            await writer.drain()
        if behaviour == "linger-after-done":
            await asyncio.sleep(LINGER_S)
        if chunked:
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        return behaviour is None


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


def plain(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A valid answer in the form that the request asks for."""
    events = {"Content-Type": "text/event-stream"}
    if "enerateContent" in path:
        content = {"role": "model", "parts": [{"text": OK}]}
        counts = {"promptTokenCount": 10, "candidatesTokenCount": 4, "totalTokenCount": 14}
        whole = {"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": counts}
        if "streamGenerateContent" not in path:
            return {"status": 200, "body_json": whole}
        return {"status": 200, "headers": events, "body": f"data: {json.dumps(whole)}\n\n"}
    usage = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
    text = {"role": "assistant", "content": OK}
    if body.get("stream", True) is False:
        return {"status": 200, "body_json": {"choices": [{"message": text, "finish_reason": "stop"}], "usage": usage}}
    chunks = [{"choices": [{"index": 0, "delta": text, "finish_reason": "stop"}]}, {"choices": [], "usage": usage}]
    lines = "".join(f"data: {json.dumps(one)}\n\n" for one in chunks)
    return {"status": 200, "headers": events, "body": f"{lines}data: [DONE]\n\n"}


@contextmanager
def serving(cases: dict[str, dict[str, Any]]) -> Iterator[WireServer]:
    """A server on the loopback, in a thread of its own."""
    server = WireServer(cases)
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=1 << 24)

    def run() -> None:
        asyncio.set_event_loop(loop)
        listening = loop.run_until_complete(start())
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        started.set()
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        listening.close()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started.wait()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
