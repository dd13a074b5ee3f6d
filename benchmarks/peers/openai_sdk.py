"""Peer: the openai package over aiohttp, a semaphore, the way most loops are written."""

import asyncio
import json
import sys

from openai import AsyncOpenAI, DefaultAioHttpClient


async def main(port: str, rows: str, concurrency: int) -> None:
    slots = asyncio.Semaphore(concurrency)
    async with DefaultAioHttpClient() as http:
        client = AsyncOpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key="sk-x", http_client=http, timeout=60, max_retries=2
        )

        async def ask(text: str) -> str:
            async with slots:
                told = await client.chat.completions.create(
                    model="gemini-3-pro", messages=[{"role": "user", "content": text}]
                )
                return told.choices[0].message.content or ""

        with open(rows) as file:
            answers = await asyncio.gather(*(ask(json.loads(line)["text"]) for line in file))
    assert answers
    assert all(answers)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
