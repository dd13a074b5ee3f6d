"""The law of money and of right answers, over every sequence of runs, kills, edits, retries, caps and weathers."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.law import runs
from tests.law.gateway import WEATHERS
from tests.law.random_walk import PLACES, random_setting, random_step, read_script, script, shrunk, walk
from tests.law.stage import Stage, in_memory, staged
from tests.law.world import CAPS, PRICE_FACTORS, RETRY_KINDS, Broken, Setting, Step, World

STEPS_A_WALK = 20
WALKS = 27
SEEDED = 50
# Seeds of short walks in which runs are killed, stopped and gone on with.
SEEDED_ELSEWHERE = (("bucket", 6), ("bucket", 31), ("cluster", 17), ("cluster", 0))
STEPS_ELSEWHERE = 7
# Walks that broke the law once, and what they broke it by.
BROKE_IT = {
    "two rows that ask the same, of which the later one's shard is open first": """
        setting labels=True with_id=False flash=True concurrency=1 content=0 seed=44 shard=3
        set_cap 1
        run
        append_same 14
        set_weather 4
        run
        set_cap 0
        stop 1 6 1 4 1
    """,
    "a retry that was stopped, then a run that took the old failure for the answer": """
        setting labels=True with_id=True flash=False concurrency=3 content=2 seed=811 shard=3
        edit 7
        set_weather 4
        run_first 7
        stop 4 4 0 1 1
        run
        kill 13 5 0 4 1
    """,
    "the same, after rows that were set aside": """
        setting labels=True with_id=True flash=False concurrency=3 content=2 seed=242 shard=3
        set_prices 1
        run
        delete 7
        give_back 3 1
        roll 3
        revert 1 0
        kill 12 5 0 1 0
        run
        roll 3
        set_weather 8
        append_same 2
        append 2
        retry 4
        run_first 8
    """,
    "two rows that ask the same, of which the one that began later was set aside last": """
        setting labels=True with_id=True flash=False concurrency=8 content=0 seed=0 shard=3
        append_same 0
        append 1
        set_weather 1
        stop 3 0 1 0 0
        stop 0 0 1 0 0
        edit 1
        edit 4
        run
    """,
}
STEPS_LEAST = 2_000
SHRINK_S = 20.0
MINUTES = float(os.environ.get("ROWMILL_LAW_MINUTES", "60"))
ROW = st.integers(0, 19)
CALLS = st.integers(0, 13)

# Steps taken, and the machines that have walked to their end.
taken = 0
walked: list[str] = []


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as one:
        yield one


class Law(RuleBasedStateMachine):
    """Steps over one output. Every step ends by holding what is left to the law."""

    stage: Stage
    labels = False
    content = st.just(2)
    weathers = tuple(WEATHERS)

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=in_memory(), prefix="law-"))
        self.world: World | None = None

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        draw = data.draw
        setting = Setting(
            labels=self.labels,
            with_id=draw(st.booleans(), "with_id"),
            stream=draw(st.booleans(), "stream"),
            flash=draw(st.booleans(), "flash"),
            concurrency=draw(st.sampled_from((1, 3, 8)), "concurrency"),
            content=draw(self.content, "content"),
            seed=draw(st.integers(0, 999), "seed"),
            shard=draw(st.sampled_from((0, 3, 5)), "shard"),
        )
        self.world = World(self.folder, self.stage, setting)
        self.step("set_weather", list(WEATHERS).index(draw(st.sampled_from(self.weathers), "weather")))

    def step(self, name: str, *numbers: int) -> None:
        """Take a step. Raises Broken with the walk and the books."""
        global taken
        taken += 1
        assert self.world is not None
        try:
            self.world.do(Step(name, numbers))
        except (Broken, runs.Hung) as error:
            error.add_note(self.world.told() + "\nreplay:\n" + script(self.world.setting, self.world.walk))
            error.walk = self.world.setting, list(self.world.walk)
            raise

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    # The input.

    @rule(count=st.integers(1, 4))
    def append(self, count: int) -> None:
        self.step("append", count)

    @rule(at=ROW)
    def append_same(self, at: int) -> None:
        self.step("append_same", at)

    @rule(at=ROW)
    def edit(self, at: int) -> None:
        self.step("edit", at)

    @rule(at=ROW, which=st.integers(0, 3))
    def revert(self, at: int, which: int) -> None:
        self.step("revert", at, which)

    @rule(at=ROW)
    def delete(self, at: int) -> None:
        self.step("delete", at)

    @rule(which=st.integers(0, 5), at=ROW)
    def give_back(self, which: int, at: int) -> None:
        self.step("give_back", which, at)

    @rule(source=ROW, to=ROW)
    def move(self, source: int, to: int) -> None:
        self.step("move", source, to)

    @rule(count=st.integers(1, 4))
    def roll(self, count: int) -> None:
        self.step("roll", count)

    # The job, the prices, the gateway.

    @rule(which=st.integers(0, len(CAPS) - 1))
    def set_cap(self, which: int) -> None:
        self.step("set_cap", which)

    @rule(which=st.integers(0, len(PRICE_FACTORS) - 1))
    def set_prices(self, which: int) -> None:
        self.step("set_prices", which)

    @rule(data=st.data())
    def set_weather(self, data: st.DataObject) -> None:
        self.step("set_weather", list(WEATHERS).index(data.draw(st.sampled_from(self.weathers), "weather")))

    # Runs.

    @rule()
    def run(self) -> None:
        self.step("run")

    @rule(limit=st.integers(1, 10))
    def run_first(self, limit: int) -> None:
        self.step("run_first", limit)

    @rule(kind=st.integers(0, len(RETRY_KINDS) - 1))
    def retry(self, kind: int) -> None:
        self.step("retry", kind)

    @rule(
        after=CALLS, held=st.integers(0, 7), answered=st.integers(0, 1), delay=st.integers(0, 5), how=st.integers(0, 2)
    )
    def kill(self, after: int, held: int, answered: int, delay: int, how: int) -> None:
        self.step("kill", after, held, answered, delay, how)

    @rule(
        after=CALLS, held=st.integers(0, 7), answered=st.integers(0, 1), delay=st.integers(0, 5), how=st.integers(0, 2)
    )
    def stop(self, after: int, held: int, answered: int, delay: int, how: int) -> None:
        self.step("stop", after, held, answered, delay, how)


class Plain(Law):
    """Extraction by answers that are good at once, where the gateway gives any."""

    weathers = ("calm", "untold", "failing", "upstream", "busy", "spent", "dropping")


class Reasked(Law):
    """Extraction whose answers break the schema again and again."""

    content = st.sampled_from((0, 2, 5))
    weathers = ("bad", "worse", "storm", "calm")


class Votes(Law):
    """Labels by three votes, and a stronger model where they disagree."""

    labels = True
    weathers = ("calm", "divided", "untold", "bad", "spent", "dropping")


class VotesInStorms(Law):
    """The same in every weather."""

    labels = True
    content = st.sampled_from((0, 2, 5))


MACHINES = (Plain, Reasked, Votes, VotesInStorms)


def at_work(machine: type[Law], on: Stage) -> type[Law]:
    """What makes machines of a kind on the stage of this module."""

    class Ready(machine):  # type: ignore[misc, valid-type]
        stage = on

    Ready.__name__ = Ready.__qualname__ = machine.__name__
    return Ready


@pytest.mark.parametrize("machine", MACHINES)
def test_money_and_answers(stage: Stage, machine: type[Law]) -> None:
    """After every step what is known bounds what was billed, the cap holds, and every row has its own answer."""
    try:
        walk_all(at_work(machine, stage))
    except (Broken, runs.Hung) as error:
        if error.walk is not None:
            setting, steps = error.walk
            short = shrunk(stage, setting, steps, error.kind, SHRINK_S)
            again = walk(stage, setting, short)
            error.add_note(
                f"shortened:\n{again[1] if again else '(held this time)'}\nreplay:\n{script(setting, short)}"
            )
        raise
    walked.append(machine.__name__)


def walk_all(machine: type[Law]) -> None:
    """Raises Broken for the first walk that breaks the law."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=WALKS,
            stateful_step_count=STEPS_A_WALK,
            derandomize=True,
            database=None,
            deadline=None,
            # A broken walk is shortened below, within a time: runs are processes, and theirs is not repeatable.
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )


def walk_seeded(stage: Stage, seed: str, place: str, length: int) -> None:
    """Walk by a seed. Raises Failed with the shortened walk where it breaks the law."""
    global taken
    rng = random.Random(seed)
    setting = random_setting(rng, place)
    steps = [random_step(rng) for _ in range(length)]
    found = walk(stage, setting, steps)
    taken += len(steps)
    if found is not None:
        kind, about, cut = found
        short = shrunk(stage, setting, steps[:cut], kind, SHRINK_S)
        again = walk(stage, setting, short)
        pytest.fail(f"{place}, seed {seed!r}: {again[1] if again else about}\nreplay:\n{script(setting, short)}")


def test_money_and_answers_on_random_walks(stage: Stage) -> None:
    """The same on walks of a fixed seed, which are mostly runs."""
    for number in range(SEEDED):
        walk_seeded(stage, f"law {number}", "disk", STEPS_A_WALK)


@pytest.mark.parametrize("why", BROKE_IT)
def test_walks_that_broke_the_law(stage: Stage, why: str) -> None:
    """A walk that broke the law once does not again."""
    setting, steps = read_script(BROKE_IT[why])
    found = walk(stage, setting, steps)
    assert found is None, found


def test_steps_enough() -> None:
    """The law was held to two thousand steps at least, where every machine has walked to its end."""
    if len(walked) < len(MACHINES):
        pytest.skip("not every machine has walked to its end")
    assert taken >= STEPS_LEAST, f"{taken} steps: raise WALKS"


@pytest.mark.parametrize(("place", "number"), SEEDED_ELSEWHERE)
def test_money_and_answers_elsewhere(stage: Stage, place: str, number: int) -> None:
    """The same where the output stands in a bucket, and where workers of a cluster ask, some of which are killed."""
    walk_seeded(stage, f"{place} {number}", place, STEPS_ELSEWHERE)


@pytest.mark.nightly
def test_a_thousand_sequences(stage: Stage) -> None:
    """A thousand random sequences of edits, windows, returns, stops and retries give every row its own answer."""
    for number in range(1_000):
        walk_seeded(stage, f"thousand {number}", "disk", STEPS_A_WALK)


@pytest.mark.nightly
@pytest.mark.parametrize("place", PLACES)
def test_money_and_answers_all_night(stage: Stage, place: str) -> None:
    """Random walks of random lengths for ROWMILL_LAW_MINUTES minutes (60) in each place break no law."""
    seed = random.randrange(2**32)
    until, number = time.monotonic() + MINUTES * 60, 0
    broken: list[str] = []
    while time.monotonic() < until and len(broken) < 5:
        try:
            walk_seeded(stage, f"{seed} {number}", place, random.Random(number).choice((8, 20, 20, 50)))
        except pytest.fail.Exception as error:
            broken.append(str(error))
            # At once, for who watches with -s: the night may be long.
            print(error, flush=True)
        number += 1
    assert not broken, "\n\n".join(broken)
