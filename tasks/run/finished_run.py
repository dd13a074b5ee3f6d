"""Finished run: a run over an output that is complete already."""

from __future__ import annotations

from rowmill.schemas.catalogue import Model
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Manifest
from rowmill.tasks.run.manifest_builder import ManifestBuilder
from rowmill.tasks.run.progress import Progress
from rowmill.tasks.run.run_plan import RunPlan
from rowmill.tasks.system.clock import Clock


class FinishedRun:
    """A run over an output that is complete already: there is nothing to do."""

    nothing_to_do = True

    def __init__(self, plan: RunPlan, clock: Clock, manifest_builder: ManifestBuilder) -> None:
        self.plan, self.clock, self.manifest_builder = plan, clock, manifest_builder
        self.progress = Progress(started_at=clock.now())
        self.manifest: Manifest | None = None

    @property
    def job(self) -> Job:
        return self.plan.job

    @property
    def model(self) -> Model:
        return self.plan.model

    async def close(self) -> Manifest:
        """The manifest as it stands."""
        self.manifest = self.manifest_builder.before
        return self.manifest
