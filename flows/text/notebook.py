"""Notebook: what a run shows below its cell in Jupyter while it lives, and what it leaves there."""

from __future__ import annotations

import asyncio
import sys
from html import escape
from typing import TYPE_CHECKING, Any

from rowmill.flows.text.display import parts
from rowmill.flows.text.python_words import in_python
from rowmill.flows.text.summary import summary
from rowmill.schemas.manifest import Manifest

if TYPE_CHECKING:
    from rowmill.tasks.run.run import OpenRun, Run

# Each update is a message to every browser that shows the notebook.
REDRAW_S = 0.5


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


class NotebookDisplay:
    """One output of a cell, updated in place. It is made in the cell's own thread."""

    def __init__(self) -> None:
        from IPython import display

        show: Any = display.display
        self._handle = show(_Shown("starting", ""), display_id=True)

    async def watch(self, run: OpenRun) -> None:
        """Show rows, speed, cost and waits, twice a second."""
        while True:
            progress = run.progress
            traffic, now = run.background.traffic(), run.clock.now()
            line = " · ".join(parts(progress, traffic, run.job.limits, now=now))
            bar = f'<progress value="{progress.done}" max="{max(1, progress.total)}" style="width: 20em"></progress> '
            self._handle.update(_Shown(line, bar))
            await asyncio.sleep(REDRAW_S)

    def end(self, run: Run, manifest: Manifest) -> None:
        """Leave the summary of the ended run."""
        self._handle.update(_Shown(in_python(summary(manifest, run.job.output, run.progress)), ""))


class _Shown:
    """Text, and beside it as HTML for notebooks that show it. What a row or a model said is escaped."""

    def __init__(self, text: str, bar: str) -> None:
        self._text, self._bar = text, bar

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        words = escape(self._text)
        return f"{self._bar}<span>{words}</span>" if self._bar else f"<pre>{words}</pre>"
