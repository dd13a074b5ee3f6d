"""Ledger: the manifest of a run, made from its parts' and open shards' sums. It always balances."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from rowmill.schemas.attempt import Spent
from rowmill.schemas.canary import CanaryReport
from rowmill.schemas.daily_spending import DailySpending
from rowmill.schemas.errors import OutputError
from rowmill.schemas.file_state import FileState
from rowmill.schemas.forecast import Forecast, ForecastAccuracy
from rowmill.schemas.json_text import JsonTextField
from rowmill.schemas.label_quality import LabelQuality
from rowmill.schemas.manifest import (
    Fingerprint,
    InputSummary,
    Manifest,
    PartDigest,
    Session,
    SplitStanding,
    Wait,
    asks_sandbox,
    difference,
)
from rowmill.schemas.model_prices import ModelPrices
from rowmill.schemas.quote import QuoteOutcome
from rowmill.schemas.tally import Tally, summed
from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.schemas.totals import Beside, EvidenceCounts, RowLedger, Totals
from rowmill.tasks.forecast.accuracy import measure_accuracy
from rowmill.tasks.gateway.admission.halts import RUN_AGAIN
from rowmill.tasks.input.survey import Survey
from rowmill.tasks.labelling.field_quality import FieldQuality
from rowmill.tasks.run.run_plan import RunPlan
from rowmill.tasks.run.timeline import Timeline
from rowmill.tasks.system.clock import Clock

SESSIONS_KEPT = 100
# Keys of a job that change what is made of the answers and not the answers.
SHOWN = ("keep", "gold", "votes", "quote", "label")
# Keys of a job's section about labels that do the same; others of it are part of the job's identity, or ask for it.
LABELS_SHOWN = ("weigh", "review", "review_below", "hierarchy")


def rowmill_version() -> str:
    try:
        return version("rowmill")
    except PackageNotFoundError:
        return "unknown"


class ManifestBuilder:
    """What run.json tells. `before` is the manifest found at the start, `unsettled` what open rows cost by shard."""

    def __init__(self, plan: RunPlan, clock: Clock, before: Manifest) -> None:
        """`before` is the manifest found at the start; an empty one where there was none."""
        self.fingerprint = plan.fingerprint
        self.before = before
        self.input_files: list[FileState] = []
        self.source: dict[str, Any] | None = None
        self.limit: int | None = None
        self.json_text_fields: list[JsonTextField] = []
        self.unsettled: dict[int, Spent] = {}
        self.digests: dict[str, PartDigest] = {}
        self.forecast: ForecastAccuracy | None = None
        self.label: LabelQuality | None = None
        # When the run has to end, in seconds since 1970 UTC.
        self.deadline: float | None = None
        self.quality: FieldQuality | None = None
        self.quote: QuoteOutcome | None = None
        self.canary: CanaryReport | None = None
        # What an output tells of the parts that it was made of.
        self.split: SplitStanding | None = None
        # What the day's budget says, where the job names one.
        self.budget: Callable[[], DailySpending | None] = lambda: None
        self.timeline = Timeline()
        self._waiting_since: float | None = None
        self._waiting_until = 0.0
        # People know the output by its address, wherever it stands while it is written.
        self._job = plan.job.model_copy(update={"output": plan.address})
        self._models, self._run_id, self._keys = plan.models, plan.run_id, dict(plan.fingerprint_keys)
        self._clock = clock
        self._started = self.now()

    def now(self) -> str:
        """The moment in ISO 8601, UTC."""
        return _instant(self._clock.wall())

    def refuse_another_job(self, where: str) -> None:
        """Raises OutputError, naming what changed, where the output belongs to a job with other answers."""
        told = self.before.fingerprint
        if told.hash in ("", self.fingerprint):
            return
        raise OutputError(
            f"these results were made by another job ({difference(told.keys, self._keys)})",
            where=where,
            hint="name another output, or use --fresh (the earlier results are then moved aside, not deleted)",
        )

    def is_shown_alike(self) -> bool:
        """Whether what stands was made with the same kept columns, gold, threshold of review and quote."""
        had = self.before.job
        now = self._job.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return all(_projected(had, key) == _projected(now, key) for key in SHOWN)

    def tells_of_calls(self, calls: int) -> bool:
        """Whether the manifest found at the start tells of so many calls, or more."""
        return self.before.totals.calls + self.before.beside.calls >= calls

    def was_complete(self, rows_in_parts: int) -> bool:
        """A complete run over the very same files and at least as many rows, with every part in place."""
        told = self.before.input
        wide_enough = told.limit is None or (self.limit is not None and self.limit <= told.rows)
        same = told.files == self.input_files and told.rows == rows_in_parts
        return self.before.is_complete and same and wide_enough

    @property
    def stopped_for_quality(self) -> bool:
        """Whether the run before this one was stopped because nearly every row was not ok."""
        return self.before.kind == TerminationKind.QUALITY

    def settled_rows(self, tallies: Mapping[int, Tally]) -> int:
        return sum(tally.rows for tally in tallies.values())

    def ended(self, halted: Termination | None, *, complete: bool) -> Termination:
        """Why the run ended. One that was halted after its last row is complete, unless its labels were too bad."""
        if halted is not None and halted.kind is TerminationKind.ACCURACY:
            return halted
        if complete:
            return Termination(TerminationKind.COMPLETE, None, "every row has its outcome", "")
        return halted or Termination(TerminationKind.INTERRUPTED, None, "the run ended early", RUN_AGAIN)

    def begin_waiting(self, now: float, until: float) -> float:
        """Note a wait for the spend limit. Returns when it began, also where an earlier session began it."""
        if self._waiting_since is None:
            told = self.before.waiting
            self._waiting_since = now if told is None else datetime.fromisoformat(told.since).timestamp()
        self._waiting_until = until
        return self._waiting_since

    def end_waiting(self) -> None:
        """A call was answered: the limit has turned, and the next wait begins anew."""
        self._waiting_since = None
        self.before = replace(self.before, waiting=None)

    def _waiting(self) -> Wait | None:
        if self._waiting_since is None:
            return None
        times = (self._waiting_since, self._waiting_until)
        since, until = (datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") for at in times)
        return Wait("spend_limit", since, until)

    @property
    def deadline_before(self) -> float | None:
        """The deadline of a run that waited for its spend limit when its process ended, in seconds since 1970 UTC."""
        told = self.before.deadline
        return datetime.fromisoformat(told).timestamp() if told and self.before.waiting else None

    def look_back(self, told: Forecast | None, sent: Spent, results: Path) -> None:
        """Hold the forecast that was made for this job against what its finished run cost."""
        if told is not None and told.job == self.fingerprint and told.rows.to_ask:
            self.forecast = measure_accuracy(told, sent, results)

    def manifest(
        self, tallies: Mapping[int, Tally], survey: Survey, termination: Termination | None, *, sent: Spent
    ) -> Manifest:
        """run.json. While the run lives its termination is null and its state `running`.

        `sent` is what all attempts came to that were ever sent for this output.
        """
        tally = summed(tallies.values())
        unsettled = sum(self.unsettled.values(), Spent())
        return Manifest(
            rowmill=rowmill_version(),
            name=self._job.name,
            run_id=self._run_id,
            state="running" if termination is None else "ended",
            started_at=self._started,
            updated_at=self.now(),
            sandbox=asks_sandbox(self._keys),
            model=self._models[0].name,
            prices=ModelPrices.of(self._models[0]),
            prices_escalated=ModelPrices.of(self._models[1]) if len(self._models) > 1 else None,
            job=self._job.model_dump(mode="json", by_alias=True, exclude_defaults=True),
            json_text_fields=self.json_text_fields,
            fingerprint=Fingerprint(self.fingerprint, self._keys),
            input=InputSummary(self.input_files, survey.rows, survey.complete, self.limit, self.source or UNSET),
            ledger=RowLedger.of(tally, survey.rows),
            totals=Totals.of(tally),
            evidence=EvidenceCounts.of(tally) if self._job.evidence else UNSET,
            beside=Beside.of(sent, tally.spent, unsettled),
            split=self.split or UNSET,
            parts={**self.before.parts, **self.digests},
            waiting=self._waiting(),
            canary=self.canary,
            budget=self.budget() or self.before.budget,
            deadline=None if self.deadline is None else _instant(self.deadline),
            forecast=self.forecast or self.before.forecast,
            label=self.label or self.before.label,
            **self._fields(),
            quote=UNSET if self._job.quote is None else self.quote or self.before.quote or None,
            course=self.timeline.samples(self._job.limits.rpm) or self.before.course,
            termination=termination,
            sessions=[*self.before.sessions[-SESSIONS_KEPT:], self._session(tally, termination)],
        )

    def _fields(self) -> dict[str, Any]:
        """Accuracy and agreement of the fields; as they were before until the run has ended."""
        if self.quality is not None:
            return {"fields": dict(self.quality.fields), "field_quality": self.quality.rows}
        is_told = self._job.gold is not None or self._job.has_votes
        before = self.before if is_told else Manifest()
        return {"fields": before.fields, "field_quality": before.field_quality}

    def _session(self, tally: Tally, termination: Termination | None) -> Session:
        return Session(
            run_id=self._run_id,
            started_at=self._started,
            ended_at=None if termination is None else self.now(),
            calls_until_now=tally.spent.calls,
            calls_before=self.before.totals.calls,
            termination=None if termination is None else termination.kind.value,
        )


def _instant(moment: float) -> str:
    """Seconds since 1970 → ISO 8601 in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")


def _projected(job: Mapping[str, Any], key: str) -> Any:
    """What of a job's key decides columns of its results: how good the fields have to be is none of it."""
    told = job.get(key) or None
    if key == "label" and isinstance(told, dict):
        return {name: told.get(name) for name in LABELS_SHOWN}
    return {name: one for name, one in told.items() if name != "min_accuracy"} if isinstance(told, dict) else told
