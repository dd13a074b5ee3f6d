"""Budget store: what each run has of a day's money: in the Redis that runs share, or in a file beside their outputs.

A run's part of a day is reserved before it is spent, and set to what was spent when the run ends. Nobody's part is ever
taken from them: that of a run which was killed counts until its output tells what it has cost. Amounts in 10⁻⁹ USD.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rowmill.schemas.errors import JobError, StorageError, first_line
from rowmill.tasks.gateway.admission.shared_limits import ANSWER_S, address_of, open_redis
from rowmill.tasks.system.durable import PRIVATE_FILE, published

# Days are known for so long after they have ended.
DAYS_KEPT = 40
LOCK_S, LOCK_LOOK_S = 10.0, 0.005
_SCRIPT = (Path(__file__).parent / "budget.lua").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Reserved:
    """A run's part of a day, and that of all other runs. `forgot`: the store knew less of the run than it holds."""

    own: int
    others: int
    forgot: bool = False


class BudgetStore(Protocol):
    """Where the parts of one budget stand. Methods raise OSError, or what the store's client raises."""

    where: str

    async def zone(self, zone: str) -> str:
        """The zone whose days are counted: this one, unless another was told before."""

    async def reserve(self, day: str, run: str, *, wanted: int, least: int, limit: int, held: int) -> Reserved:
        """Have `wanted` of the day in all, or as much of it as is left where that is `least` at the least."""

    async def settle(self, day: str, run: str, amount: int) -> Reserved:
        """Set a run's part to what it has spent."""

    async def close(self) -> None:
        """Let go of the store."""


def part_of(parts: dict[str, int], run: str, *, wanted: int, least: int, limit: int, held: int) -> Reserved:
    """The one rule: all parts together never pass the limit, unless a bill did. `budget.lua` is the same."""
    known = parts.get(run, 0)
    own = max(known, held)
    others = sum(amount for name, amount in parts.items() if name != run)
    if wanted <= own:
        own = wanted
    elif (most := min(wanted, limit - others)) >= least:
        own = max(own, most)
    parts[run] = own
    return Reserved(own, others, known < held)


class FileStore:
    """A JSON file in the folder that holds the outputs, changed under a lock and replaced whole."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path, self._lock = folder / f"budget-{name}.json", folder / f".budget-{name}.lock"
        self.where = str(self._path)

    async def zone(self, zone: str) -> str:
        return await asyncio.to_thread(self._zone, zone)

    async def reserve(self, day: str, run: str, *, wanted: int, least: int, limit: int, held: int) -> Reserved:
        def change(parts: dict[str, int]) -> Reserved:
            return part_of(parts, run, wanted=wanted, least=least, limit=limit, held=held)

        return await asyncio.to_thread(self._change, day, change)

    async def settle(self, day: str, run: str, amount: int) -> Reserved:
        def change(parts: dict[str, int]) -> Reserved:
            parts[run] = amount
            return Reserved(amount, sum(parts.values()) - amount)

        return await asyncio.to_thread(self._change, day, change)

    async def close(self) -> None:
        """Nothing is held between two changes."""

    def _zone(self, zone: str) -> str:
        with self._locked():
            told = self._read()
            if "time_zone" not in told:
                told["time_zone"] = zone
                self._write(told)
            return str(told["time_zone"])

    def _change(self, day: str, change: Any) -> Reserved:
        with self._locked():
            told = self._read()
            days: dict[str, dict[str, int]] = told.setdefault("days", {})
            before = dict(days.get(day, {}))
            reserved: Reserved = change(days.setdefault(day, {}))
            if days[day] != before:
                told["days"] = {one: days[one] for one in sorted(days)[-DAYS_KEPT:]}
                self._write(told)
            return reserved

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Raises OSError, also where another holds the lock for long."""
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            until = time.monotonic() + LOCK_S
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise OSError(f"another process has held {self._lock} for {LOCK_S:g} s") from None
                    time.sleep(LOCK_LOOK_S)
            yield
        finally:
            os.close(fd)

    def _read(self) -> dict[str, Any]:
        """Raises OSError for a file that is none of ours: it would have to be guessed what was spent."""
        try:
            told = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError:
            told = None
        days = told.get("days", {}) if isinstance(told, dict) else None
        if not isinstance(days, dict) or not all(
            isinstance(parts, dict) and all(type(part) is int for part in parts.values()) for parts in days.values()
        ):
            raise OSError(
                f"{self._path} is damaged: restore it, or delete it once no money of today's has to be counted"
            )
        return dict(told)

    def _write(self, told: dict[str, Any]) -> None:
        try:
            with published(self._path, self._path.name) as file:
                file.write(json.dumps(told, indent=1).encode())
        except StorageError as error:
            raise OSError(str(error)) from None


class RedisStore:
    """A hash a day in the Redis that runs share; it has to keep its data (appendonly), or the day begins anew."""

    def __init__(self, url: str, name: str, days_kept: int = DAYS_KEPT) -> None:
        """Raises JobError for an address that is none."""
        self._client, self._kept_ms = open_redis(url, "budget"), days_kept * 86_400_000
        self._name, self.where = f"rowmill:{{budget:{name}}}", address_of(url)
        self._script = self._client.register_script(_SCRIPT)

    async def zone(self, zone: str) -> str:
        await self._client.set(f"{self._name}:zone", zone, nx=True)
        return str(await self._client.get(f"{self._name}:zone"))

    async def reserve(self, day: str, run: str, *, wanted: int, least: int, limit: int, held: int) -> Reserved:
        return await self._run(day, run, wanted, least, limit, held, "")

    async def settle(self, day: str, run: str, amount: int) -> Reserved:
        return await self._run(day, run, amount, 0, 0, 0, "settle")

    async def _run(self, day: str, run: str, *arguments: int | str) -> Reserved:
        *numbers, how = arguments
        told = [run, *numbers, self._kept_ms, how]
        own, others, forgot = await asyncio.wait_for(
            self._script(keys=[f"{self._name}:{day}"], args=told), 2 * ANSWER_S
        )  # fmt: skip
        return Reserved(int(own), int(others), forgot == "1")

    async def close(self) -> None:
        await self._client.aclose()


def open_budget_store(
    name: str, *, folder: Path | None, redis_url: str | None, days_kept: int = DAYS_KEPT
) -> BudgetStore:
    """The store of a budget. `folder` holds the outputs, None where they stand in a bucket; a Redis forgets what nobody
    asked for in `days_kept` days.

    Raises JobError where there is none that all its runs reach.
    """
    if redis_url is not None:
        return RedisStore(redis_url, name, days_kept)
    if folder is None:
        raise JobError(
            "the budget of outputs in a bucket needs a Redis that all its runs reach",
            where="ROWMILL_REDIS_URL",
            hint="set it to redis://host:6379, or name an output folder",
        )
    return FileStore(folder, name)


def store_away(store: BudgetStore, error: Exception, key: str) -> JobError:
    """What cannot be reserved is not spent. `key` is that of the job which asks for it."""
    return JobError(
        f"the store of the budget cannot be used: {first_line(error) or type(error).__name__}",
        where=store.where,
        hint=f"mend it, set ROWMILL_REDIS_URL to another Redis, or take {key} out of the job",
    )
