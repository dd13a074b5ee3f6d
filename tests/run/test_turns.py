"""Turns: shards take up their rows in the order in which they began, however long each took to open."""

from __future__ import annotations

import asyncio

import pytest

from rowmill.tasks.run.turns import Turn, Turns


async def test_turns_come_in_the_order_in_which_they_were_given() -> None:
    """Whoever is ready first waits for those before; one that is given up holds nobody."""
    turns, told = Turns(), list[str]()

    async def take(name: str, turn: Turn, opens_after: int) -> None:
        for _ in range(opens_after):
            await asyncio.sleep(0)
        with turn:
            await turn.come()
            told.append(name)
            await asyncio.sleep(0)
            told.append(name)

    slow, given_up, quick = (turns.next() for _ in range(3))
    tasks = [asyncio.create_task(take("quick", quick, 0)), asyncio.create_task(take("slow", slow, 9))]
    with pytest.raises(KeyError), given_up:
        raise KeyError
    await asyncio.gather(*tasks)
    assert told == ["slow", "slow", "quick", "quick"]
