"""Shard context: what every shard of a run works with, in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from rowmill.schemas.account import Account
from rowmill.schemas.row import Row, Shard, Unreadable
from rowmill.tasks.answers.validator import Validator
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.line_digests import LineDigests
from rowmill.tasks.journal.group_commit import Syncer
from rowmill.tasks.journal.ledger import Ledger
from rowmill.tasks.output.answer_cache import AnswerCache
from rowmill.tasks.output.layout import Layout
from rowmill.tasks.output.moved_rows import MovedRows
from rowmill.tasks.output.reprojection import Projection
from rowmill.tasks.plan.planner import Planner
from rowmill.tasks.run.progress import Progress
from rowmill.tasks.run.quality_watch import QualityWatch
from rowmill.tasks.settle.pack_settler import PackSettler
from rowmill.tasks.settle.settler import Settler
from rowmill.tasks.settle.voter import Voter


@dataclass(frozen=True, slots=True)
class ShardContext:
    """What every shard of a run works with, in one process."""

    output: Layout
    job_fingerprint: str
    planner: Planner
    validator: Validator
    settler: Settler | PackSettler | Voter
    keys: KeyIndex
    answer_cache: AnswerCache
    # Of requests that rows without an outcome ask, in segments that are gone on with: the furthest account.
    open_accounts: Mapping[bytes, Account]
    ledger: Ledger | None
    syncer: Syncer
    projection: Projection | None
    lines: LineDigests | None
    moved: MovedRows | None
    concurrency: int
    rows_per_call: int
    reads_media: bool
    run_id: str
    progress: Progress
    duplicates: Mapping[int, int]
    rows_of: Callable[[Shard], Iterator[Row | Unreadable]]
    watch: QualityWatch | None = None
