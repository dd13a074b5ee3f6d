"""Peer: LiteLLM's acompletion under a semaphore."""

import asyncio
import json
import sys

import litellm

litellm.suppress_debug_info = True
litellm.telemetry = False


async def main(port: str, rows: str, concurrency: int) -> None:
    slots = asyncio.Semaphore(concurrency)

    async def ask(text: str) -> str:
        async with slots:
            told = await litellm.acompletion(
                model="openai/gemini-3-pro", api_base=f"http://127.0.0.1:{port}/v1", api_key="sk-x",
                messages=[{"role": "user", "content": text}],
            )  # fmt: skip
            return told.choices[0].message.content or ""

    with open(rows) as file:
        answers = await asyncio.gather(*(ask(json.loads(line)["text"]) for line in file))
    assert answers
    assert all(answers)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
