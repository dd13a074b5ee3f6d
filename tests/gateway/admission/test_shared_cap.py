"""Shared cap: the parts of a job together never pass its cap, whoever comes, goes and dies, and can spend nearly all."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowmill.schemas.part_of import PartOf
from rowmill.schemas.price import PICO
from rowmill.schemas.termination import TerminationKind
from rowmill.tasks.gateway.admission.budget import Budget
from rowmill.tasks.gateway.admission.concurrency import Concurrency
from rowmill.tasks.gateway.admission.gate import Gate, Halted
from rowmill.tasks.gateway.admission.limiter import Limiter
from rowmill.tasks.gateway.admission.permit import Permit
from rowmill.tasks.gateway.admission.shared_cap import SharedCap
from tests.clocks import FakeClock
from tests.gateway.admission.test_daily_budget import MemoryStore

CAP = 10 * PICO


class PartOutput:
    """The output of one part over its runs, with what it has cost."""

    def __init__(self, number: int, parts: int) -> None:
        self.of = PartOf(name="t", output="out", part=number, parts=parts, first=None, end=None)
        self.spent = 0
        self.gate: Gate | None = None
        self.calls: list[Permit] = []

    async def start(self, store: MemoryStore) -> Gate:
        clock = FakeClock(0.0)
        budget = Budget(CAP, self.spent, lambda words: None)
        gate = self.gate = Gate(
            limiter=Limiter(None, None, clock.now()), concurrency=Concurrency(50), budget=budget, clock=clock,
            outage_s=60,
        )  # fmt: skip
        gate.verify()
        cap = SharedCap(store, self.of, CAP, budget=budget, name="t", clock=clock, wake=gate.look_again)
        await cap.open()
        gate.shared_cap = cap
        return gate

    async def call(self, worst: int) -> Permit | None:
        """Admit a call; None where the part's run ended instead, or waits for calls in flight."""
        assert self.gate is not None
        waiting = asyncio.create_task(self.gate.enter(0, 1, worst))
        for _ in range(50):
            await asyncio.sleep(0)
            if waiting.done():
                break
        else:
            waiting.cancel()
        try:
            return await waiting
        except (Halted, asyncio.CancelledError):
            return None

    def bill(self, permit: Permit, cost: int) -> None:
        assert self.gate is not None
        self.gate.release(permit, used_tokens=1, cost_usd=cost, failure=None)

    def die(self) -> None:
        """Killed: what was in flight counts at its worst in the output's own ledger."""
        assert self.gate is not None
        self.spent = self.gate.budget.spent + sum(permit.worst_usd for permit in self.calls)
        self.calls, self.gate = [], None

    async def end(self) -> None:
        assert self.gate is not None
        assert self.gate.shared_cap is not None
        for permit in self.calls:
            self.bill(permit, permit.worst_usd)
        await self.gate.shared_cap.aclose()
        self.spent, self.calls, self.gate = self.gate.budget.spent, [], None

    @property
    def at_most(self) -> int:
        spent = self.spent if self.gate is None else self.gate.budget.spent
        return spent + sum(permit.worst_usd for permit in self.calls)


which = st.integers(0, 3)
steps = st.one_of(
    *[st.tuples(st.just("call"), which, st.integers(PICO // 10, 2 * PICO))] * 3,
    *[st.tuples(st.just("bill"), which, st.sampled_from([0, 50, 100]))] * 2,
    st.tuples(st.sampled_from(["die", "end"]), which, st.just(0)),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, min_size=30, max_size=80))
def test_the_cap_is_never_passed(walk: list[tuple[str, int, int]]) -> None:
    """Four parts that start, call, are billed up to the worst, die with calls in flight, end and start again."""

    async def play() -> None:
        store = MemoryStore()
        parts = [PartOutput(number, 4) for number in range(1, 5)]
        for what, place, number in walk:
            part = parts[place]
            if part.gate is None:
                await part.start(store)
            if what == "call" and (permit := await part.call(number)) is not None:
                part.calls.append(permit)
            elif what == "bill" and part.calls:
                permit = part.calls.pop(0)
                part.bill(permit, permit.worst_usd * number // 100)
            elif what == "die":
                part.die()
            elif what == "end":
                await part.end()
            assert sum(one.at_most for one in parts) <= CAP

    asyncio.run(play())


async def test_many_parts_spend_nearly_all_of_it() -> None:
    """A hundred parts with calls of a cent leave less than a twentieth of it, and each is told why it ends."""
    store = MemoryStore()
    parts = [PartOutput(number, 100) for number in range(1, 101)]
    gates = [await part.start(store) for part in parts]
    cent = PICO // 100
    while any(gate.termination is None for gate in gates):
        for part, gate in zip(parts, gates, strict=True):
            if gate.termination is None and (permit := await part.call(cent)) is not None:
                part.bill(permit, cent)
    spent = sum(gate.budget.spent for gate in gates)
    assert CAP * 19 // 20 <= spent <= CAP
    told = gates[0].termination
    assert told is not None
    assert (told.kind, told.code) == (TerminationKind.BUDGET, "shared_cap")
    assert "max_cost_usd of all 100 parts: of $10.00" in told.message


async def test_a_store_that_lost_a_part_knows_it_again_when_it_runs() -> None:
    """What a part has cost stands in its own output."""
    store = MemoryStore()
    part, other = PartOutput(1, 2), PartOutput(2, 2)
    part.spent = 9 * PICO
    await part.start(store)
    await other.start(store)
    assert await other.call(2 * PICO) is None
    await other.start(store)
    assert await other.call(PICO) is not None
