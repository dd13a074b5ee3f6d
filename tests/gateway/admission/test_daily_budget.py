"""Daily budget: all runs together never pass a day's money, whoever comes, goes and dies."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import redis_server
from rowmill.schemas.errors import JobError
from rowmill.schemas.price import PICO
from rowmill.schemas.safeguards import BudgetPerDay
from rowmill.schemas.termination import TerminationKind
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.budget_store import BudgetStore, FileStore, RedisStore, open_budget_store
from rowmill.tasks.gateway.admission.concurrency import Concurrency
from rowmill.tasks.gateway.admission.daily_budget import DailyBudget, Part
from rowmill.tasks.gateway.admission.gate import Gate, Halted
from rowmill.tasks.gateway.admission.limiter import Limiter
from rowmill.tasks.gateway.admission.permit import Permit
from tests.clocks import FakeClock

MIDNIGHT = 1_795_651_200.0  # 2026-11-26T00:00Z
DAY = 10 * PICO
TOLD = BudgetPerDay(name="team-a", usd_per_day=Decimal(10))


class Output:
    """An output over its runs: what it has cost, what it may have cost, and the part that its run had when it died."""

    def __init__(self, name: str) -> None:
        self.name, self.runs = name, 0
        self.spent = 0
        self.part: Part | None = None
        self.gate: Gate | None = None
        self.calls: list[tuple[Permit, str]] = []

    async def start(self, store: BudgetStore, clock: FakeClock, zone: str = "UTC", told: BudgetPerDay = TOLD) -> None:
        self.runs += 1
        budget = Budget(None, self.spent, lambda words: None)
        self.gate = Gate(
            limiter=Limiter(None, None, clock.now()), concurrency=Concurrency(50), budget=budget, clock=clock,
            outage_s=60,
        )  # fmt: skip
        self.gate.verify()

        def publish(part: Part | None) -> None:
            self.part = part

        before = self.part
        daily = DailyBudget(
            store, told, budget, run_id=f"{self.name}-{self.runs}", zone=zone, clock=clock, publish=publish,
            wake=self.gate.look_again,
        )  # fmt: skip
        await daily.open(before)
        self.gate.daily = daily

    async def call(self, worst: int) -> Permit | None:
        """Admit a call; None where the run ended instead, or waits for those in flight."""
        assert self.gate is not None
        waiting = asyncio.create_task(self.gate.enter(0, 1, worst))
        for _ in range(50):
            await asyncio.sleep(0)
            if waiting.done():
                break
        else:
            # A store in a thread answers when it has.
            await asyncio.wait([waiting], timeout=0.05 if self.gate.in_flight else 5)
        if not waiting.done():
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            return None
        try:
            return waiting.result()
        except Halted:
            return None

    def die(self) -> None:
        """Killed: what was in flight may have been paid, so it counts at its worst from now on."""
        assert self.gate is not None
        self.spent = self.gate.budget.spent + sum(permit.worst_usd for permit, _ in self.calls)
        self.calls, self.gate = [], None

    async def end(self) -> None:
        assert self.gate is not None
        assert self.gate.daily is not None
        for permit, _ in self.calls:
            self.gate.release(permit, used_tokens=1, cost_usd=permit.worst_usd, failure=None)
        self.calls = []
        await self.gate.daily.aclose()
        self.spent, self.gate = self.gate.budget.spent, None


class MemoryStore(FileStore):
    """The same in a dict, at once."""

    def __init__(self) -> None:
        super().__init__(Path(), "memory")
        self.told: dict[str, dict[str, int]] = {}

    async def zone(self, zone: str) -> str:
        return zone

    async def reserve(self, day: str, run: str, **amounts: int):
        from rowmill.tasks.gateway.admission.budget_store import part_of

        return part_of(self.told.setdefault(day, {}), run, **amounts)

    async def settle(self, day: str, run: str, amount: int):
        from rowmill.tasks.gateway.admission.budget_store import Reserved

        self.told.setdefault(day, {})[run] = amount
        return Reserved(amount, 0)


which = st.integers(0, 3)
calls = st.tuples(st.just("call"), which, st.integers(PICO, 4 * PICO))
bills = st.tuples(st.just("bill"), which, st.sampled_from([0, 50, 90, 100]))
ends = st.tuples(st.sampled_from(["die", "end", "keep", "keep"]), which, st.just(0))
hours = st.tuples(st.just("hours"), st.just(0), st.integers(1, 12))
steps = st.one_of(calls, calls, calls, calls, calls, calls, bills, bills, bills, ends, ends, hours)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, min_size=30, max_size=80))
def test_a_days_money_is_never_passed(walk):
    """Four outputs of one budget whose runs start, call, are billed anything up to the worst, die with calls in flight,
    end and start again, over days: what calls of a day were billed, or may have been, never passes the day's money.
    """

    async def play() -> None:
        store, clock = MemoryStore(), FakeClock(MIDNIGHT + 5 * 3600)
        outputs = [Output(f"o{n}") for n in range(4)]
        billed: Counter[str] = Counter()

        def day() -> str:
            return str(int(clock.wall() // 86_400))

        def hold() -> None:
            open_calls: Counter[str] = Counter()
            for one in outputs:
                for permit, of in one.calls:
                    open_calls[of] += permit.worst_usd
            assert all(billed[of] + open_calls[of] <= DAY for of in {*billed, *open_calls})

        for what, which, number in walk:
            one = outputs[which]
            if what == "hours":
                clock.time += number * 3600
                continue
            if one.gate is None:
                await one.start(store, clock)
            if what == "call":
                if (permit := await one.call(number)) is not None:
                    one.calls.append((permit, day()))
                elif one.gate.termination is not None:
                    assert one.gate.termination.code == "daily_budget"
                    await one.end() if not one.calls else None
            elif what == "bill" and one.calls:
                permit, of = one.calls.pop(0)
                cost = permit.worst_usd * number // 100
                billed[of] += cost
                one.gate.release(permit, used_tokens=1, cost_usd=cost, failure=None)
            elif what == "die":
                for permit, of in one.calls:
                    billed[of] += permit.worst_usd
                one.die()
            elif what == "end":
                for permit, of in one.calls:
                    billed[of] += permit.worst_usd
                await one.end()
            elif what == "keep":
                assert one.gate.daily is not None
                keeping = asyncio.create_task(one.gate.daily.keep())
                for _ in range(5):
                    await asyncio.sleep(0)
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
            hold()
        for one in outputs:
            if one.gate is not None:
                one.die()

    asyncio.run(play())


async def test_nearly_all_of_a_days_money_can_be_spent() -> None:
    """Two runs with calls of a cent spend the day's ten dollars to within a call each, and are told why they end."""
    store, clock = MemoryStore(), FakeClock(MIDNIGHT)
    outputs = [Output("a"), Output("b")]
    for one in outputs:
        await one.start(store, clock)
    cent = PICO // 100
    while any(one.gate.termination is None for one in outputs if one.gate):
        for one in outputs:
            assert one.gate is not None
            if one.gate.termination is None and (permit := await one.call(cent)) is not None:
                one.gate.release(permit, used_tokens=1, cost_usd=cent, failure=None)
    spent = [one.gate.budget.spent for one in outputs if one.gate]
    assert DAY - 2 * cent <= sum(spent) <= DAY
    told = outputs[0].gate.termination
    assert (told.kind, told.code) == (TerminationKind.BUDGET, "daily_budget")
    assert "of $10.00 for 2026-11-26" in told.message
    assert "The day turns at 2026-11-27 00:00:00 UTC" in told.next


async def test_a_killed_runs_part_counts_until_its_output_starts_again() -> None:
    """What it reserved and did not spend is nobody else's until its bill is known; then it is."""
    store, clock = MemoryStore(), FakeClock(MIDNIGHT)
    first, second = Output("a"), Output("b")
    await first.start(store, clock)
    for _ in range(3):
        permit = await first.call(3 * PICO)
        assert permit is not None
        first.gate.release(permit, used_tokens=1, cost_usd=PICO, failure=None)
    permit = await first.call(6 * PICO)
    assert permit is not None
    first.calls.append((permit, ""))
    first.die()
    assert first.spent == 9 * PICO
    await second.start(store, clock)
    assert await second.call(PICO) is None
    assert second.gate.termination.code == "daily_budget"
    await second.end()
    # The bill of the lost call turns out to be small.
    first.spent = 4 * PICO
    await first.start(store, clock)
    await second.start(store, clock)
    assert await second.call(5 * PICO) is not None


async def test_the_day_is_the_zones_and_a_new_one_has_its_whole_money() -> None:
    """Empty at 23:59 in Berlin, whole at midnight there, which is 23:00 UTC."""
    store, clock = MemoryStore(), FakeClock(MIDNIGHT - 3_660)
    one = Output("a")
    await one.start(store, clock, "Europe/Berlin")
    permit = await one.call(DAY)
    assert permit is not None
    one.gate.release(permit, used_tokens=1, cost_usd=DAY, failure=None)
    clock.time += 61
    assert await one.call(DAY) is not None
    assert sorted(store.told) == ["2026-11-25", "2026-11-26"]


class Away(MemoryStore):
    """A store that goes away."""

    is_away = False

    async def reserve(self, day: str, run: str, **amounts: int):
        if self.is_away:
            raise OSError("no route to host")
        return await super().reserve(day, run, **amounts)

    settle_at_once = MemoryStore.settle

    async def settle(self, day: str, run: str, amount: int):
        if self.is_away:
            raise OSError("no route to host")
        return await super().settle(day, run, amount)


async def test_a_store_that_is_away_refuses_the_start() -> None:
    """Before the first call, naming the store and the way out."""
    store = Away()
    store.is_away = True
    with pytest.raises(JobError, match="no route to host") as caught:
        await Output("a").start(store, FakeClock(MIDNIGHT))
    assert caught.value.hint is not None
    assert "ROWMILL_REDIS_URL" in caught.value.hint


async def test_a_store_that_goes_away_leaves_what_was_reserved() -> None:
    """The run goes on with that, then stops and says so; what it had left is given back by the next start."""
    store, clock = Away(), FakeClock(MIDNIGHT)
    one = Output("a")
    await one.start(store, clock)
    cent = PICO // 100
    permit = await one.call(cent)
    assert permit is not None
    one.gate.release(permit, used_tokens=1, cost_usd=cent, failure=None)
    store.is_away = True
    calls = 0
    while (permit := await one.call(cent)) is not None:
        one.gate.release(permit, used_tokens=1, cost_usd=cent, failure=None)
        calls += 1
    # A piece is a sixty-fourth of the day's money.
    assert calls == 15
    assert one.gate.termination.code == "daily_budget_store"
    await one.end()
    assert one.part is not None
    store.is_away = False
    await one.start(store, clock)
    assert store.told["2026-11-26"]["a-1"] == 16 * cent // 1_000


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    if redis_server.REDIS is None:
        pytest.skip("needs Debian's redis-server")
    with redis_server.running() as port:
        yield f"redis://:secret@127.0.0.1:{port}/0".replace(":secret@", "")


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 12), st.integers(0, 12), st.integers(0, 5), st.booleans()),
        max_size=25,
    ),
    st.integers(0, 10**9),
)
def test_file_and_redis_follow_one_rule(redis_url, walk, seed):
    """The same questions have the same answers from a file and from Redis, and no reservation passes the limit."""

    async def play() -> None:
        with tempfile.TemporaryDirectory() as folder:
            stores = (FileStore(Path(folder), "t"), RedisStore(redis_url, f"t{seed}-{len(walk)}-{hash(str(walk))}"))
            for run, wanted, least, held, settles in walk:
                told = []
                for store in stores:
                    if settles:
                        told.append(await store.settle("d", run, wanted))
                    else:
                        least = min(least, wanted)
                        told.append(await store.reserve("d", run, wanted=wanted, least=least, limit=10, held=held))
                assert told[0] == told[1]
            for store in stores:
                await store.close()

    asyncio.run(play())


@pytest.mark.parametrize("content", ["{", "[]", '{"days": {"2026-11-26": {"a": "1"}}}'])
async def test_a_damaged_file_is_not_guessed_at(tmp_path: Path, content: str) -> None:
    """What was spent today is unknown then: the start is refused, naming the file."""
    (tmp_path / "budget-team-a.json").write_text(content)
    store = open_budget_store("team-a", folder=tmp_path, redis_url=None)
    with pytest.raises(JobError, match="damaged"):
        await Output("a").start(store, FakeClock(MIDNIGHT))


async def test_runs_that_count_other_days_are_refused(tmp_path: Path) -> None:
    """One budget has one zone."""
    make: Callable[[], FileStore] = lambda: FileStore(tmp_path, "team-a")  # noqa: E731
    clock = FakeClock(MIDNIGHT)
    await Output("a").start(make(), clock)
    with pytest.raises(JobError, match="the days of budget team-a are those of UTC"):
        await Output("b").start(make(), clock, "Europe/Berlin")
    assert list(json.loads((tmp_path / "budget-team-a.json").read_text())["days"]) == ["2026-11-26"]


def test_a_bucket_needs_redis() -> None:
    """No folder holds all outputs then."""
    with pytest.raises(JobError, match="ROWMILL_REDIS_URL"):
        open_budget_store("team-a", folder=None, redis_url=None)
