"""Quality watch: whether so many rows are not ok that the run had better stop; and the trial that decides it.

Rows are asked in the input's order, and the first rows of a sorted file are not the file. So rows settled in order only
raise a suspicion; then rows are drawn at random over the whole input and asked next, and these decide.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from rowmill.schemas.display_text import one_line
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.row import Shard
from rowmill.schemas.safeguards import StopWhen
from rowmill.schemas.termination import Termination, TerminationKind

# Reasons told, rows told of each, characters of each row's message.
REASONS, EXAMPLES, WORDS = 3, 2, 160
# A drawn row may be settled already or wait for another's answer: so often others are drawn in its place.
DRAWS = 4
# Up to so many times the wanted rows all are listed; beyond that so many are drawn.
FEW = 200
NEXT = (
    "Look at these rows (rowmill view OUT) and mend the job, the input or the gateway. Run again then: it begins with "
    "a few rows drawn at random and goes on if they are ok. Rows of the input that were edited are asked again by "
    "themselves, rows that are settled and not ok with --retry-failed; a job with another prompt, schema or model asks "
    "everything anew, with --fresh or into another output. stop_when: null turns this stop off"
)
# Holds calls back until drawn rows have decided.
SUSPICION = Termination(TerminationKind.QUALITY, "trial", "rows drawn at random are asked first", NEXT)


class QualityWatch:
    """Counts the rows that calls were made for in one run. `halt` ends the run for calls that are not in flight.

    Without a rule it counts and never halts.
    """

    def __init__(
        self,
        rule: StopWhen | None,
        run_id: str,
        halt: Callable[[Termination], None],
        *,
        rows_left: Callable[[], int | None],
        suspicious: bool = False,
    ) -> None:
        """`rows_left` tells how many rows are not settled, None where that is not known yet. `suspicious`: the run
        before this one was stopped for its quality, so that this one begins with a trial.
        """
        self._rule, self._run_id, self._halt, self._rows_left = rule, run_id, halt, rows_left
        self.rows, self.not_ok = 0, 0
        # What workers elsewhere have settled and not handed over.
        self._away_rows, self._away_not_ok = 0, 0
        self._reasons: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}
        self.is_suspicious = suspicious and rule is not None
        self._look_at = rule.after if rule is not None else 0
        # Rows drawn for the trial, and those of them that have ended so far.
        self._drawn: set[int] = set()
        self._trial_rows, self._trial_not_ok = 0, 0
        self._draws = 0

    def note(self, outcome: Outcome) -> None:
        """A row has its outcome."""
        paid_now = outcome.run_id == self._run_id and outcome.reused_from is None and outcome.spent.attempts > 0
        if self._rule is None or not paid_now or outcome.status is Status.UNREADABLE:
            return
        self.rows += 1
        if outcome.status is not Status.OK:
            self.not_ok += 1
            self._explain(outcome)
        if outcome.row_index in self._drawn:
            self._trial_rows += 1
            self._trial_not_ok += outcome.status is not Status.OK
        self._look()

    def heard(self, rows: int, not_ok: int) -> None:
        """How many rows workers elsewhere have settled and not handed over yet: they are told one by one then."""
        self._away_rows, self._away_not_ok = rows, not_ok
        self._look()

    def _explain(self, outcome: Outcome) -> None:
        kind = outcome.error_kind or outcome.status.value
        self._reasons[kind] += 1
        examples = self._examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(f"row {outcome.row_id}: {one_line(outcome.error_message or '')[:WORDS]}")

    # The rows settled so far.

    def _look(self) -> None:
        if self._rule is None:
            return
        if self.is_suspicious:
            if self._trial_is_lost:
                self._halt(SUSPICION)
            return
        rows, not_ok = self.rows + self._away_rows, self.not_ok + self._away_not_ok
        if rows < self._look_at:
            return
        # The next look comes after as many rows again: a trial that was passed is not held again at once.
        self._look_at = 2 * rows
        if not_ok > self._rule.not_ok * rows:
            self.is_suspicious = True
            self._halt(SUSPICION)

    # The rows drawn.

    @property
    def _trial_is_lost(self) -> bool:
        """Whether more drawn rows are not ok than the rule allows, whatever becomes of the others."""
        assert self._rule is not None
        not_ok = self._trial_not_ok + (self._away_not_ok if self._drawn else 0)
        return not_ok > self._rule.not_ok * self._rule.drawn

    def draw(
        self,
        rng: random.Random,
        shards: Sequence[Shard],
        among: frozenset[int] | None,
        *,
        is_settled: Callable[[int], bool],
    ) -> frozenset[int]:
        """Rows to ask next, drawn at random over these shards, or `among` the rows that alone are to be settled now.

        None where the trial can be decided without.
        """
        assert self._rule is not None
        missing = self._rule.drawn - self._trial_rows
        if missing <= 0 or self._trial_is_lost or self._draws >= DRAWS or self._is_certain:
            return frozenset()
        self._draws += 1
        rows = drawn(rng, shards, among, rows=missing, is_out=lambda row: row in self._drawn or is_settled(row))
        self._drawn |= rows
        return rows

    @property
    def _is_certain(self) -> bool:
        """Whether too many rows are not ok even if all that are left were ok."""
        assert self._rule is not None
        left = self._rows_left()
        return left is not None and self.rows > 0 and self.not_ok > self._rule.not_ok * (self.rows + left)

    def judge(self) -> Termination | None:
        """End the trial: why the run stops, or None where it goes on."""
        assert self._rule is not None
        rows, not_ok = self._trial_rows, self._trial_not_ok
        stops = self._is_certain or (rows > 0 and not_ok > self._rule.not_ok * rows)
        told = self._stop() if stops else None
        self.is_suspicious = False
        self._drawn, self._trial_rows, self._trial_not_ok, self._draws = set(), 0, 0, 0
        self._look_at = max(self._look_at, 2 * self.rows)
        return told

    def _stop(self) -> Termination:
        assert self._rule is not None
        drawn = f", {self._trial_not_ok} of {self._trial_rows} drawn at random" if self._trial_rows else ""
        reasons = "; ".join(
            f"{count} {kind} ({'; '.join(self._examples[kind])})" for kind, count in self._reasons.most_common(REASONS)
        )
        message = f"{self.not_ok} of {self.rows} rows asked in this run are not ok{drawn}"
        told = f"{message}; stop_when allows {self._rule.not_ok:.4g} of them. Why: {reasons}"
        ((kind, _),) = self._reasons.most_common(1)
        return Termination(TerminationKind.QUALITY, kind, told, NEXT)


def drawn(
    rng: random.Random,
    shards: Sequence[Shard],
    among: frozenset[int] | None,
    *,
    rows: int,
    is_out: Callable[[int], bool],
) -> frozenset[int]:
    """So many positions at random, each as likely as another; fewer where hardly any are left to draw."""
    sizes = [shard.rows for shard in shards]
    if among is None and sum(sizes) <= FEW * rows:
        among = frozenset(row for shard in shards for row in range(shard.first_row, shard.last_row + 1))
    if among is not None:
        candidates = [row for row in sorted(among) if not is_out(row)]
        return frozenset(rng.sample(candidates, min(rows, len(candidates))))
    found: set[int] = set()
    for _ in range(FEW * rows):
        shard = rng.choices(shards, sizes)[0]
        row = rng.randint(shard.first_row, shard.last_row)
        if not is_out(row):
            found.add(row)
        if len(found) == rows:
            break
    return frozenset(found)
