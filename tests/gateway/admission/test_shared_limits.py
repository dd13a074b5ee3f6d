"""Fleet: shares of a key's limits, given out by a real Redis under a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import redis_server
from rowmill.tasks.gateway.admission.shared_limits import GONE_S, Share, address_of, group_of, open_store

pytestmark = pytest.mark.skipif(redis_server.REDIS is None, reason="needs Debian's redis-server")
LIMIT = Share(1_000.0, 100_000.0)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with redis_server.running() as port:
        yield f"redis://127.0.0.1:{port}/0"


class Fleet:
    """Runs that beat when they are told to; what each goes by between its beats."""

    def __init__(self, url: str, name: str) -> None:
        self.store, self.now, self.held = open_store(url, name), 1_000_000.0, {}

    async def beat(self, seat: str, wants: float = 1.0, limit: Share = LIMIT) -> Share:
        wanted = Share(limit.rpm * wants, limit.tpm * wants)
        told = await self.store.beat(seat, limit, wanted, held=self.held.get(seat, Share()), now_ms=self.now)
        self.held[seat] = told.share
        return told.share


beats = st.tuples(st.just("beat"), st.sampled_from("abcdef"), st.sampled_from([0.0, 0.05, 0.3, 1.0]))
leaves = st.tuples(st.just("leave"), st.sampled_from("abcdef"), st.just(0.0))
passes = st.tuples(st.just("pass"), st.just(""), st.sampled_from([100.0, 1_000.0, 5_000.0]))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(beats, beats, beats, leaves, passes), max_size=40), st.integers(0, 10**9))
def test_all_shares_together_never_pass_the_limit(url, steps, name):
    """Whoever comes, goes, wants more or less, in whatever order: what the living hold is never above the limit."""

    async def play() -> None:
        fleet = Fleet(url, f"p{name}-{len(steps)}")
        heard: dict[str, float] = {}
        for what, seat, value in steps:
            if what == "pass":
                fleet.now += value
            elif what == "leave":
                await fleet.store.leave(seat)
                fleet.held.pop(seat, None)
                heard.pop(seat, None)
            else:
                await fleet.beat(seat, value)
                heard[seat] = fleet.now
            alive = [seat for seat, at in heard.items() if fleet.now - at <= GONE_S * 1_000]
            assert sum(fleet.held[seat].rpm for seat in alive) <= LIMIT.rpm * (1 + 1e-9)
            assert sum(fleet.held[seat].tpm for seat in alive) <= LIMIT.tpm * (1 + 1e-9)
        await fleet.store.close()

    asyncio.run(play())


def test_two_that_want_all_have_half_each_after_a_few_beats(url):
    """The whole is used, and nobody has more than another."""

    async def play() -> None:
        fleet = Fleet(url, "halves")
        for _ in range(4):
            for seat in "ab":
                await fleet.beat(seat)
            fleet.now += 1_000
        assert fleet.held["a"].rpm == fleet.held["b"].rpm == 500
        assert fleet.held["a"].tpm == fleet.held["b"].tpm == 50_000
        await fleet.store.close()

    asyncio.run(play())


def test_what_one_does_not_want_the_others_have(url):
    """One that wants a tenth has it, and two that want all share the rest."""

    async def play() -> None:
        fleet = Fleet(url, "tenth")
        for _ in range(5):
            for seat, wants in (("a", 0.1), ("b", 1.0), ("c", 1.0)):
                await fleet.beat(seat, wants)
            fleet.now += 1_000
        assert [round(fleet.held[seat].rpm) for seat in "abc"] == [100, 450, 450]
        await fleet.store.close()

    asyncio.run(play())


def test_the_share_of_one_that_is_gone_comes_back(url):
    """A run that is not heard of for ten seconds has no share any more; one that leaves gives it back at once."""

    async def play() -> None:
        fleet = Fleet(url, "gone")
        for _ in range(3):
            for seat in "ab":
                await fleet.beat(seat)
            fleet.now += 1_000
        fleet.now += GONE_S * 1_000 - 1_500
        assert (await fleet.beat("b")).rpm == 500
        fleet.now += 1_000
        assert (await fleet.beat("b")).rpm == 1_000
        await fleet.beat("c")
        await fleet.store.leave("b")
        assert (await fleet.beat("c")).rpm == 1_000
        await fleet.store.close()

    asyncio.run(play())


def test_a_store_that_forgot_everything_gives_out_no_share_twice(url):
    """After a restart each run is given no more than it held until all of them have told what they hold."""

    async def play() -> None:
        fleet = Fleet(url, "forgetful")
        for _ in range(3):
            for seat in "ab":
                await fleet.beat(seat)
            fleet.now += 1_000
        await fleet.store._client.flushall()
        assert (await fleet.beat("a")).rpm == 500
        assert (await fleet.beat("n")).rpm == 0
        assert (await fleet.beat("b")).rpm <= 500
        await fleet.store.close()

    asyncio.run(play())


def test_runs_that_were_told_different_limits_keep_to_the_smallest(url):
    """Two runs of one key with 1,000 and 600 a minute go by 600 together."""

    async def play() -> None:
        fleet = Fleet(url, "smallest")
        for _ in range(4):
            await fleet.beat("a")
            await fleet.beat("b", limit=Share(600.0, 0.0))
            fleet.now += 1_000
        assert fleet.held["a"].rpm == fleet.held["b"].rpm == 300
        await fleet.store.close()

    asyncio.run(play())


def test_neither_key_nor_password_is_in_a_name():
    """The group's name does not tell the key, and the address told to people has no password."""
    assert "sk-secret" not in group_of("https://host", "sk-secret")
    assert group_of("https://host", "sk-a") != group_of("https://host", "sk-b")
    assert address_of("redis://user:pass@host:6380/1") == "redis://host:6380/1"
