"""Quality watch: when a run stops for its rows, and that no order of them decides it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.attempt import Spent
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.row import Cursor, Shard
from rowmill.schemas.safeguards import StopWhen
from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.tasks.run.quality_watch import SUSPICION, QualityWatch, drawn


def outcome(row: int, *, ok: bool, status: Status = Status.INVALID, attempts: int = 1, run: str = "now") -> Outcome:
    told = {} if ok else {"error_kind": "schema_violation", "error_message": f"$.n of {row} is no number"}
    return Outcome(f"r{row}", row, Status.OK if ok else status, spent=Spent(attempts), run_id=run, **told)


class Night:
    """A file of rows that are ok or not, asked in order, so many at a time, as the pipeline does it."""

    def __init__(self, ok: list[bool], rule: StopWhen | None, *, suspicious: bool = False) -> None:
        self.ok, self.settled = ok, set[int]()
        self.halted: Termination | None = None
        self.watch = QualityWatch(
            rule, "now", self.halt, rows_left=lambda: len(ok) - len(self.settled), suspicious=suspicious
        )  # fmt: skip

    def halt(self, termination: Termination) -> None:
        self.halted = self.halted or termination

    def ask(self, rows: list[int]) -> None:
        for row in rows:
            if row not in self.settled and self.halted is None:
                self.settled.add(row)
                self.watch.note(outcome(row, ok=self.ok[row]))

    def run(self, seed: int) -> Termination | None:
        shard, rng = Shard(0, 0, len(self.ok), Cursor("", 0, 0), ""), random.Random(seed)
        every = list(range(len(self.ok)))
        if not self.watch.is_suspicious:
            self.ask(every)
        while self.watch.is_suspicious:
            while rows := self.watch.draw(rng, [shard], None, is_settled=self.settled.__contains__):
                self.halted = None
                self.ask(sorted(rows))
            self.halted = self.watch.judge()
            if self.halted is not None:
                return self.halted
            self.ask(every)
        return self.halted


def test_a_run_in_which_everything_fails_stops_early():
    """Of 500 rows that all fail, at most 75 are asked; the message has the reason, an example and both counts."""
    night = Night([False] * 500, StopWhen())
    told = night.run(1)
    assert told is not None
    assert (told.kind, told.code) == (TerminationKind.QUALITY, "schema_violation")
    assert len(night.settled) <= 75
    assert "row r0: $.n of 0 is no number" in told.message
    assert f"{len(night.settled)} of {len(night.settled)} rows asked in this run are not ok" in told.message
    assert "--retry-failed" in told.next


@given(st.integers(60, 400), st.integers(0, 99))
def test_the_first_rows_of_a_sorted_file_are_not_the_file(bad, seed):
    """A file that begins with hundreds of rows that fail, a quarter of it at most, is asked to its end."""
    night = Night([False] * bad + [True] * (3 * bad), StopWhen())
    assert night.run(seed) is None
    assert len(night.settled) == 4 * bad


@given(st.integers(0, 99))
def test_a_share_that_is_half_is_seen_wherever_the_rows_stand(seed):
    """Seven rows in ten that fail stop a run that allows five in ten, however they are mixed."""
    rng = random.Random(seed)
    night = Night([rng.random() > 0.7 for _ in range(2_000)], StopWhen(not_ok=0.5, after=100))
    assert night.run(seed) is not None
    assert len(night.settled) < 1_000


@given(st.lists(st.booleans(), max_size=300), st.integers(0, 9), st.booleans())
def test_it_ends_whatever_the_rows_are(ok, seed, suspicious):
    """Either every row is asked or the run stops, and it stops only for a share that the rule does not allow."""
    night = Night(ok, StopWhen(not_ok=0.6, after=20), suspicious=suspicious)
    told = night.run(seed)
    if told is None:
        assert len(night.settled) == len(ok)
    else:
        assert sum(not ok[row] for row in night.settled) > 0.4 * len(night.settled)


def test_a_run_after_one_that_was_stopped_begins_with_a_trial():
    """Nights in which nothing was mended cost a few rows each; one in which it was goes on to the end."""
    night = Night([False] * 500, StopWhen(), suspicious=True)
    assert night.run(1) is not None
    assert len(night.settled) <= 25
    mended = Night([True] * 500, StopWhen(), suspicious=True)
    assert mended.run(1) is None
    assert len(mended.settled) == 500


@pytest.mark.parametrize(
    "row",
    [
        outcome(0, ok=False, status=Status.UNREADABLE),
        outcome(0, ok=False, attempts=0),
        outcome(0, ok=False, run="yesterday"),
    ],
    ids=["unreadable", "never asked", "of an earlier run"],
)
def test_rows_that_cost_nothing_do_not_count(row):
    """A line that cannot be read, a row that was never asked, and what an earlier run settled say nothing of this one."""
    halts: list[Termination] = []
    watch = QualityWatch(StopWhen(after=1), "now", halts.append, rows_left=lambda: 100)
    watch.note(row)
    assert not halts
    assert watch.rows == 0


@pytest.mark.parametrize("status", [Status.INVALID, Status.REFUSED, Status.FAILED])
def test_rows_that_were_asked_count_whatever_became_of_them(status):
    """Refused and failed rows are as little worth as invalid ones."""
    halts: list[Termination] = []
    watch = QualityWatch(StopWhen(after=1), "now", halts.append, rows_left=lambda: 100)
    watch.note(outcome(0, ok=False, status=status))
    assert halts == [SUSPICION]


def test_null_turns_it_off():
    """Without a rule nothing halts."""
    night = Night([False] * 500, None)
    assert night.run(1) is None
    assert len(night.settled) == 500


def test_what_workers_elsewhere_have_settled_counts_before_it_is_handed_over():
    """A cluster's run is suspected from what its workers say, not only when a shard is done."""
    halts: list[Termination] = []
    watch = QualityWatch(StopWhen(), "now", halts.append, rows_left=lambda: 10_000)
    watch.heard(49, 49)
    assert not halts
    watch.heard(60, 60)
    assert halts == [SUSPICION]


@given(st.integers(1, 40), st.integers(1, 5_000), st.integers(0, 9))
def test_drawn_rows_are_of_the_shards_and_not_settled(wanted, size, seed):
    """Whatever is left of the input, rows are drawn from it alone, and as many as are wanted where there are."""
    shards = [Shard(n, n * size, size, Cursor("", 0, 0), "") for n in range(3)]
    rows = drawn(random.Random(seed), shards, None, rows=wanted, is_out=lambda row: row % 2 == 0)
    assert all(row % 2 and 0 <= row < 3 * size for row in rows)
    assert len(rows) == min(wanted, sum(row % 2 for row in range(3 * size)))
