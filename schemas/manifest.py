"""Manifest: what `run.json` holds, typed. The ledger always balances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, Struct, UnsetType, field, to_builtins

from rowmill.schemas.attempt import FailureKind
from rowmill.schemas.canary import CanaryReport
from rowmill.schemas.daily_spending import DailySpending
from rowmill.schemas.errors import ExitCode
from rowmill.schemas.field_quality import FieldScores, RowQuality
from rowmill.schemas.file_state import FileState
from rowmill.schemas.forecast import ForecastAccuracy
from rowmill.schemas.json_text import JsonTextField
from rowmill.schemas.label_quality import LabelQuality
from rowmill.schemas.model_prices import ModelPrices
from rowmill.schemas.quote import QuoteOutcome
from rowmill.schemas.termination import EXIT_CODES, Termination, TerminationKind
from rowmill.schemas.timeline import TimelineSamples
from rowmill.schemas.totals import Beside, EvidenceCounts, RowLedger, Totals

# 2: what was spent stands in a ledger of its own.
MANIFEST_VERSION = 2
WITHOUT_LEDGER = 1
# The key of a fingerprint that tells a sandbox from the gateway; no job file has it.
GATEWAY = "gateway"


def asks_sandbox(keys: Mapping[str, str]) -> bool:
    """Whether a job with these keys of its fingerprint asks a sandbox."""
    return "sandbox" in keys.get(GATEWAY, "")


def difference(had: Mapping[str, str], has: Mapping[str, str]) -> str:
    """What the keys of another job's fingerprint have differently, in words: of that job, and of this one."""
    changed = [key for key in sorted({*had, *has} - {GATEWAY}) if had.get(key) != has.get(key)]
    told = [f"changed: {', '.join(changed)}"] if changed else []
    if asks_sandbox(had) != asks_sandbox(has):
        theirs, ours = ("a sandbox", "the gateway") if asks_sandbox(had) else ("the gateway", "a sandbox")
        told.append(f"{theirs} answered that one, this one asks {ours}")
    return "; ".join(told) or "what changed is not known"


class Fingerprint(Struct, frozen=True):
    """What made the results: a hash over all keys of the job that are part of its identity, and each by itself."""

    hash: str = ""
    keys: dict[str, str] = field(default_factory=dict)


class InputSummary(Struct, frozen=True):
    """What was read: the state of each file, how many rows, and where they came from if not from files of the job's.

    `limit` is the number of first rows that the run took; None for all.
    """

    files: list[FileState] = field(default_factory=list)
    rows: int = 0
    rows_are_all: bool = False
    limit: int | None = None
    source: dict[str, Any] | UnsetType = UNSET


class PartDigest(Struct, frozen=True, omit_defaults=True):
    """A part as it was written: its size in bytes and its blake2b-128, in hex. Empty where it had no rows to write."""

    bytes: int = 0
    blake2b: str = ""


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
    prices: ModelPrices | None = None
    prices_escalated: ModelPrices | None = None
    job: dict[str, Any] = field(default_factory=dict)
    json_text_fields: list[JsonTextField] = field(default_factory=list)
    fingerprint: Fingerprint = Fingerprint()
    input: InputSummary = InputSummary()
    ledger: RowLedger = RowLedger()
    totals: Totals = Totals()
    evidence: EvidenceCounts | UnsetType = UNSET
    beside: Beside = Beside()
    split: SplitStanding | UnsetType = UNSET
    # By the name of its file.
    parts: dict[str, PartDigest] = field(default_factory=dict)
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
    def is_begun(self) -> bool:
        """Whether the run has begun: an output also tells of trials that were stopped before it."""
        return self.termination is None or self.fingerprint.hash != "" or self.ledger.settled > 0

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
