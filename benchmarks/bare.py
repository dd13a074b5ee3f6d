"""The baseline: a bare loop of aiohttp and a Parquet write, without retries, limits, journal, validation or cost."""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import orjson
import pyarrow as pa
import pyarrow.parquet as pq


async def main(port: str, rows: str, concurrency: int, *, out: str) -> None:
    answers: list[str] = []
    with open(rows, "rb") as file:
        lines = iter(file.readlines())

    async def worker(session: aiohttp.ClientSession) -> None:
        for line in lines:
            text = orjson.loads(line)["text"]
            body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": text}], "stream": False}
            async with session.post("/v1/chat/completions", data=orjson.dumps(body)) as response:
                told = orjson.loads(await response.read())
                answers.append(told["choices"][0]["message"]["content"])

    connector = aiohttp.TCPConnector(limit=concurrency)
    headers = {"Authorization": "Bearer sk-x", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=connector, headers=headers) as session:
        await asyncio.gather(*(worker(session) for _ in range(concurrency)))
    pq.write_table(pa.table({"output": answers}), out)


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.install()
    except ImportError:
        pass
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), out=sys.argv[4]))
