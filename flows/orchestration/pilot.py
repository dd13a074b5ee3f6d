"""Pilot: some rows drawn at random from those still to ask are paid for, so that the forecast of the rest holds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from rowmill.flows.orchestration.opening import opened
from rowmill.flows.orchestration.pipeline import carry_out, refuse_stopped
from rowmill.schemas.forecast import Basis, Forecast
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Manifest
from rowmill.tasks.forecast.counted_rows import Tally
from rowmill.tasks.forecast.pilot_record import record_draw
from rowmill.tasks.gateway.credentials import Gateway
from rowmill.tasks.output.bucket.mirror import Mirror
from rowmill.tasks.run.run_plan import Options

PILOT_FIRST, PILOT_MOST = 50, 2_000
# An automatic pilot ends at this relative half-width of the interval.
NEAR_ENOUGH = 0.05

RunRows = Callable[[frozenset[int]], Awaitable[Manifest]]
RunPilot = Callable[[Mirror | None, Job, frozenset[int]], Awaitable[Manifest]]
Again = Callable[[], tuple[Forecast, Tally]]


@dataclass(slots=True)
class Pilot:
    """A pilot under way: the forecast before it, the one that stands now, and the rows that were asked."""

    output: Path
    forecast_again: Again
    run_rows: RunRows
    before: Forecast
    result: Forecast
    tally: Tally
    asked: int = 0
    stopped: str = field(default="the rows that were asked for are drawn")

    async def draw(self, count: int) -> None:
        """Ask so many rows that are not settled yet, and forecast again. Raises StoppedEarly."""
        drawn = self.tally.drawable[:count]
        if not drawn:
            return
        record_draw(self.output, self.result.job, self.tally, drawn=drawn)
        manifest = await self.run_rows(frozenset(one.row for one in drawn))
        self.asked += len(drawn)
        refuse_stopped("the pilot", manifest)
        self.result, self.tally = await asyncio.to_thread(self.forecast_again)

    async def draw_until_enough(self, share: float) -> None:
        """Ask more and more rows until the interval is narrow, or the next step is not worth its price."""
        target = max(PILOT_FIRST, 2 * self._sampled)
        while (reason := self._enough(target, share)) is None:
            await self.draw(target - self._sampled)
            target = max(self._sampled + 1, min(2 * target, math.ceil(1.1 * (self.rows_needed or 2 * target))))
        self.stopped = reason

    @property
    def _sampled(self) -> int:
        sample = self.result.sample
        return sample.rows if sample is not None and self.result.basis is Basis.RANDOM else 0

    @property
    def rows_needed(self) -> int | None:
        """Rows of a sample whose interval would be narrow enough; None where nothing tells."""
        cost = self.result.cost_usd
        if cost is None or not cost.estimate or not self._sampled:
            return None
        off = (cost.high - cost.low) / 2 / cost.estimate
        return math.ceil(self._sampled * (off / NEAR_ENOUGH) ** 2)

    def _enough(self, target: int, share: float) -> str | None:
        """Why no more rows are to be drawn; None where `target` rows in all are worth their price."""
        result, needed = self.result, self.rows_needed
        if not result.rows.to_ask:
            return "no row is left to ask"
        if needed is not None and needed <= self._sampled:
            return f"the interval is within {NEAR_ENOUGH:.0%}"
        if self._sampled and target > PILOT_MOST:
            return f"a pilot asks {PILOT_MOST:,} rows at the most"
        if not self.asked and not self._sampled:
            return None
        cost = result.cost_usd
        if cost is None:
            return "without a price there is no interval to narrow"
        whole = result.spent_usd + cost.estimate
        spent = result.spent_usd - self.before.spent_usd
        price = cost.estimate / result.rows.to_ask * (target - self._sampled)
        if spent + price > share * whole:
            return f"more rows would cost over {share:.2g} of the bill (--pilot-share)"
        return None

    def told(self) -> Forecast:
        """The forecast, with what the pilot was."""
        needed = self.rows_needed
        cost, rows = self.result.cost_usd, self.result.rows.to_ask
        each = cost.estimate / rows if cost and rows else 0.0
        pilot = {
            "rows": self.asked,
            "cost_usd": self.result.spent_usd - self.before.spent_usd,
            "before": msgspec.to_builtins(self.before.cost_usd),
            "basis_before": self.before.basis.value,
            "stopped": self.stopped,
            "rows_for_5_percent": needed,
            "usd_for_5_percent": None if needed is None else max(0, needed - self._sampled) * each,
        }
        return msgspec.structs.replace(self.result, pilot=pilot)


def pilot_with(gateway: Gateway, *, limit: int | None, sandbox: bool) -> RunPilot:
    """How a pilot's rows are asked: through the pipeline, like the rows of any run."""

    async def run(mirror: Mirror | None, job: Job, rows: frozenset[int]) -> Manifest:
        of_run = Options(limit, sandbox=sandbox, rows=rows)
        async with opened(job, of_run, gateway, mirror=mirror) as run:
            return await carry_out(run)

    return run
