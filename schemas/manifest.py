"""Manifest: what `run.json` holds, typed. The ledger always balances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from msgspec import UNSET, Struct, UnsetType, field, to_builtins
from msgspec.structs import asdict

from rowmill.schemas.attempt import FailureKind, Spent
from rowmill.schemas.canary import CanaryReport
from rowmill.schemas.daily_spending import DailySpending
from rowmill.schemas.errors import ExitCode
from rowmill.schemas.evidence import Match
from rowmill.schemas.field_quality import FieldScores, RowQuality
from rowmill.schemas.forecast import ForecastAccuracy
from rowmill.schemas.label_quality import LabelQuality
from rowmill.schemas.outcome import Status
from rowmill.schemas.price import ZERO, decimal_string
from rowmill.schemas.quote import QuoteOutcome
from rowmill.schemas.tally import Tally
from rowmill.schemas.timeline import TimelineSamples

# 2: what was spent stands in a ledger of its own.
MANIFEST_VERSION = 2
WITHOUT_LEDGER = 1


class TerminationKind(StrEnum):
    """Why a run ended."""

    COMPLETE = "complete"
    SPEND_LIMIT = "spend_limit"
    INSUFFICIENT_CREDITS = "insufficient_credits"
    BUDGET = "budget"
    AUTH = "auth"
    MODEL_NOT_FOUND = "model_not_found"
    OUTAGE = "outage"
    INTERRUPTED = "interrupted"
    STORAGE = "storage"
    ACCURACY = "accuracy"
    QUALITY = "quality"
    DRIFT = "drift"
    DEADLINE = "deadline"


# What ends a run for want of money.
OUT_OF_MONEY = frozenset({TerminationKind.BUDGET, TerminationKind.SPEND_LIMIT, TerminationKind.INSUFFICIENT_CREDITS})
EXIT_CODES = {
    TerminationKind.COMPLETE: ExitCode.OK,
    TerminationKind.SPEND_LIMIT: ExitCode.MONEY,
    TerminationKind.INSUFFICIENT_CREDITS: ExitCode.MONEY,
    TerminationKind.BUDGET: ExitCode.MONEY,
    TerminationKind.AUTH: ExitCode.GATEWAY_REFUSES,
    TerminationKind.MODEL_NOT_FOUND: ExitCode.GATEWAY_REFUSES,
    TerminationKind.OUTAGE: ExitCode.OUTAGE,
    TerminationKind.INTERRUPTED: ExitCode.INTERRUPTED,
    TerminationKind.STORAGE: ExitCode.REFUSED,
    TerminationKind.ACCURACY: ExitCode.ROWS_NOT_OK,
    TerminationKind.QUALITY: ExitCode.ROWS_NOT_OK,
    TerminationKind.DRIFT: ExitCode.ROWS_NOT_OK,
    TerminationKind.DEADLINE: ExitCode.INTERRUPTED,
}


@dataclass(frozen=True, slots=True)
class Termination:
    """Why a run ended: its kind, the gateway's code and words where there are any, and what to do next."""

    kind: TerminationKind
    code: str | None = None
    message: str = ""
    next: str = ""


def asks_sandbox(keys: Mapping[str, str]) -> bool:
    """Whether a job with these keys of its fingerprint asks a sandbox."""
    return "sandbox" in keys.get("gateway", "")


class Fingerprint(Struct, frozen=True):
    """What made the results: a hash over all keys of the job that are part of its identity, and each by itself."""

    hash: str = ""
    keys: dict[str, str] = field(default_factory=dict)


class InputSummary(Struct, frozen=True):
    """What was read: the state of each file, how many rows, and where they came from if not from files of the job's.

    `limit` is the number of first rows that the run took; None for all.
    """

    files: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0
    rows_are_all: bool = False
    limit: int | None = None
    source: dict[str, Any] | UnsetType = UNSET


class RowLedger(Struct, frozen=True):
    """`rows = ok + invalid + refused + failed + unreadable + not_attempted`, always."""

    rows: int = 0
    ok: int = 0
    invalid: int = 0
    refused: int = 0
    failed: int = 0
    unreadable: int = 0
    not_attempted: int = 0

    @classmethod
    def of(cls, tally: Tally, rows: int) -> Self:
        counts = {status.value: tally.by_status.get(status.value, 0) for status in Status}
        return cls(rows, **counts, not_attempted=rows - tally.rows)

    @property
    def settled(self) -> int:
        """Rows that have an outcome."""
        return self.rows - self.not_attempted

    def by_name(self) -> dict[str, int]:
        """Its numbers by name, `rows` first."""
        return dict(asdict(self))


class Totals(Struct, frozen=True):
    """Sums over the rows: money as decimal strings (None where a price is unknown), tokens, calls, retries by kind."""

    cost_usd: str | None = None
    cost_credits: str | None = None
    wasted_cost_usd: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    thought_tokens: int = 0
    calls: int = 0
    retries: dict[str, int] = field(default_factory=dict)
    rows_reused: int = 0
    rows_cost_unknown: int = 0
    unknown_cost_bound_usd: str = "0"

    @classmethod
    def of(cls, tally: Tally) -> Self:
        spent, cost = tally.spent, tally.spent.cost
        money = cost or ZERO
        return cls(
            cost_usd=decimal_string(money.usd) if cost is not None else None,
            cost_credits=decimal_string(money.credits) if cost is not None else None,
            wasted_cost_usd=decimal_string(tally.wasted_usd) if cost is not None else None,
            input_tokens=spent.usage.input,
            output_tokens=spent.usage.output,
            thought_tokens=spent.usage.thoughts,
            calls=spent.calls,
            retries=dict(sorted(tally.failures.items())),
            rows_reused=tally.reused,
            rows_cost_unknown=tally.unknown_rows,
            unknown_cost_bound_usd=decimal_string(spent.unknown_usd),
        )


class EvidenceCounts(Struct, frozen=True):
    """Checked values, and how many of their quotes stand in the source and how."""

    fields: int = 0
    exact: int = 0
    normalized: int = 0
    none: int = 0

    @classmethod
    def of(cls, tally: Tally) -> Self:
        counts = {match.value: tally.evidence.get(match.value, 0) for match in Match}
        return cls(sum(counts.values()), **counts)

    def by_name(self) -> dict[str, int]:
        """Its numbers by name, `fields` first."""
        return dict(asdict(self))


class Sums(Struct, frozen=True):
    """Calls and what they cost, as decimal strings; None where a price is unknown."""

    calls: int = 0
    cost_usd: str | None = None
    cost_credits: str | None = None
    unknown_cost_bound_usd: str = "0"


class Beside(Sums, frozen=True):
    """All that was ever sent for an output, less what its rows have cost.

    That is paid attempts of rows without an outcome (`unsettled`), and answers that no row asks for any more
    (`former`). Outputs of before the ledger tell of the latter by `former_cost_usd` alone.
    """

    unsettled: Sums | None = None
    former: Sums | None = None
    former_cost_usd: str | UnsetType = UNSET

    @classmethod
    def of(cls, sent: Spent, rows: Spent, unsettled: Spent) -> Self:
        other = sent - rows
        return cls(**_sums(other), unsettled=Sums(**_sums(unsettled)), former=Sums(**_sums(other - unsettled)))


def _sums(spent: Spent) -> dict[str, Any]:
    return {
        "calls": spent.calls,
        "cost_usd": decimal_string(spent.cost.usd) if spent.cost is not None else None,
        "cost_credits": decimal_string(spent.cost.credits) if spent.cost is not None else None,
        "unknown_cost_bound_usd": decimal_string(spent.unknown_usd),
    }


class PartStanding(Struct, frozen=True):
    """How far one part of a split job is: `state` is the kind of its end, `running` or `not run`."""

    part: int
    output: str
    state: str
    rows: int | None
    cost_usd: str | None


class SplitStanding(Struct, frozen=True):
    """The parts of a split job; once they are merged also what several of them paid for, and ids that they share."""

    name: str = ""
    parts: list[PartStanding] = field(default_factory=list)
    requests_paid_in_several_parts: int | UnsetType = UNSET
    their_cost_usd: str | UnsetType = UNSET
    ids_in_several_parts: int | UnsetType = UNSET


class Wait(Struct, frozen=True):
    """A wait for the spend limit: instants in ISO 8601."""

    reason: str
    since: str
    until: str


class Session(Struct, frozen=True):
    """One run over an output: when, how many calls until its end and before its beginning, and why it ended."""

    run_id: str = ""
    started_at: str = ""
    ended_at: str | None = None
    calls_until_now: int = 0
    calls_before: int = 0
    termination: str | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it found nothing to do."""
        return self.termination == TerminationKind.COMPLETE and self.calls_until_now == self.calls_before


class Manifest(Struct, frozen=True, kw_only=True):
    """`run.json`, key by key. A key that an older version did not write has its default; one of a newer is left out.

    `state` is `running` while `termination` is None, then `ended`; `rowmill status` also says `killed`. Instants are
    ISO 8601 in UTC. `job` is the job as it would be written, without keys that are at their defaults.
    """

    version: int = MANIFEST_VERSION
    rowmill: str = "unknown"
    name: str = ""
    run_id: str = ""
    state: str = "ended"
    started_at: str = ""
    updated_at: str = ""
    sandbox: bool = False
    model: str = ""
    prices: dict[str, Any] | None = None
    prices_escalated: dict[str, Any] | None = None
    job: dict[str, Any] = field(default_factory=dict)
    json_text_fields: list[dict[str, str]] = field(default_factory=list)
    fingerprint: Fingerprint = Fingerprint()
    input: InputSummary = InputSummary()
    ledger: RowLedger = RowLedger()
    totals: Totals = Totals()
    evidence: EvidenceCounts | UnsetType = UNSET
    beside: Beside = Beside()
    split: SplitStanding | UnsetType = UNSET
    # By part: its size and digest.
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    waiting: Wait | None = None
    canary: CanaryReport | None = None
    budget: DailySpending | None = None
    deadline: str | None = None
    forecast: ForecastAccuracy | None = None
    label: LabelQuality | None = None
    fields: dict[str, FieldScores] | None = None
    field_quality: RowQuality | None = None
    # What was quoted for the job, and what it came to; only of a job that holds a quote.
    quote: QuoteOutcome | UnsetType | None = UNSET
    course: TimelineSamples | None = None
    termination: Termination | None = None
    sessions: list[Session] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As `run.json` holds it: plain values by key."""
        return dict(to_builtins(self))

    @property
    def is_sandbox(self) -> bool:
        """Whether the run asked a sandbox."""
        return asks_sandbox(self.fingerprint.keys)

    @property
    def kind(self) -> str:
        """Why it ended; its state while it has not."""
        return self.state if self.termination is None else self.termination.kind.value

    @property
    def is_complete(self) -> bool:
        return self.termination is not None and self.termination.kind is TerminationKind.COMPLETE

    @property
    def end(self) -> Termination:
        """Why an ended run ended."""
        assert self.termination is not None
        return self.termination

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of an ended run."""
        rows = self.ledger
        if rows.failed and self.totals.retries.get(FailureKind.DEFECT.value):
            return ExitCode.DEFECT
        if self.is_complete and rows.ok < rows.rows:
            return ExitCode.ROWS_NOT_OK
        return EXIT_CODES[self.end.kind]
