"""Result: what a run has left in its output, and the error of a run that ended before its last row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import polars as pl

from rowmill.flows.orchestration.named_output import output_of
from rowmill.flows.pandas_frame import pandas_of
from rowmill.flows.text.python_words import ToldInPython, in_python
from rowmill.flows.text.summary import summary
from rowmill.schemas.errors import RowmillError
from rowmill.schemas.job import Job
from rowmill.schemas.manifest import Manifest
from rowmill.tasks.job.job_file import resolve_job
from rowmill.tasks.output.location import output_to_read
from rowmill.tasks.output.manifest_file import manifest_of
from rowmill.tasks.output.results_frame import scan_results

if TYPE_CHECKING:
    import pandas as pd


class Stopped(RowmillError):
    """A run that ended before its last row. `manifest` is its run.json; what was settled stands in its output."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest.as_dict()
        end = manifest.end
        super().__init__(in_python(end.message), where=end.kind.value, hint=in_python(end.next))
        self.exit_code = manifest.exit_code

    def __reduce__(self) -> tuple[object, ...]:
        return _stopped, (self.manifest,)


def _stopped(manifest: dict[str, Any]) -> Stopped:
    return Stopped(msgspec.convert(manifest, Manifest))


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """The results of a run, read from its output when they are asked for. `manifest` is its run.json."""

    manifest: Mapping[str, Any]
    folder: Path

    @classmethod
    def load(cls, output: str | Path | Job) -> Self:
        """The results of whatever run stand in an output, which its job, or the job's file, names too.

        Raises OutputError where there is no run.
        """
        with ToldInPython():
            told = resolve_job(output, Path.cwd()).output if isinstance(output, Job) else output_of(str(output))
            with output_to_read(told) as folder:
                return cls(manifest_of(folder).as_dict(), folder.absolute())

    def __str__(self) -> str:
        """How the run ended, in a few lines."""
        return summary(msgspec.convert(self.manifest, Manifest), str(self.folder))

    def __repr__(self) -> str:
        return f"Result(folder={str(self.folder)!r})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What a notebook shows."""
        printer.text(str(self))

    def frame(self) -> pl.DataFrame:
        """All rows, in the input's order."""
        return self.lazy().collect()

    def lazy(self) -> pl.LazyFrame:
        """The same, unread: select and filter before `.collect()`, for results larger than memory."""
        return scan_results(self.folder / "results")

    def to_pandas(self) -> pd.DataFrame:
        """The same as a pandas frame: `output` holds dicts, money is Decimal, whole numbers stay whole."""
        return pandas_of(self.frame())
