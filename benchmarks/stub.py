"""A gateway reduced to the bytes: one fixed answer, so that it is never the bottleneck."""

from __future__ import annotations

import asyncio
import json
import sys

ANSWER = {
    "id": "x",
    "model": "gemini-3-pro",
    "choices": [{"message": {"content": '{"name": "x", "n": 3}'}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 86, "total_tokens": 98},
}
BODY = json.dumps(ANSWER).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)


class Stub(asyncio.Protocol):
    latency_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.received = transport, b""

    def data_received(self, received: bytes) -> None:
        self.received += received
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].lower() + b"\r\n"
            start = head.find(b"content-length:") + 15
            whole = end + 4 + (int(head[start : head.index(b"\r\n", start)]) if start > 14 else 0)
            if len(self.received) < whole:
                return
            self.received = self.received[whole:]
            if self.latency_s:
                asyncio.get_running_loop().call_later(self.latency_s, self.transport.write, HEAD + BODY)
            else:
                self.transport.write(HEAD + BODY)


async def main(latency_ms: float) -> None:
    Stub.latency_s = latency_ms / 1000
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0, backlog=4_096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.install()
    except ImportError:
        pass
    asyncio.run(main(float(sys.argv[1])))
